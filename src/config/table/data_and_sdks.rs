//! Settings of the sources of data, of listening and of SDK connections.
//!
//! Must contain definitions only.

use crate::config::definition::{
    Definition, Key, Kind, Section, Unit, anywhere, count, define, environment, ports, seconds,
};

pub(super) const DEFINITIONS: &[Definition] = &[
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
];
