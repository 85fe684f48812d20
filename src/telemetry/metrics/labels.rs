//! The label values of metrics: closed lists, so that no peer can create a label value.
//!
//! Must not contain values that come from outside.

/// How many environments have their own label value; the rest share `other`.
pub const ENVIRONMENTS_MAX: usize = 200;

/// Defines an enum whose members are label values.
macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $member:ident => $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum $name { $($(#[$doc])* $member,)+ }

        impl $name {
            /// Every member, in order.
            pub const ALL: &'static [$name] = &[$($name::$member,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label's text.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$member => $text,)+ }
            }
        }
    };
}

labels! {
    /// The kind of a connection.
    Connection {
        /// HTTP, or not known yet.
        Http => "http",
        /// Streaming of a server SDK.
        Server => "server",
        /// Streaming of a client SDK.
        Client => "client",
        /// A downstream agent.
        Relay => "relay",
        /// A WebSocket that waits for its verdict or its close code, or that echoes.
        Other => "other",
    }
}

labels! {
    /// Why a connection ended.
    Closed {
        /// The peer closed it in order.
        Peer => "peer",
        /// The connection failed.
        Broken => "broken",
        /// An HTTP connection that had answered its last request.
        Done => "done",
        /// The secret or token is refused for good (4003).
        Refused => "refused",
        /// No data in time to decide (1011).
        Undecided => "undecided",
        /// A token of another time (1008).
        Expired => "expired",
        /// Its secret was removed from the data (4003).
        Revoked => "revoked",
        /// The peer broke the protocol.
        Protocol => "protocol",
        /// A limit of time.
        Limit => "limit",
        /// Memory was short (1013).
        Memory => "memory",
        /// The agent goes down (1001).
        Shutdown => "shutdown",
    }
}

labels! {
    /// What was sent as a data-sync message.
    Sync {
        /// Everything.
        Full => "full",
        /// What changed, asked for or pushed.
        Patch => "patch",
        /// One diff for a connection that had fallen behind.
        Behind => "behind",
    }
}

labels! {
    /// A limit that was hit, named as its setting.
    Limit {
        /// `Limits__Connections`.
        Connections => "connections",
        /// No descriptor left to accept with.
        Descriptors => "descriptors",
        /// `Limits__VerdictWait`.
        VerdictWait => "verdict_wait",
        /// `Limits__HeadSeconds`.
        HeadSeconds => "head_seconds",
        /// `Limits__BodySeconds`.
        BodySeconds => "body_seconds",
        /// `Limits__KeepAliveSeconds`.
        KeepAliveSeconds => "keep_alive_seconds",
        /// `Limits__StreamIdleSeconds`.
        StreamIdleSeconds => "stream_idle_seconds",
        /// `Limits__WriteStallSeconds`.
        WriteStallSeconds => "write_stall_seconds",
        /// `Limits__WriteMinBytesPerSecond`.
        WriteMinBytesPerSecond => "write_min_bytes_per_second",
        /// `Limits__CloseSeconds`.
        CloseSeconds => "close_seconds",
        /// `Limits__HeaderBytes`.
        HeaderBytes => "header_bytes",
        /// `Limits__Headers`.
        Headers => "headers",
        /// `Limits__BodyBytes`.
        BodyBytes => "body_bytes",
        /// `Limits__UserBytes`.
        UserBytes => "user_bytes",
        /// `Limits__UserProperties`.
        UserProperties => "user_properties",
        /// `Limits__MessageBytes`.
        MessageBytes => "message_bytes",
        /// `Limits__BootstrapBytes`.
        BootstrapBytes => "bootstrap_bytes",
        /// `Limits__Bootstraps`.
        Bootstraps => "bootstraps",
        /// `Limits__PendingBytes`.
        PendingBytes => "pending_bytes",
        /// `Events__QueueBytes`.
        EventsQueueBytes => "events_queue_bytes",
        /// `Limits__RegexProgramBytes`.
        RegexProgramBytes => "regex_program_bytes",
        /// `Limits__RegexTotalBytes`.
        RegexTotalBytes => "regex_total_bytes",
        /// `Limits__RegexSteps`.
        RegexSteps => "regex_steps",
        /// `Tls__HandshakesPerTurn`.
        HandshakesPerTurn => "handshakes_per_turn",
    }
}

labels! {
    /// How a TLS handshake succeeded.
    Handshake {
        /// With certificates and signatures.
        Anew => "full",
        /// With a session ticket of an earlier connection.
        Resumed => "resumed",
    }
}

