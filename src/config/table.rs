//! Every setting of the agent. The parser, `--help`, `docs/configuration.md` and `check` are made from this table.
//!
//! Must not hold anything but definitions. A new setting is one entry here, one [`Key`] and one field of
//! [`Settings`](super::Settings); `docs/configuration.md` is then written anew (its test says how).

use super::definition::{Alias, Definition, Key, Kind, Section, Unit};

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
            "The key of the relay proxy, as FeatBit shows it (`rp-…`). It opens the management calls (bootstrap, \
             backup, status); in offline mode it may be left out, and those calls then answer 401. A command line \
             is visible to every user of the machine: prefer the environment or ApiKey__File.",
        ),
    define(Key::ApiKeyFile, "ApiKey__File", Kind::Path, "", Section::Data)
        .common()
        .help("A file that holds the ApiKey and nothing else, as container secrets do. A byte order mark, and blanks and line \
             ends around it, are cut off; within it they are refused. It is read again on SIGHUP and when it changes."),
    define(Key::RelayKeys, "RelayKeys", Kind::Secret, "", Section::Data)
        .default_note("no relays")
        .help(
            "Keys by which other agents may follow this one as they would follow a FeatBit server, separated by `;`. \
             Each is the ApiKey of those agents: 20 or more letters, digits, `-` and `_`, such as `rp-…`. A key alone \
             opens every environment, `key=shop:dev,shop:prod` those of these names (or ids). It opens no management \
             call here, and ApiKey must not be among them. Whoever has one can read every secret of its environments.",
        ),
    define(Key::RelayKeysFile, "RelayKeys__File", Kind::Path, "", Section::Data)
        .help("A file that holds RelayKeys, as container secrets do; line ends count as `;`, and a byte order mark is cut off. It \
              is read again on SIGHUP and when it changes; a key that is gone goes on for RevocationGraceSeconds."),
    define(Key::DataFile, "DataFile", Kind::Path, "", Section::Data)
        .common()
        .needed("offline mode without an ApiKey")
        .help(
            "A dump of FeatBit's relay data, loaded at the start and again whenever it changes. Written as \
             `GET /api/public/proxy/backup` answers it. Offline mode only.",
        ),
    define(Key::DataFileStamp, "DataFileStamp", Kind::Flag, "false", Section::Data).help(
        "Accepted, without effect: SDKs are always told a newer `updatedAt` for what changed without one.",
    ),
    define(
        Key::DataFilePollMilliseconds,
        "DataFilePollMilliseconds",
        Kind::Duration { unit: Unit::Milliseconds, min_ms: 10, zero: false },
        "500",
        Section::Data,
    )
    .help("How often the data file is looked at. A change is taken in when two looks in a row agree."),
    define(Key::AgentId, "AgentId", Kind::Text, "", Section::Data)
        .common()
        .needed("auto mode")
        .help("The name under which this agent registers with the FeatBit server."),
    define(Key::StreamingUri, "StreamingUri", Kind::Uri(&["ws", "wss", "http", "https"]), "", Section::Data)
        .common()
        .needed("auto mode")
        .help(
            "The FeatBit evaluation server to follow, such as `ws://evaluation-server:5100`; one behind a path as \
             `wss://featbit.example/els`. A user or password in it is refused: none is sent.",
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
             .NET, another host name is not resolved and means every address. `https://` needs Tls__CertificateFile. The \
             .NET variables ending in `_PORTS` list ports for every address; those for HTTP and HTTPS are joined. \
             Endpoints of .NET's section Kestrel (`Kestrel__Endpoints__NAME__Url`, with \
             `Kestrel__Endpoints__NAME__Certificate__Path` and `…__KeyPath` if it has a certificate of its own) go \
             over all of these.",
        ),
    define(Key::TlsCertificateFile, "Tls__CertificateFile", Kind::Path, "", Section::Tls)
        .aliases(&[anywhere("Kestrel__Certificates__Default__Path")])
        .needed("addresses that begin with `https://`")
        .help(
            "The certificate that the agent shows on `https://` addresses: PEM, its own certificate first, then the \
             intermediate ones. Read again on SIGHUP and when it changes; connections stay. PFX is not taken.",
        ),
    define(Key::TlsKeyFile, "Tls__KeyFile", Kind::Path, "", Section::Tls)
        .aliases(&[anywhere("Kestrel__Certificates__Default__KeyPath")])
        .needed("Tls__CertificateFile")
        .help("The private key (PEM, not encrypted) of Tls__CertificateFile. May be the same file."),
    define(Key::TlsClientCaFile, "Tls__ClientCaFile", Kind::Path, "", Section::Tls).help(
        "The authorities (PEM) that issue the certificates of clients. Read again when it changes: connections that \
         are open stay, and nobody comes back by a ticket from before.",
    ),
    define(Key::TlsClientCertificate, "Tls__ClientCertificate", Kind::ClientCertificate, "", Section::Tls)
        .default_note("`required` if Tls__ClientCaFile is set, else `none`")
        .help(
            "Whether clients have to show a certificate. `optional` checks one that is shown. It opens nothing by \
             itself: SDKs still need their secret.",
        ),
    define(Key::TlsHandshakesPerTurn, "Tls__HandshakesPerTurn", count(1, 1024), "4", Section::Tls).help(
        "How many steps of handshakes a reactor takes before all open connections get their turn. A handshake costs as \
         much as hundreds of messages, so that a storm of them would hold up everybody.",
    ),
    define(Key::TlsPollSeconds, "Tls__PollSeconds", seconds(10, false), "5", Section::Tls)
        .help("How often the files of TLS are looked at. A change is taken in when two looks in a row agree."),
    define(Key::ListenBacklog, "Listen__Backlog", count(1, 65_535), "65535", Section::Listening).help(
        "How many connections may wait to be accepted, for each reactor's listener. The kernel cuts it to \
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
        "How far the time in an SDK's connection token may be from the agent's clock, either way. A connection \
         outside it gets no data and is closed with 1008 after Streaming__TokenHoldSeconds.",
    ),
    define(
        Key::StreamingTokenHoldSeconds,
        "Streaming__TokenHoldSeconds",
        seconds(0, true),
        "30",
        Section::Sdks,
    )
    .help(
        "How long a connection with an expired token is held before it is closed, so that SDKs with a wrong clock \
         come back slowly.",
    ),
    define(
        Key::StreamingTrackClientHostName,
        "Streaming__TrackClientHostName",
        Kind::Flag,
        "false",
        Section::Sdks,
    )
    .help("Taken from existing configurations and ignored. The agent never looks up the names of its clients."),
    define(Key::RevocationGraceSeconds, "RevocationGraceSeconds", seconds(0, true), "60", Section::Sdks).help(
        "How long connections stay after their secret is gone from the data, or has another type in it, before they \
         are closed with 4003, which ends an SDK for good. A mistaken dump put right within this time costs nobody. Where a server is \
         followed, it is asked once more when the time is over, and they stay until it has answered.",
    ),
    define(
        Key::PollingAllowClientSecretForServer,
        "Polling__AllowClientSecretForServer",
        Kind::Flag,
        "false",
        Section::Sdks,
    )
    .help(
        "Let a client secret read the server payload, as FeatBit's own agent does. That payload holds every \
         targeting rule, and client secrets are public.",
    ),
    define(Key::CorsOrigins, "Cors__Origins", Kind::Origins, "*", Section::Sdks).help(
        "Which origins browsers may call from, such as `https://shop.example,https://admin.example`. As \
         environment variables also `Cors__Origins__0` and so on; in a file also an array.",
    ),
    define(Key::CorsMaxAgeSeconds, "Cors__MaxAgeSeconds", seconds(0, true), "600", Section::Sdks)
        .help("How long a browser may remember the answer to a preflight request."),
    define(Key::EchoPath, "EchoPath", Kind::UrlPath, "", Section::Sdks)
        .default_note("no echo")
        .help(
            "A path that opens a plain WebSocket echo without a token, for conformance suites. Not for production.",
        ),
    define(Key::ForwardEvents, "ForwardEvents", Kind::Flag, "true", Section::Events).help(
        "Whether usage events go to EventUri. Without EventUri they are dropped with one warning, unless this is said \
         explicitly. This version counts and drops them all.",
    ),
    define(Key::EventUri, "EventUri", Kind::Uri(&["http", "https"]), "", Section::Events)
        .needed("ForwardEvents, if that is said explicitly")
        .help("Where usage events go, such as `http://evaluation-server:5100`."),
    define(Key::UpstreamCaFile, "Upstream__CaFile", Kind::Path, "", Section::Upstream).help(
        "Certificates (PEM) that are trusted beside those of the system when the agent connects to a server by `wss` or \
         `https`: for a private certificate authority. Read again when it changes. The system's are found as OpenSSL \
         finds them; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.",
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
        "The certificate (PEM, with its intermediate ones) by which the agent shows who it is to servers that ask for \
         one. Read again when it changes.",
    ),
    define(Key::UpstreamClientKeyFile, "Upstream__ClientKeyFile", Kind::Path, "", Section::Upstream)
        .needed("Upstream__ClientCertificateFile")
        .help("The private key (PEM, not encrypted) of Upstream__ClientCertificateFile."),
    define(Key::UpstreamProxy, "Upstream__Proxy", Kind::Proxy, "", Section::Upstream)
        .default_note("`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`")
        .help(
            "The proxy through which servers are reached, such as `http://user:password@proxy:3128`, or `none` for no \
             proxy. It goes over the environment: NO_PROXY is not looked at then. Every connection, encrypted or not, \
             is a tunnel by CONNECT. By default HTTPS_PROXY counts for `wss` and `https`, HTTP_PROXY for `ws` and \
             `http`, ALL_PROXY for what has none; lower case goes over upper case. NO_PROXY lists names (with all that \
             end in them), addresses and networks such as `10.0.0.0/8`, each with a port if need be, or `*`.",
        ),
    define(
        Key::UpstreamConnectSeconds,
        "Upstream__ConnectSeconds",
        seconds(10, false),
        "10",
        Section::Upstream,
    )
    .help(
        "How long opening a connection to a server may take, from the look-up of its name to the end of the TLS \
         handshake. An answer to what is then asked on it (a registration, the WebSocket handshake) may take as long.",
    ),
    define(Key::UpstreamRetrySeconds, "Upstream__RetrySeconds", seconds(10, false), "60", Section::Upstream).help(
        "The longest pause between two attempts to connect to the FeatBit server. The first is up to a second, each \
         failure doubles it, and chance shortens it, so that many agents do not come back together. There is no last \
         attempt. When the server refuses the key or the licence, pauses are as long as this, or half as long.",
    ),
    define(Key::UpstreamPingSeconds, "Upstream__PingSeconds", seconds(10, false), "15", Section::Upstream)
        .help("How often the FeatBit server is sent a ping."),
    define(Key::UpstreamSilenceSeconds, "Upstream__SilenceSeconds", seconds(20, false), "45", Section::Upstream)
        .help(
            "How long nothing may come from the FeatBit server before the connection is given up and another one opened. \
             Longer than Upstream__PingSeconds.",
        ),
    define(Key::UpstreamSyncSeconds, "Upstream__SyncSeconds", seconds(10, false), "60", Section::Upstream).help(
        "How long the FeatBit server may take to answer a request for data, or for the next part of an answer, before \
         the connection is given up and another one opened.",
    ),
    define(
        Key::UpstreamReadMinBytesPerSecond,
        "Upstream__ReadMinBytesPerSecond",
        bytes(0, 1 << 30),
        "256",
        Section::Upstream,
    )
    .help(
        "How much of a message that the FeatBit server has begun has to arrive each second, on average over \
         Upstream__SyncSeconds, or the connection is given up and another one opened. 0 asks for nothing.",
    ),
    define(Key::UpstreamResyncSeconds, "Upstream__ResyncSeconds", seconds(10, true), "600", Section::Upstream).help(
        "How often everything is asked for again, on the open connection; 0 is never. Environments that came into the \
         scope of the relay proxy or left it, new and revoked secrets, and deleted flags arrive in no other way, but for \
         SIGHUP and `POST /api/public/proxy/resync`. What has not changed costs SDKs nothing. Chance moves it by a tenth.",
    ),
    define(
        Key::UpstreamUnknownSecretResyncSeconds,
        "Upstream__UnknownSecretResyncSeconds",
        seconds(10, false),
        "30",
        Section::Upstream,
    )
    .help(
        "How often, at most, everything is asked for because an SDK shows a secret that is not known: it may have been \
         made a moment ago. Only when the answer lacks it is the SDK refused.",
    ),
    define(Key::UpstreamStatusSeconds, "Upstream__StatusSeconds", seconds(10, false), "60", Section::Upstream)
        .help("How often the agent reports its status to the FeatBit server, beside each change of it."),
    define(Key::LimitsConnections, "Limits__Connections", count(0, 10_000_000), "0", Section::Limits)
        .default_note("what the descriptor limit allows")
        .help("How many connections may be open at a time. Further ones are closed at once, and counted."),
    define(Key::LimitsVerdictWait, "Limits__VerdictWait", seconds(0, true), "10", Section::Limits).help(
        "How long an SDK is held while no data has been loaded and its secret can be neither accepted nor refused; \
         then 1011, or 503 with `Retry-After`.",
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
        "How long a streaming connection may be silent before it is closed with 1001; 0 means for ever. More than \
         36, since the browser SDK may be quiet that long.",
    ),
    define(Key::LimitsWriteStallSeconds, "Limits__WriteStallSeconds", seconds(10, false), "30", Section::Limits)
        .help("How long a connection with output waiting may take none of it before it is dropped."),
    define(
        Key::LimitsWriteMinBytesPerSecond,
        "Limits__WriteMinBytesPerSecond",
        bytes(0, 1 << 30),
        "1024",
        Section::Limits,
    )
    .help(
        "How much of its waiting output a connection has to take each second, on average over \
         Limits__WriteStallSeconds, or it is dropped. 0 asks for nothing.",
    ),
    define(Key::LimitsCloseSeconds, "Limits__CloseSeconds", seconds(10, false), "5", Section::Limits)
        .help("How long the peer's part of a close is waited for: on a WebSocket its own close frame, before TCP is ended, so that \
              the code reaches SDKs behind proxies too; on HTTP its end."),
    define(Key::LimitsHeaderBytes, "Limits__HeaderBytes", bytes(1024, 1 << 20), "32768", Section::Limits)
        .help("The longest head of a request. Then 431."),
    define(Key::LimitsHeaders, "Limits__Headers", count(16, 128), "100", Section::Limits)
        .help("How many header lines a request may have. Then 431."),
    define(Key::LimitsBodyBytes, "Limits__BodyBytes", bytes(1024, 1 << 30), "30000000", Section::Limits)
        .help("The longest body of a request other than a bootstrap call. Then 413. A compressed one may unfold to as \
             much, and to 4 MB at most."),
    define(Key::LimitsUserBytes, "Limits__UserBytes", bytes(1024, 1 << 30), "1048576", Section::Limits).help(
        "The longest user that a client SDK may poll with, compressed or not. Then 413. Limits__BodyBytes holds too.",
    ),
    define(Key::LimitsUserProperties, "Limits__UserProperties", count(1, 1_000_000), "1000", Section::Limits).help(
        "How many custom properties a user may have. A poll with more gets 400; a data-sync with more is not \
         answered, as any other without a valid user.",
    ),
    define(Key::LimitsMessageBytes, "Limits__MessageBytes", bytes(1024, 16 << 20), "65536", Section::Limits)
        .help("The longest WebSocket message from an SDK, over all its fragments. Then 1009. A longer one of an agent that \
              follows this one is passed over."),
    define(
        Key::LimitsBootstrapBytes,
        "Limits__BootstrapBytes",
        bytes(1024, u32::MAX as u64),
        "536870912",
        Section::Limits,
    )
    .help("The longest dump that a bootstrap call or a data file may bring."),
    define(Key::LimitsBootstraps, "Limits__Bootstraps", count(1, 64), "1", Section::Limits)
        .help("How many bootstrap calls may be under way at a time. Further ones get 503 with `Retry-After`."),
    define(
        Key::LimitsPendingBytes,
        "Limits__PendingBytes",
        bytes(1 << 20, 1 << 40),
        "268435456",
        Section::Limits,
    )
    .help(
        "How much memory single connections may hold for themselves, over all of them together: output that waits \
         for slow readers, and input that is not complete. When it is short, large answers wait up to 5 s, and the \
         connections that hold most for longest are closed with 1013, so that their SDKs come back. Bodies of SDKs \
         that are on their way in may take as much again, and those up to 64 KB twice as much; what goes beyond gets \
         503.",
    ),
    define(
        Key::LimitsSendBufferBytes,
        "Limits__SendBufferBytes",
        bytes(4096, 16 << 20),
        "65536",
        Section::Limits,
    )
    .help("The kernel's send buffer of each connection, which bounds what a peer that does not read can pin."),
    define(
        Key::LimitsRegexProgramBytes,
        "Limits__RegexProgramBytes",
        bytes(64 << 10, 1 << 30),
        "10485760",
        Section::Limits,
    )
    .help(
        "How much memory the compiled form of a regular expression may take. A condition with a larger one is never \
         true, and named in the log.",
    ),
    define(
        Key::LimitsRegexTotalBytes,
        "Limits__RegexTotalBytes",
        bytes(1 << 20, 1 << 40),
        "268435456",
        Section::Limits,
    )
    .help(
        "How much all regular expressions may take together; while data is being replaced, the old ones may take as \
         much again. A condition whose expression does not fit is never true, and named in the log.",
    ),
    define(Key::LimitsRegexSteps, "Limits__RegexSteps", count(1000, 100_000_000), "100000", Section::Limits).help(
        "How often the search with a regular expression may go back before it is given up and the condition is not \
         true. Only look-around, back-references and the like ever go back.",
    ),
    define(Key::ShutdownDelaySeconds, "Shutdown__DelaySeconds", seconds(0, true), "0", Section::Operation)
        .default_note("5 in Kubernetes")
        .help(
            "How long everything goes on as before after SIGTERM, SIGINT or SIGQUIT, but for readiness, which answers 503 \
             `Draining`. Load balancers and Kubernetes send connections for seconds after they were told not to: with a \
             delay as long as that (5 to 10 s in Kubernetes, which is known by KUBERNETES_SERVICE_HOST) none of them is refused. Then the agent \
             stops accepting.",
        ),
    define(Key::ShutdownDrainSeconds, "Shutdown__DrainSeconds", seconds(0, true), "10", Section::Operation).help(
        "Over how long WebSockets are closed with 1001 after Shutdown__DelaySeconds, so that SDKs do not all come back \
         at once.",
    ),
    define(Key::MetricsUrl, "Metrics__Url", Kind::Urls, "", Section::Operation)
        .default_note("`/metrics` on the data port")
        .help("Where `/metrics` is served instead of the data port, such as `http://localhost:9100`."),
    define(Key::LoggingLevel, "Logging__Level", Kind::Level, "info", Section::Operation)
        .common()
        .aliases(&[Alias { name: "Logging__LogLevel__Default", environment_only: false, ports: None }])
        .help("How much is logged. .NET's names (`Information`, `Warning`, `Critical`, `None`) are taken too."),
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

const fn define(
    key: Key,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    section: Section,
) -> Definition {
    Definition {
        key,
        name,
        kind,
        default,
        default_note: "",
        section,
        common: false,
        needed: "",
        aliases: &[],
        help: "",
    }
}

impl Definition {
    const fn common(mut self) -> Self {
        self.common = true;
        self
    }

    const fn needed(mut self, when: &'static str) -> Self {
        self.needed = when;
        self
    }

    const fn default_note(mut self, note: &'static str) -> Self {
        self.default_note = note;
        self
    }

    const fn aliases(mut self, aliases: &'static [Alias]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }
}

const fn environment(name: &'static str) -> Alias {
    Alias { name, environment_only: true, ports: None }
}

const fn anywhere(name: &'static str) -> Alias {
    Alias { name, environment_only: false, ports: None }
}

const fn ports(name: &'static str, scheme: &'static str, environment_only: bool) -> Alias {
    Alias { name, environment_only, ports: Some(scheme) }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max }
}

const fn seconds(min_ms: u64, zero: bool) -> Kind {
    Kind::Duration { unit: Unit::Seconds, min_ms, zero }
}
