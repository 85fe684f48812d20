//! Why Redis does not do what it is asked: what happened, where, and what to do.
//!
//! Must not show a password, nor the arguments of a command.

use std::fmt;
use std::io;

use redis::ServerErrorKind;

use crate::client::{DialError, Step};
use crate::tls::explain;

/// What went wrong, for metrics and for deciding what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The name cannot be looked up, or nothing accepts the connection.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The connection ended or broke off.
    Closed,
    /// The TLS handshake failed, or TLS failed later.
    Tls,
    /// The connection is plain, and the server wants TLS.
    NeedsTls,
    /// The other side does not speak the protocol of Redis.
    NotRedis,
    /// The user or password is wrong.
    WrongPassword,
    /// The server wants a password.
    PasswordNeeded,
    /// The server has no password, and there is one in the settings.
    PasswordNotNeeded,
    /// The user may not use the command, key or channel.
    NotPermitted,
    /// The server has no such database.
    Database,
    /// The server is a replica.
    ReadOnly,
    /// The server is a replica that has lost its master.
    MasterDown,
    /// The Sentinels name a server that is no master: a fail-over is under way.
    NoMaster,
    /// The server has just started and loads its data.
    Loading,
    /// The node of a cluster does not have this slot.
    Moved,
    /// The cluster does not serve all slots.
    ClusterDown,
    /// A command has keys of several slots.
    CrossSlot,
    /// The server cannot save its data, and therefore takes no writes.
    CannotPersist,
    /// The server has too few replicas, and therefore takes no writes.
    TooFewReplicas,
    /// The server's memory is used up.
    OutOfMemory,
    /// The server has as many clients as it allows.
    TooManyClients,
    /// A script runs and blocks the server.
    Busy,
    /// The server does not know the script.
    NoScript,
    /// No Sentinel answers.
    NoSentinel,
    /// The Sentinels do not know the service.
    UnknownService,
    /// The server is a Sentinel, or is none where one is expected.
    Sentinel,
    /// Any other error.
    Other,
}

impl ErrorKind {
    /// Its name in metrics and in the status: the code of Redis where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::TimedOut => "timed-out",
            ErrorKind::Closed => "closed",
            ErrorKind::Tls => "tls",
            ErrorKind::NeedsTls => "needs-tls",
            ErrorKind::NotRedis => "not-redis",
            ErrorKind::WrongPassword => "WRONGPASS",
            ErrorKind::PasswordNeeded => "NOAUTH",
            ErrorKind::PasswordNotNeeded => "password-not-needed",
            ErrorKind::NotPermitted => "NOPERM",
            ErrorKind::Database => "database",
            ErrorKind::ReadOnly => "READONLY",
            ErrorKind::MasterDown => "MASTERDOWN",
            ErrorKind::NoMaster => "no-master",
            ErrorKind::Loading => "LOADING",
            ErrorKind::Moved => "MOVED",
            ErrorKind::ClusterDown => "CLUSTERDOWN",
            ErrorKind::CrossSlot => "CROSSSLOT",
            ErrorKind::CannotPersist => "MISCONF",
            ErrorKind::TooFewReplicas => "NOREPLICAS",
            ErrorKind::OutOfMemory => "OOM",
            ErrorKind::TooManyClients => "too-many-clients",
            ErrorKind::Busy => "BUSY",
            ErrorKind::NoScript => "NOSCRIPT",
            ErrorKind::NoSentinel => "no-sentinel",
            ErrorKind::UnknownService => "unknown-service",
            ErrorKind::Sentinel => "sentinel",
            ErrorKind::Other => "other",
        }
    }

    /// Whether only another connection can help: this one is broken, or its server is no longer the right one.
    pub fn needs_new_connection(self) -> bool {
        !matches!(
            self,
            ErrorKind::NotPermitted
                | ErrorKind::CrossSlot
                | ErrorKind::CannotPersist
                | ErrorKind::TooFewReplicas
                | ErrorKind::OutOfMemory
                | ErrorKind::Busy
                | ErrorKind::NoScript
                | ErrorKind::Other
        )
    }

    /// Whether it lasts until an operator changes something. What a fail-over or free memory ends is not of this kind.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            ErrorKind::Tls
                | ErrorKind::NeedsTls
                | ErrorKind::NotRedis
                | ErrorKind::WrongPassword
                | ErrorKind::PasswordNeeded
                | ErrorKind::PasswordNotNeeded
                | ErrorKind::NotPermitted
                | ErrorKind::Database
                | ErrorKind::ReadOnly
                | ErrorKind::CrossSlot
                | ErrorKind::UnknownService
                | ErrorKind::Sentinel
        )
    }

    /// Whether the server answered, so that the error says more than that of a server that cannot be reached.
    pub(super) fn is_answer(self) -> bool {
        !matches!(
            self,
            ErrorKind::Unreachable | ErrorKind::TimedOut | ErrorKind::Closed | ErrorKind::NoSentinel
        )
    }
}

