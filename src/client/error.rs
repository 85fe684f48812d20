//! Why a connection could not be opened.

use std::fmt;

/// At which step opening a connection failed, as a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name was looked up.
    Resolve,
    /// A TCP connection was opened.
    Connect,
    /// The proxy was asked for a tunnel.
    Proxy,
    /// TLS was agreed on, and the server's certificate checked.
    Tls,
}

impl Step {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Resolve => "resolve",
            Step::Connect => "connect",
            Step::Proxy => "proxy",
            Step::Tls => "tls",
        }
    }
}

/// Why a connection could not be opened: what happened, where, and what to do. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// At which step.
    pub step: Step,
    /// To whom the step led, such as `els.example:443` or `the proxy proxy.example:3128`.
    pub peer: String,
    /// What happened.
    pub problem: String,
    /// What to do; may be empty.
    pub remedy: String,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.peer, self.problem)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, ". {}", self.remedy) }
    }
}

impl std::error::Error for DialError {}