labels! {
    /// Why a TLS handshake failed.
    HandshakeFailure {
        /// The peer began with HTTP, without TLS.
        PlainHttp => "plain_http",
        /// The peer, a proxy, began with the PROXY protocol.
        ProxyProtocol => "proxy_protocol",
        /// It sent something that is not TLS, or violated the protocol.
        Protocol => "protocol",
        /// No common version, cipher, group or protocol.
        Incompatible => "incompatible",
        /// It presented no certificate, or one that is not trusted.
        ClientCertificate => "client_certificate",
        /// It refused the agent's certificate, or ended the handshake with another alert.
        Alert => "alert",
        /// It went away.
        Gone => "gone",
        /// It took too long.
        Timeout => "timeout",
        /// An error on this side.
        Internal => "internal",
    }
}

labels! {
    /// The outcome of a changed certificate or key.
    Reload {
        /// It is in use.
        Done => "done",
        /// It cannot be used; the previous one stays in use.
        Failed => "failed",
    }
}

labels! {
    /// Why an SDK or an operator was refused.
    Refusal {
        /// No secret or token, or a malformed one.
        Malformed => "malformed",
        /// A secret or token in a format that this agent does not know, but its upstream may.
        UnknownForm => "unknown_form",
        /// A secret for another type of SDK, or an unknown type.
        WrongType => "wrong_type",
        /// A secret that the data does not have.
        Unknown => "unknown",
        /// No data yet.
        NotLoaded => "not_loaded",
        /// A secret that the data does not have; the upstream has not confirmed that in time.
        Unverified => "unverified",
        /// A token of another time.
        Expired => "expired",
        /// A secret that was removed from the data.
        Revoked => "revoked",
        /// A relay key that is not in `RelayKeys`.
        RelayKey => "relay_key",
        /// A wrong key for a management call, or no key is set.
        ApiKey => "api_key",
    }
}

labels! {
    /// The route of an HTTP request.
    Route {
        /// `/streaming`.
        Streaming => "streaming",
        /// The polling endpoint of server SDKs.
        PollServer => "poll_server",
        /// The polling endpoint of client SDKs.
        PollClient => "poll_client",
        /// Usage events.
        Track => "track",
        /// Bootstrap, backup, status.
        Admin => "admin",
        /// Health checks.
        Health => "health",
        /// Metrics.
        Metrics => "metrics",
        /// The WebSocket echo.
        Echo => "echo",
        /// Anything else, broken requests included.
        Other => "other",
    }
}

labels! {
    /// The class of an HTTP status.
    Status {
        /// 1xx, upgrades.
        Informational => "1xx",
        /// 2xx.
        Success => "2xx",
        /// 3xx.
        Redirection => "3xx",
        /// 4xx.
        ClientError => "4xx",
        /// 5xx.
        ServerError => "5xx",
    }
}

impl Status {
    /// The class of `status`.
    pub const fn of(status: u16) -> Self {
        match status {
            0..200 => Status::Informational,
            200..300 => Status::Success,
            300..400 => Status::Redirection,
            400..500 => Status::ClientError,
            _ => Status::ServerError,
        }
    }
}

labels! {
    /// Where a dataset came from.
    Source {
        /// The data file.
        File => "file",
        /// A bootstrap call.
        Bootstrap => "bootstrap",
        /// The upstream.
        Upstream => "upstream",
        /// Another agent of the cluster.
        Cluster => "cluster",
    }
}

labels! {
    /// The step at which opening a stream from the server failed.
    DialFault {
        /// The lookup of its name.
        Resolve => "resolve",
        /// Opening the TCP connection.
        Connect => "connect",
        /// The request to the proxy.
        Proxy => "proxy",
        /// The TLS handshake.
        Tls => "tls",
        /// The registration of the agent. The stream is opened anyway.
        Register => "register",
        /// The WebSocket handshake.
        Handshake => "handshake",
        /// The server refused the key or the licence.
        Refused => "refused",
        /// Something in front of the server did not let the agent through.
        Gateway => "gateway",
        /// The attempt did not end in time.
        Abandoned => "abandoned",
        /// The server is an agent that follows this agent.
        Ring => "ring",
    }
}

