//! How Redis is reached: the settings, and what is derived from them.
//!
//! Must not open a connection, and must not show a password: an error names the option, never its value.
//!
//! [`connection_string`] parses `Redis__ConnectionString`, in the form of StackExchange.Redis or as a URL (`url`);
//! [`prefix`] checks and makes key prefixes.

pub mod connection_string;
mod hosts;
mod options;
pub mod prefix;
#[cfg(test)]
mod tests;
mod url;

pub use options::ConnectionString;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::{KeyPairFiles, Secret};

/// The Redis servers that agents share, and how they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// The servers, or with [`Redis::service`] the Sentinels; never empty.
    pub hosts: Vec<Host>,
    /// The name under which the Sentinels know the master; `None` means that there are no Sentinels.
    pub service: Option<String>,
    /// Who logs in to the servers.
    pub login: Login,
    /// Who logs in to the Sentinels.
    pub sentinel_login: Login,
    /// The number of the database.
    pub database: u32,
    /// Whether the servers are reached by TLS.
    pub tls: bool,
    /// Whether the Sentinels are reached by TLS.
    pub sentinel_tls: bool,
    /// The name that certificates must be for, instead of the host in the address.
    pub tls_name: Option<String>,
    /// Certificates that are trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// The agent's client certificate and its key.
    pub client_certificate: Option<KeyPairFiles>,
    /// What every key and channel begins with. It contains a hash tag, so that all of them lie in one slot of a cluster.
    pub key_prefix: String,
    /// How long opening a connection may take, and then each answer.
    pub timeout: Duration,
    /// The time between two comparisons with Redis.
    pub poll: Duration,
}

/// A user and a password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The user; `None` is the default user.
    pub user: Option<String>,
    /// The password as it was at the start; `None` means that the agent does not log in.
    pub password: Option<Secret>,
    /// The file that the password is from: it may hold another one by now.
    pub password_file: Option<PathBuf>,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an address, an IPv6 address without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Host {
    /// `name:port`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}
