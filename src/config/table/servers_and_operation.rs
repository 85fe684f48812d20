//! Settings of the connections that the agent opens, of limits and of operation.
//!
//! Must contain definitions only.

use crate::config::definition::{Alias, Definition, Key, Kind, Section, bytes, count, define, seconds};

pub(super) const DEFINITIONS: &[Definition] = &[
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