labels! {
    /// Why a stream from the server ended.
    StreamEnd {
        /// The server closed it.
        Closed => "closed",
        /// The server closed it with 4003.
        Refused => "refused",
        /// The other end turned out to follow this agent.
        Ring => "ring",
        /// The connection failed.
        Broken => "broken",
        /// Nothing arrived for `Upstream__SilenceSeconds`.
        Silent => "silent",
        /// A request was not answered for `Upstream__SyncSeconds`.
        Unanswered => "unanswered",
        /// A message came more slowly than `Upstream__ReadMinBytesPerSecond`.
        Slow => "slow",
        /// An answer could not be read.
        Unreadable => "unreadable",
        /// A message was longer than `Limits__BootstrapBytes`.
        TooLarge => "too_large",
        /// Another stream took its place.
        Replaced => "replaced",
    }
}

labels! {
    /// The kind of data from the server.
    UpstreamSync {
        /// Everything.
        Full => "full",
        /// Items newer than the requested version.
        Patch => "patch",
        /// A change that was pushed.
        Change => "change",
        /// All of one environment, pushed.
        Environment => "environment",
    }
}

labels! {
    /// The kind of an item of a server's message that could not be read and was left out.
    LeftOutKind {
        /// A flag.
        Flag => "flag",
        /// A segment.
        Segment => "segment",
        /// A secret.
        Secret => "secret",
    }
}

labels! {
    /// Why a message of the server was not used.
    Unused {
        /// It has errors.
        Faulty => "faulty",
        /// A full sync without a flag or segment, or all of an environment that is not named.
        Empty => "empty",
        /// A full sync during which more changes were pushed than could be remembered.
        Overtaken => "overtaken",
        /// The agent does not know this kind of message.
        Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_index_their_own_place() {
        for (place, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, place);
        }
        assert_eq!(Limit::COUNT, Limit::HandshakesPerTurn as usize + 1);
    }

    #[test]
    fn statuses_fall_into_their_class() {
        for (status, class) in
            [(101, "1xx"), (200, "2xx"), (204, "2xx"), (304, "3xx"), (499, "4xx"), (503, "5xx")]
        {
            assert_eq!(Status::of(status).as_str(), class);
        }
    }

    /// The row of a metric in the table of metrics.
    fn documented(metric: &str) -> &'static str {
        let rows = include_str!("../../../docs/operations.md").lines().filter(|line| line.starts_with("| `"));
        let name = format!("`{metric}`");
        let mut of_metric = rows.filter(|row| row.split('|').nth(1).is_some_and(|cell| cell.contains(&name)));
        of_metric.next().unwrap_or_else(|| panic!("docs/operations.md has no row for {metric}"))
    }

    #[test]
    fn the_documentation_names_every_metric_and_every_label() {
        let metrics = super::super::Metrics::new();
        // These are there only where there is a server, a backup file, a Redis.
        metrics.upstream();
        metrics.show_backup(super::super::Reader::new(super::super::BackupNumbers::default));
        metrics.show_redis(super::super::Reader::new(super::super::RedisNumbers::default));
        let page = metrics.render();
        for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE featbit_agent_")) {
            documented(name.split(' ').next().unwrap());
        }
        fn texts<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Vec<&'static str> {
            all.iter().map(|member| text(*member)).collect()
        }
        for (metric, labels) in [
            ("connections", texts(Connection::ALL, Connection::as_str)),
            ("connections_closed", texts(Closed::ALL, Closed::as_str)),
            ("syncs", texts(Sync::ALL, Sync::as_str)),
            ("http_responses", texts(Route::ALL, Route::as_str)),
            ("refusals", texts(Refusal::ALL, Refusal::as_str)),
            ("tls_handshakes", texts(Handshake::ALL, Handshake::as_str)),
            ("tls_handshake_failures", texts(HandshakeFailure::ALL, HandshakeFailure::as_str)),
            ("tls_certificate_reloads", texts(Reload::ALL, Reload::as_str)),
            ("key_reloads", texts(Reload::ALL, Reload::as_str)),
            ("datasets_rejected", texts(Source::ALL, Source::as_str)),
            ("upstream_dial_failures", texts(DialFault::ALL, DialFault::as_str)),
            ("upstream_streams_ended", texts(StreamEnd::ALL, StreamEnd::as_str)),
            ("upstream_syncs", texts(UpstreamSync::ALL, UpstreamSync::as_str)),
            ("upstream_messages_unused", texts(Unused::ALL, Unused::as_str)),
        ] {
            let row = documented(metric);
            for label in labels {
                assert!(row.contains(&format!("`{label}`")), "docs/operations.md: {metric} lacks {label}");
            }
        }
    }
}
