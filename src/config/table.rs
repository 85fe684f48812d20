//! Every setting of the agent. The parser, `--help`, `docs/configuration.md` and `check` are made from this table.
//!
//! Must contain definitions only. A new setting is one entry here, one [`Key`] and one field of
//! [`Settings`](super::Settings); `docs/configuration.md` is generated from it (its test says how).

use super::definition::{
    Alias, Definition, Key, Kind, Section, Unit, anywhere, bytes, count, define, environment, ports, seconds,
};

/// Every setting, in the order of the docs and of [`Key`].
pub const DEFINITIONS: &[Definition] = &[
    define(Key::Mode, "Mode", Kind::Mode, "auto", Section::Data)
        .common()
        .help(
            "Where flags come from. `auto` (or `agent`) follows a FeatBit server; `manual` (or `offline`) serves \
             what a data file or a bootstrap call brings, without any server.",
        ),
    define(Key::ApiKey, "ApiKey", Kind::Secret, "", Section::Data)
        .common()
        .needed("auto mode; offline mode without a data file")
        .help(
            "The key of the relay proxy, as FeatBit shows it (`rp-…`). It also gives access to the management \
             calls (bootstrap, backup, status). In offline mode it is optional; without it those calls answer 401. \
             A command line is visible to every user of the machine: prefer the environment or ApiKey__File.",
        ),
    define(Key::ApiKeyFile, "ApiKey__File", Kind::Path, "", Section::Data)
        .common()
        .help(
            "A file that contains only the ApiKey, such as a container secret. A byte order mark, and spaces and \
             line breaks around the key, are ignored; inside the key they are an error. The file is read again on \
             SIGHUP and when it changes.",
        ),
    define(Key::RelayKeys, "RelayKeys", Kind::Secret, "", Section::Data)
        .default_note("no relays")
        .help(
            "Keys with which downstream agents may connect to this one as to a FeatBit server, separated by `;`. A \
             downstream agent sets one of them as its ApiKey. A key has 20 or more letters, digits, `-` and `_`, \
             such as `rp-…`. A key alone gives access to every environment, `key=shop:dev,shop:prod` to these \
             environments only (names or ids). Relay keys give no access to the management calls, and ApiKey must \
             not be one of them. Anyone who has a relay key can read every secret of its environments.",
        ),
    define(Key::RelayKeysFile, "RelayKeys__File", Kind::Path, "", Section::Data)
        .help(
            "A file that contains RelayKeys, such as a container secret. Line breaks count as `;`, and a byte \
             order mark is ignored. The file is read again on SIGHUP and when it changes; a key that was removed \
             stays valid for RevocationGraceSeconds.",
        ),
    define(Key::DataFile, "DataFile", Kind::Path, "", Section::Data)
        .common()
        .needed("offline mode without an ApiKey")
        .help(
            "A dump of FeatBit's relay data, in the form that `GET /api/public/proxy/backup` answers. It is loaded \
             at start and again whenever it changes. Offline mode only.",
        ),
    define(Key::DataFileStamp, "DataFileStamp", Kind::Flag, "false", Section::Data).help(
            "Accepted for compatibility and ignored: an item that changes without a newer `updatedAt` is always \
             sent to SDKs with a newer one.",
        ),
    define(
        Key::DataFilePollMilliseconds,
        "DataFilePollMilliseconds",
        Kind::Duration { unit: Unit::Milliseconds, min_ms: 10, zero: false },
        "500",
        Section::Data,
    )
    .help(
            "How often the data file is checked for changes. A change is loaded when two checks in a row find the \
             same content.",
        ),
    define(Key::BackupFile, "BackupFile", Kind::Path, "", Section::Data).common().default_note("no backup").help(
        "A file that the agent keeps up to date with its data, and from which it starts if there is nothing newer, such \
             as when the server cannot be reached. The folder must exist and be writable. Each agent needs a file of its \
             own, and no other program may change that while the agent runs. It is readable by its owner only, because \
             it contains the secrets of all environments. A file that is damaged or belongs to another ApiKey is renamed \
             and kept.",
    ),
    define(Key::BackupCompactFactor, "Backup__CompactFactor", count(2, 100), "4", Section::Data).help(
        "The backup file is written anew when it is this many times as large as the data in it. A smaller factor saves \
             space, a larger one writes less. For a moment both files exist.",
    ),
    define(Key::BackupTombstoneDays, "Backup__TombstoneDays", count(1, 3650), "30", Section::Data).help(
        "How many days a removed flag or segment is remembered, in memory, in the backup file and in Redis, so that it \
             does not come back from an agent or a file that was away for that long. At most 65,536 are remembered. Set \
             it to the same value on all agents of a cluster.",
    ),
    define(Key::BackupWaitSeconds, "Backup__WaitSeconds", seconds(100, false), "10", Section::Data).help(
        "How long a bootstrap call waits until its data is in the backup file. After that it is answered with 507, \
             although the data is in service. It does not wait for Redis.",
    ),
    define(Key::AgentId, "AgentId", Kind::Text, "", Section::Data)
        .common()
        .needed("auto mode")
        .help("The name under which this agent registers with the FeatBit server."),
    define(Key::StreamingUri, "StreamingUri", Kind::Uri(&["ws", "wss", "http", "https"]), "", Section::Data)
        .common()
        .needed("auto mode")
        .help(
            "The FeatBit evaluation server to follow, such as `ws://evaluation-server:5100`, or with a path, \
             `wss://featbit.example/els`. It must not contain a user or password: the agent does not send them.",
        ),
    define(Key::Urls, "Urls", Kind::Urls, "http://*:6100", Section::Listening)
        .common()
        .aliases(&[
            environment("ASPNETCORE_URLS"),
            environment("DOTNET_URLS"),
            ports("HTTP_PORTS", "http", false),
            ports("ASPNETCORE_HTTP_PORTS", "http", true),
            ports("DOTNET_HTTP_PORTS", "http", true),
            ports("HTTPS_PORTS", "https", false),
            ports("ASPNETCORE_HTTPS_PORTS", "https", true),
            ports("DOTNET_HTTPS_PORTS", "https", true),
        ])
        .help(
            "Where the agent listens. The host is `*` or `+` (every address, IPv4 and IPv6), `localhost` (both \
             loopbacks), or an address such as `0.0.0.0`, `[::]` or `192.0.2.1`; port 0 takes any free one. As in \
             .NET, another host name is not resolved and means every address. `https://` needs \
             Tls__CertificateFile. The .NET variables ending in `_PORTS` list ports for every address; those for \
             HTTP and HTTPS are joined. Endpoints of .NET's section Kestrel (`Kestrel__Endpoints__NAME__Url`, with \
             `Kestrel__Endpoints__NAME__Certificate__Path` and `…__KeyPath` for a certificate of its own) override \
             all of these.",
        ),
    define(Key::TlsCertificateFile, "Tls__CertificateFile", Kind::Path, "", Section::Tls)
        .aliases(&[anywhere("Kestrel__Certificates__Default__Path")])
        .needed("addresses that begin with `https://`")
        .help(
            "The certificate of the agent's `https://` addresses, in PEM: the agent's own certificate first, then \
             the intermediate certificates. It is read again on SIGHUP and when it changes; open connections stay \
             open. PFX is not supported.",
        ),
    define(Key::TlsKeyFile, "Tls__KeyFile", Kind::Path, "", Section::Tls)
        .aliases(&[anywhere("Kestrel__Certificates__Default__KeyPath")])
        .needed("Tls__CertificateFile")
        .help("The private key (PEM, not encrypted) of Tls__CertificateFile. May be the same file."),
    define(Key::TlsClientCaFile, "Tls__ClientCaFile", Kind::Path, "", Section::Tls).help(
            "The certificate authorities (PEM) that issue client certificates. It is read again when it changes: \
             open connections stay open, and session tickets from before become invalid.",
        ),
    define(Key::TlsClientCertificate, "Tls__ClientCertificate", Kind::ClientCertificate, "", Section::Tls)
        .default_note("`required` if Tls__ClientCaFile is set, else `none`")
        .help(
            "Whether clients must present a certificate. With `optional`, a certificate that is presented is \
             verified. A certificate gives no access by itself: SDKs still need their secret.",
        ),
    define(Key::TlsHandshakesPerTurn, "Tls__HandshakesPerTurn", count(1, 1024), "4", Section::Tls).help(
            "How many TLS handshake steps a reactor processes before it serves the open connections again. A \
             handshake costs as much CPU time as hundreds of messages, so many at once would delay everyone else.",
        ),
    define(Key::TlsPollSeconds, "Tls__PollSeconds", seconds(10, false), "5", Section::Tls)
        .help(
            "How often the TLS files are checked for changes. A change is loaded when two checks in a row find the \
             same content.",
        ),
    define(Key::ListenBacklog, "Listen__Backlog", count(1, 65_535), "65535", Section::Listening).help(
            "How many connections may wait to be accepted, for each reactor's listener. The kernel limits it to \
             `net.core.somaxconn`.",
        ),
    define(Key::Reactors, "Reactors", count(0, 1024), "0", Section::Listening)
        .default_note("one per core")
        .help("How many threads serve connections."),
    define(
        Key::StreamingTokenExpirySeconds,
        "Streaming__TokenExpirySeconds",
        seconds(1_000, false),
        "30",
        Section::Sdks,
    )
    .help(
            "How far the time in an SDK's connection token may differ from the agent's clock, in either direction. \
             A connection with a larger difference gets no data and is closed with 1008 after \
             Streaming__TokenHoldSeconds.",
        ),
    define(
        Key::StreamingTokenHoldSeconds,
        "Streaming__TokenHoldSeconds",
        seconds(0, true),
        "30",
        Section::Sdks,
    )
    .help(
            "How long a connection with an expired token stays open before it is closed, so that SDKs with a wrong \
             clock reconnect slowly.",
        ),
    define(
        Key::StreamingTrackClientHostName,
        "Streaming__TrackClientHostName",
        Kind::Flag,
        "false",
        Section::Sdks,
    )
    .help(
            "Accepted for compatibility and ignored. The agent never looks up the host names of its clients.",
        ),
    define(Key::RevocationGraceSeconds, "RevocationGraceSeconds", seconds(0, true), "60", Section::Sdks).help(
            "How long connections stay open after their secret was removed from the data, or changed its type \
             there, before they are closed with 4003, after which an SDK never reconnects. If a wrong dump is \
             corrected within this time, no SDK is affected. An agent that follows a server asks it once more when \
             the time is over, and the connections stay open until it has answered.",
        ),
    define(
        Key::PollingAllowClientSecretForServer,
        "Polling__AllowClientSecretForServer",
        Kind::Flag,
        "false",
        Section::Sdks,
    )
    .help(
            "Let a client secret read the server payload, as FeatBit's own agent does. That payload contains every \
             targeting rule, and client secrets are public.",
        ),
    define(Key::CorsOrigins, "Cors__Origins", Kind::Origins, "*", Section::Sdks).help(
        "Which origins browsers may call from, such as `https://shop.example,https://admin.example`. As \
         environment variables also `Cors__Origins__0` and so on; in a file also an array.",
    ),
    define(Key::CorsMaxAgeSeconds, "Cors__MaxAgeSeconds", seconds(0, true), "600", Section::Sdks)
        .help(
            "How long a browser may cache the response to a preflight request.",
        ),
    define(Key::EchoPath, "EchoPath", Kind::UrlPath, "", Section::Sdks)
        .default_note("no echo")
        .help(
            "A path that opens a plain WebSocket echo without a token, for conformance suites. Not for production.",
        ),
    define(Key::ForwardEvents, "ForwardEvents", Kind::Flag, "true", Section::Events).help(
            "Whether usage events are forwarded to EventUri. Without EventUri they are dropped, with one warning \
             at start; if this setting is given explicitly, EventUri is required. This version counts and drops \
             all events.",
        ),
    define(Key::EventUri, "EventUri", Kind::Uri(&["http", "https"]), "", Section::Events)
        .needed("ForwardEvents, if that is given explicitly")
        .help("Where usage events go, such as `http://evaluation-server:5100`."),
    define(Key::UpstreamCaFile, "Upstream__CaFile", Kind::Path, "", Section::Upstream).help(
            "Certificates (PEM) that are trusted in addition to those of the system when the agent connects by \
             `wss` or `https`: for a private certificate authority. It is read again when it changes. The system's \
             certificates are found as OpenSSL finds them; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.",
        ),
    define(
        Key::UpstreamClientCertificateFile,
        "Upstream__ClientCertificateFile",
        Kind::Path,
        "",
        Section::Upstream,
    )
    .needed("Upstream__ClientKeyFile")
    .help(
            "The client certificate (PEM, with its intermediate certificates) that the agent presents to servers \
             that ask for one. It is read again when it changes.",
        ),
    define(Key::UpstreamClientKeyFile, "Upstream__ClientKeyFile", Kind::Path, "", Section::Upstream)
        .needed("Upstream__ClientCertificateFile")
        .help("The private key (PEM, not encrypted) of Upstream__ClientCertificateFile."),
    define(Key::UpstreamProxy, "Upstream__Proxy", Kind::Proxy, "", Section::Upstream)
        .default_note("`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`")
        .help(
            "The proxy through which servers are reached, such as `http://user:password@proxy:3128`, or `none` for \
             no proxy. It overrides the environment, NO_PROXY included. Every connection, encrypted or not, is a \
             tunnel opened with CONNECT. By default HTTPS_PROXY is used for `wss` and `https`, HTTP_PROXY for `ws` \
             and `http`, ALL_PROXY where neither is set; lower case takes precedence over upper case. NO_PROXY \
             lists host names (their subdomains included), addresses and networks such as `10.0.0.0/8`, each with \
             a port if needed, or `*`.",
        ),
    define(
        Key::UpstreamConnectSeconds,
        "Upstream__ConnectSeconds",
        seconds(10, false),
        "10",
        Section::Upstream,
    )
    .help(
            "How long opening a connection to a server may take, from the name lookup to the end of the TLS \
             handshake. The answer to a request on it (the registration, the WebSocket handshake) may take as long \
             again.",
        ),
    define(Key::UpstreamRetrySeconds, "Upstream__RetrySeconds", seconds(10, false), "60", Section::Upstream).help(
            "The longest pause between two attempts to connect to the FeatBit server. Each pause is random, up to \
             a limit that begins at one second and doubles with each failure until it reaches this value, so that \
             many agents do not reconnect at once. The agent never gives up. When the server refuses the key or \
             the licence, each pause lasts from half of this to all of it.",
        ),
    define(Key::UpstreamPingSeconds, "Upstream__PingSeconds", seconds(10, false), "15", Section::Upstream)
        .help(
            "How often a ping is sent to the FeatBit server.",
        ),
    define(Key::UpstreamSilenceSeconds, "Upstream__SilenceSeconds", seconds(20, false), "45", Section::Upstream)
        .help(
            "How long the FeatBit server may send nothing before the agent drops the connection and opens another \
             one. It must be longer than Upstream__PingSeconds.",
        ),
    define(Key::UpstreamSyncSeconds, "Upstream__SyncSeconds", seconds(10, false), "60", Section::Upstream).help(
            "How long the FeatBit server may take to answer a request for data, or to send the next part of an \
             answer, before the agent drops the connection and opens another one.",
        ),
    define(
        Key::UpstreamReadMinBytesPerSecond,
        "Upstream__ReadMinBytesPerSecond",
        bytes(0, 1 << 30),
        "256",
        Section::Upstream,
    )
    .help(
            "How much of a message that the FeatBit server has begun must arrive each second, on average over \
             Upstream__SyncSeconds. Otherwise the agent drops the connection and opens another one. 0 means no \
             minimum.",
        ),
    define(Key::UpstreamResyncSeconds, "Upstream__ResyncSeconds", seconds(10, true), "600", Section::Upstream).help(
            "How often the agent requests a full sync on the open connection; 0 means never. Environments that \
             were added to the scope of the relay proxy or removed from it, new and revoked secrets, and deleted \
             flags arrive only by a full sync, which SIGHUP and `POST /api/public/proxy/resync` request too. SDKs \
             are sent only what changed. The interval varies randomly by a tenth.",
        ),
    define(
        Key::UpstreamUnknownSecretResyncSeconds,
        "Upstream__UnknownSecretResyncSeconds",
        seconds(10, false),
        "30",
        Section::Upstream,
    )
    .help(
            "The shortest time between full syncs that are requested because an SDK presents an unknown secret, \
             which may have been created a moment ago. The SDK is refused only if the answer does not contain the \
             secret either.",
        ),
    define(Key::UpstreamStatusSeconds, "Upstream__StatusSeconds", seconds(10, false), "60", Section::Upstream)
        .help(
            "How often the agent reports its status to the FeatBit server, in addition to each change of it.",
        ),
    define(Key::RedisConnectionString, "Redis__ConnectionString", Kind::Redis, "", Section::Redis)
        .default_note("no Redis")
        .help(
            "The Redis that this agent shares with other agents, so that all of them have the same data, and one that \
             starts gets it at once. In the form of StackExchange.Redis, such as \
             `redis.example:6379,user=agent,ssl=true`, or as a URL, `rediss://agent@redis.example:6379/0`. Several \
             addresses, separated by commas, are the nodes of a Redis Cluster, or a master and its replicas; the agent \
             finds out which. With `serviceName` (in a URL `?serviceName=…`) they are Sentinels, which know the master. \
             Options: `password`, `user`, `ssl`, `sslHost` (the name that certificates must be for), `defaultDatabase`, \
             `serviceName`, `connectTimeout`. Without a port it is 6379, with `ssl=true` 6380, for Sentinels 26379; in \
             a URL without Sentinels always 6379. In a URL, user and password are percent-encoded. Unix sockets are not \
             supported.",
        ),
    define(Key::RedisPassword, "Redis__Password", Kind::Secret, "", Section::Redis).help(
            "The password for Redis. It overrides the one in Redis__ConnectionString, and may contain any character. A \
             command line is visible to every user of the machine: prefer the environment or Redis__Password__File.",
        ),
    define(Key::RedisPasswordFile, "Redis__Password__File", Kind::Path, "", Section::Redis).help(
            "A file that contains only Redis__Password, such as a container secret. A byte order mark, and spaces and \
             line breaks around the password, are ignored. It is read again for every new connection.",
        ),
    define(Key::RedisSentinelUser, "Redis__SentinelUser", Kind::Text, "", Section::Redis)
        .default_note("the default user")
        .help("The user for the Sentinels. The user and password of Redis are not sent to them."),
    define(Key::RedisSentinelPassword, "Redis__SentinelPassword", Kind::Secret, "", Section::Redis)
        .default_note("no login")
        .help("The password for the Sentinels. The user and password of Redis are not sent to them."),
    define(Key::RedisSentinelPasswordFile, "Redis__SentinelPassword__File", Kind::Path, "", Section::Redis)
        .help(
            "A file that contains only Redis__SentinelPassword. It is read again for every new connection.",
        ),
    define(Key::RedisSentinelTls, "Redis__SentinelTls", Kind::Flag, "", Section::Redis)
        .default_note("as for Redis itself")
        .help("Whether the Sentinels are reached by TLS."),
    define(Key::RedisCaFile, "Redis__CaFile", Kind::Path, "", Section::Redis).help(
            "Certificates (PEM) that are trusted in addition to those of the system when the agent connects to Redis \
             and Sentinels by TLS: for a private certificate authority. It is read again for every new connection.",
        ),
    define(
        Key::RedisClientCertificateFile,
        "Redis__ClientCertificateFile",
        Kind::Path,
        "",
        Section::Redis,
    )
    .needed("Redis__ClientKeyFile")
    .help(
            "The client certificate (PEM, with its intermediate certificates) that the agent presents to Redis and \
             Sentinels that ask for one. It is read again for every new connection.",
        ),
    define(Key::RedisClientKeyFile, "Redis__ClientKeyFile", Kind::Path, "", Section::Redis)
        .needed("Redis__ClientCertificateFile")
        .help("The private key (PEM, not encrypted) of Redis__ClientCertificateFile."),
    define(Key::RedisKeyPrefix, "Redis__KeyPrefix", Kind::Text, "", Section::Redis)
        .default_note("a fingerprint of the ApiKey")
        .needed("Redis__ConnectionString without an ApiKey")
        .help(
            "What every key and channel of the agent in Redis begins with. Agents with the same prefix share their \
             data; by default (`featbit-agent:{…}:` with a fingerprint of the ApiKey) these are the agents with the same \
             ApiKey at their start. Set it to keep the data when \
             the ApiKey changes, and to the same value on all agents. Its keys change together, so all of them must lie \
             in one slot of a Redis Cluster: `{featbit-agent}:` is added to a prefix without a hash tag (`shop:` \
             becomes `shop:{featbit-agent}:`).",
        ),
    define(Key::RedisTimeoutSeconds, "Redis__TimeoutSeconds", seconds(10, false), "5", Section::Redis)
        .help(
            "How long opening a connection to Redis may take, from the name lookup to the login, and how long Redis may \
             then be silent before it has answered a command. If it is not set, `connectTimeout` in \
             Redis__ConnectionString counts. No SDK and no change of a flag waits for Redis.",
        ),
    define(Key::RedisPollSeconds, "Redis__PollSeconds", seconds(100, false), "10", Section::Redis)
        .help(
            "How often the agent compares its data with Redis, in addition to the announcements of other agents, which \
             may get lost.",
        ),
    define(Key::LimitsConnections, "Limits__Connections", count(0, 10_000_000), "0", Section::Limits)
        .default_note("what the descriptor limit allows")
        .help(
            "How many connections may be open at a time. Further ones are closed at once and counted.",
        ),
    define(Key::LimitsVerdictWait, "Limits__VerdictWait", seconds(0, true), "10", Section::Limits).help(
            "How long an SDK waits while no data is loaded, so that its secret can be neither accepted nor \
             refused. Then it gets 1011, or 503 with `Retry-After`.",
        ),
    define(Key::LimitsHeadSeconds, "Limits__HeadSeconds", seconds(10, false), "15", Section::Limits)
        .help("How long a client may take to send the head of a request, handshakes included. Then 408."),
    define(Key::LimitsBodySeconds, "Limits__BodySeconds", seconds(10, false), "30", Section::Limits)
        .help("How long a client may take for each 64 KB of a request's body, or for what is left of it. Then 408."),
    define(Key::LimitsKeepAliveSeconds, "Limits__KeepAliveSeconds", seconds(10, false), "130", Section::Limits)
        .help("How long an HTTP connection may be idle between requests."),
    define(
        Key::LimitsStreamIdleSeconds,
        "Limits__StreamIdleSeconds",
        seconds(37_000, true),
        "120",
        Section::Limits,
    )
    .help(
            "How long a streaming connection may be silent before it is closed with 1001; 0 means no limit. It \
             must be more than 36, because the browser SDK may send nothing for that long.",
        ),
    define(Key::LimitsWriteStallSeconds, "Limits__WriteStallSeconds", seconds(10, false), "30", Section::Limits)
        .help(
            "How long a connection may accept none of its pending output before it is dropped.",
        ),
    define(
        Key::LimitsWriteMinBytesPerSecond,
        "Limits__WriteMinBytesPerSecond",
        bytes(0, 1 << 30),
        "1024",
        Section::Limits,
    )
    .help(
            "How much of its pending output a connection must accept each second, on average over \
             Limits__WriteStallSeconds, or it is dropped. 0 means no minimum.",
        ),
    define(Key::LimitsCloseSeconds, "Limits__CloseSeconds", seconds(10, false), "5", Section::Limits)
        .help(
            "How long the agent waits for the peer's part of a close: on a WebSocket for the peer's close frame \
             before it ends TCP, so that the close code also reaches SDKs behind proxies; on HTTP for the end of \
             the peer's connection.",
        ),
    define(Key::LimitsHeaderBytes, "Limits__HeaderBytes", bytes(1024, 1 << 20), "32768", Section::Limits)
        .help("The longest head of a request. Then 431."),
    define(Key::LimitsHeaders, "Limits__Headers", count(16, 128), "100", Section::Limits)
        .help("How many header lines a request may have. Then 431."),
    define(Key::LimitsBodyBytes, "Limits__BodyBytes", bytes(1024, 1 << 30), "30000000", Section::Limits)
        .help(
            "The longest body of a request other than a bootstrap call. Then 413. A compressed body may decompress \
             to the same size, but to 4 MB at most.",
        ),
    define(Key::LimitsUserBytes, "Limits__UserBytes", bytes(1024, 1 << 30), "1048576", Section::Limits).help(
            "The longest user that a client SDK may poll with, compressed or not. Then 413. Limits__BodyBytes \
             applies as well.",
        ),
    define(Key::LimitsUserProperties, "Limits__UserProperties", count(1, 1_000_000), "1000", Section::Limits).help(
            "How many custom properties a user may have. A poll with more gets 400; a data-sync message with more \
             gets no answer, as any other without a valid user.",
        ),
    define(Key::LimitsMessageBytes, "Limits__MessageBytes", bytes(1024, 16 << 20), "65536", Section::Limits)
        .help(
            "The longest WebSocket message from an SDK, over all its fragments. Then 1009. A longer message from a \
             downstream agent is skipped.",
        ),
    define(
        Key::LimitsBootstrapBytes,
        "Limits__BootstrapBytes",
        bytes(1024, u32::MAX as u64),
        "536870912",
        Section::Limits,
    )
    .help(
            "The longest dump that a bootstrap call or a data file may contain.",
        ),
    define(Key::LimitsBootstraps, "Limits__Bootstraps", count(1, 64), "1", Section::Limits)
        .help(
            "How many bootstrap calls may be in progress at a time. Further ones get 503 with `Retry-After`.",
        ),
    define(
        Key::LimitsPendingBytes,
        "Limits__PendingBytes",
        bytes(1 << 20, 1 << 40),
        "268435456",
        Section::Limits,
    )
    .help(
            "How much memory all connections together may use for data that belongs to single connections: output \
             that waits for slow readers, and incomplete input. When this memory runs short, large responses wait \
             for up to 5 s, and the connections that hold the most for the longest are closed with 1013, so that \
             their SDKs reconnect. Request bodies from SDKs may take as much memory again, and bodies of up to 64 \
             KB twice as much; further ones get 503.",
        ),
    define(
        Key::LimitsSendBufferBytes,
        "Limits__SendBufferBytes",
        bytes(4096, 16 << 20),
        "65536",
        Section::Limits,
    )
    .help(
            "The kernel's send buffer of each connection, which limits how much kernel memory a peer that does not \
             read can occupy.",
        ),
    define(
        Key::LimitsRegexProgramBytes,
        "Limits__RegexProgramBytes",
        bytes(64 << 10, 1 << 30),
        "10485760",
        Section::Limits,
    )
    .help(
            "How much memory the compiled form of a regular expression may take. A condition with a larger one is \
             never true; the log names it.",
        ),
    define(
        Key::LimitsRegexTotalBytes,
        "Limits__RegexTotalBytes",
        bytes(1 << 20, 1 << 40),
        "268435456",
        Section::Limits,
    )
    .help(
            "How much memory all regular expressions together may take; while data is being replaced, the old ones \
             may take as much again. A condition whose expression does not fit is never true; the log names it.",
        ),
    define(Key::LimitsRegexSteps, "Limits__RegexSteps", count(1000, 100_000_000), "100000", Section::Limits).help(
            "How many backtracking steps a search with a regular expression may take. Then it is stopped, and the \
             condition is not true. Only look-around, back-references and the like cause backtracking.",
        ),
    define(Key::ShutdownDelaySeconds, "Shutdown__DelaySeconds", seconds(0, true), "0", Section::Operation)
        .default_note("5 in Kubernetes")
        .help(
            "How long the agent works on as before after SIGTERM, SIGINT or SIGQUIT, except that readiness answers \
             503 `Draining`. Load balancers and Kubernetes still send connections for some seconds after that; \
             with a delay this long (5 to 10 s in Kubernetes, which the agent detects by KUBERNETES_SERVICE_HOST) \
             none of them is refused. After the delay the agent stops accepting connections.",
        ),
    define(Key::ShutdownDrainSeconds, "Shutdown__DrainSeconds", seconds(0, true), "10", Section::Operation).help(
            "How long the agent takes to close its WebSockets with 1001 after Shutdown__DelaySeconds, so that not \
             all SDKs reconnect at once.",
        ),
    define(Key::MetricsUrl, "Metrics__Url", Kind::Urls, "", Section::Operation)
        .default_note("`/metrics` on the data port")
        .help("Where `/metrics` is served instead of the data port, such as `http://localhost:9100`."),
    define(Key::LoggingLevel, "Logging__Level", Kind::Level, "info", Section::Operation)
        .common()
        .aliases(&[Alias { name: "Logging__LogLevel__Default", environment_only: false, ports: None }])
        .help(
            "How much is logged. .NET's names (`Information`, `Warning`, `Critical`, `None`) are accepted too.",
        ),
    define(Key::LoggingFormat, "Logging__Format", Kind::Format, "auto", Section::Operation)
        .common()
        .help("How log lines are written to standard output. `auto` is `text`; `json` is one object a line."),
];

const _: () = {
    let mut index = 0;
    while index < DEFINITIONS.len() {
        assert!(DEFINITIONS[index].key as usize == index, "the table must be in the order of Key");
        index += 1;
    }
    assert!(DEFINITIONS.len() == Key::LoggingFormat as usize + 1, "the table must hold every Key");
};
