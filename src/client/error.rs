//! Why a connection could not be opened.

use std::fmt;

/// The step at which opening a connection failed; a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking the name up.
    Resolve,
    /// Opening the TCP connection.
    Connect,
    /// Opening a tunnel through the proxy.
    Proxy,
    /// The TLS handshake, with the check of the server's certificate.
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

/// Why a connection could not be opened: what happened, where, and what to do. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// The step that failed.
    pub step: Step,
    /// The other end of that step, such as `els.example:443` or `the proxy proxy.example:3128`.
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