/// Why Redis does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Where it happened, what, and what to do. Never contains a password.
    pub text: String,
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RedisError {}

impl RedisError {
    /// An error at this address.
    pub(super) fn new(kind: ErrorKind, address: &str, problem: &str, remedy: &str) -> Self {
        let end = if remedy.is_empty() { "" } else { ". " };
        Self { kind, text: format!("Redis at {address}: {problem}{end}{remedy}") }
    }

    /// An error of the crate, in the answer to `what`, the name of a command or a script.
    pub fn of(error: &redis::RedisError, what: &str, address: &str) -> Self {
        if let Some(cause) = io_error(error) {
            return Self::of_io(cause, what, address);
        }
        // Of a pipeline or a transaction: its first error.
        if let Some(errors) = error.clone().into_server_errors()
            && let Some((_, first)) = errors.first()
        {
            return Self::of_answer(first.kind(), first.code(), first.details(), what, address);
        }
        match error.kind() {
            redis::ErrorKind::Parse => Self::new(
                ErrorKind::NotRedis,
                address,
                &format!("the answer to {what} is not in the protocol of Redis"),
                "Check the address and the port",
            ),
            kind => Self::new(ErrorKind::Other, address, &format!("{what} failed ({kind:?})"), ""),
        }
    }

    /// An error answer of the server.
    fn of_answer(
        known: Option<ServerErrorKind>,
        code: &str,
        details: Option<&str>,
        what: &str,
        address: &str,
    ) -> Self {
        let details = shown(details.unwrap_or_default());
        let (kind, remedy) = known_answer(known, code, &details);
        let details = details.trim_end_matches('.');
        Self::new(kind, address, &format!("it answers {what} with {code} {details}"), remedy)
    }

    /// A connection that broke, or an answer that did not come.
    pub(super) fn of_io(error: &io::Error, what: &str, address: &str) -> Self {
        use io::ErrorKind::{InvalidData, TimedOut, UnexpectedEof, WouldBlock};
        let text = error.to_string().replace(explain::SECTION, "Redis__");
        match error.kind() {
            TimedOut | WouldBlock => Self::new(
                ErrorKind::TimedOut,
                address,
                &format!("it did not answer {what} within Redis__TimeoutSeconds"),
                "Check its load and the network",
            ),
            InvalidData => Self::new(ErrorKind::Tls, address, &text, ""),
            UnexpectedEof => Self::new(
                ErrorKind::Closed,
                address,
                &format!("it ended the connection at {what} ({text})"),
                "",
            ),
            _ => Self::new(
                ErrorKind::Closed,
                address,
                &format!("the connection broke off at {what} ({text})"),
                "",
            ),
        }
    }
}

impl From<DialError> for RedisError {
    fn from(error: DialError) -> Self {
        let kind = match error.step {
            Step::Resolve | Step::Connect | Step::Proxy => ErrorKind::Unreachable,
            Step::Tls => ErrorKind::Tls,
        };
        let remedy = match error.problem.contains("TLS handshake") {
            true => "Check the port: this may be one without TLS; for Sentinels see Redis__SentinelTls",
            false => &error.remedy,
        };
        // Said there for a server of FeatBit.
        let remedy = match error.problem == "it does not answer with TLS" {
            true => {
                "Check the port: this is one without TLS. Remove ssl=true, or write redis:// instead of rediss://"
            }
            false => remedy,
        };
        Self::new(kind, &error.peer, &error.problem, remedy)
    }
}

fn io_error(error: &redis::RedisError) -> Option<&io::Error> {
    let source = std::error::Error::source(error)?;
    // The crate puts it behind an `Arc`, which is an error as well.
    source.downcast_ref::<io::Error>().or_else(|| {
        source.downcast_ref::<std::sync::Arc<dyn std::error::Error + Send + Sync>>()?.downcast_ref()
    })
}

/// What the server's text may show: one short line, without the arguments that it repeats for an unknown command.
fn shown(details: &str) -> String {
    let end = details.find(", with args beginning with").unwrap_or(details.len());
    details[..end].chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The kind of an error answer, and what to do.
fn known_answer(known: Option<ServerErrorKind>, code: &str, details: &str) -> (ErrorKind, &'static str) {
    match known {
        Some(ServerErrorKind::NoPerm) => (
            ErrorKind::NotPermitted,
            "Give the user what docs/redis.md lists (ACL SETUSER): the commands, the keys and the channels of Redis__KeyPrefix",
        ),
        Some(ServerErrorKind::ReadOnly) => (
            ErrorKind::ReadOnly,
            "It is a replica: name the master in Redis__ConnectionString, or all servers, or the Sentinels with serviceName",
        ),
        Some(ServerErrorKind::CrossSlot) => (
            ErrorKind::CrossSlot,
            "All keys of the agent have one hash tag: check for a proxy in between that changes keys, and Redis__KeyPrefix",
        ),
        Some(ServerErrorKind::BusyLoading) => {
            (ErrorKind::Loading, "It has just started and loads its data: the agent tries again")
        }
        Some(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain) => (
            ErrorKind::Moved,
            "It is a node of a Redis Cluster that does not have the agent's keys: the agent looks for the one that has \
             them. If it does not find it, the user needs the commands HELLO and HLEN",
        ),
        Some(ServerErrorKind::ClusterDown) => {
            (ErrorKind::ClusterDown, "Check the cluster: redis-cli --cluster check HOST:PORT")
        }
        Some(ServerErrorKind::MasterDown) => {
            (ErrorKind::MasterDown, "It is a replica that has lost its master: check the master")
        }
        Some(ServerErrorKind::NoScript) => (ErrorKind::NoScript, ""),
        _ => other_answer(code, details),
    }
}

/// The same for answers that the crate has no names for.
fn other_answer(code: &str, details: &str) -> (ErrorKind, &'static str) {
    match code {
        "WRONGPASS" => (ErrorKind::WrongPassword, "Check the user and the password"),
        "NOAUTH" => {
            (ErrorKind::PasswordNeeded, "Set Redis__Password, for a Sentinel Redis__SentinelPassword")
        }
        "MISCONF" => (
            ErrorKind::CannotPersist,
            "It cannot save its data, and takes no writes: check its disk and its log",
        ),
        "NOREPLICAS" => (
            ErrorKind::TooFewReplicas,
            "It has fewer replicas than min-replicas-to-write: check the replicas",
        ),
        "OOM" => (ErrorKind::OutOfMemory, "Raise its maxmemory, or free memory"),
        "BUSY" => (ErrorKind::Busy, "A script blocks it: see SCRIPT KILL"),
        _ if details.contains("AUTH") && details.contains("without any password") => (
            ErrorKind::PasswordNotNeeded,
            "It has no password for its default user: remove the password from the settings, or set one in Redis",
        ),
        _ if details.starts_with("invalid password") => (ErrorKind::WrongPassword, "Check the password"),
        _ if details.contains("DB index") || details.contains("SELECT is not allowed") => (
            ErrorKind::Database,
            "Check the database in Redis__ConnectionString: a server has as many as its setting databases says, a cluster \
             only 0",
        ),
        _ if details.starts_with("max number of clients") => {
            (ErrorKind::TooManyClients, "Raise its maxclients, or close other connections")
        }
        _ => (ErrorKind::Other, ""),
    }
}
