//! One server: opens a connection, logs in, and finds out what kind of server it is.

use std::time::Instant;

use redis::{Cmd, Value, cmd};

use super::connection::Connection;
use super::error::{ErrorKind, RedisError};
use super::exchange::{Exchange, Limit};
use crate::client::RedisDialer;
use crate::config::key_files;
use crate::config::redis::{Host, Login};

/// The name of the agent's connections in CLIENT LIST.
const CLIENT_NAME: &str = "featbit-agent";

/// How a server is reached.
pub(super) struct Access<'a> {
    pub dialer: &'a RedisDialer,
    pub login: &'a Login,
    /// Whether by TLS, and the name that certificates must be for if it is not the host.
    pub tls: bool,
    pub tls_name: Option<&'a str>,
}

/// What kind of server it is, as far as the user may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nature {
    pub is_replica: bool,
    pub is_cluster: bool,
    pub is_sentinel: bool,
}

impl Access<'_> {
    /// A connection that is logged in.
    pub fn open(&self, host: &Host, deadline: Instant) -> Result<Connection, RedisError> {
        let tls_name = self.tls.then_some(self.tls_name.unwrap_or(&host.name));
        let stream = self.dialer.connect(&host.name, host.port, tls_name, deadline)?;
        let mut connection = Connection {
            exchange: Exchange::new(stream, Limit::Until(deadline)),
            address: host.to_string(),
            database: 0,
        };
        if let Some(password) = self.password() {
            let mut auth = cmd("AUTH");
            if let Some(user) = &self.login.user {
                auth.arg(user);
            }
            let answer = connection.query::<Value>(auth.arg(password), "AUTH");
            answer.map_err(|error| connection.exchange.explain(error, &connection.address))?;
        }
        Ok(connection)
    }

    /// The password: from its file, if that can be read, since it may have changed.
    fn password(&self) -> Option<String> {
        let file = self.login.password_file.as_ref();
        let read =
            file.and_then(|path| key_files::password(&crate::config::files::read_small(path).ok()?).ok());
        read.as_ref().or(self.login.password.as_ref()).map(|password| password.expose().to_owned())
    }
}

/// Asks the server what it is. HELLO tells it at once; servers before Redis 6, and users who may not use it, need INFO.
/// Who may do neither gets the answer for a single master: what differs shows up in the errors of later commands.
pub(super) fn nature_of(connection: &mut Connection) -> Result<Nature, RedisError> {
    let hello = connection.query::<Value>(cmd("HELLO").arg(2).arg("SETNAME").arg(CLIENT_NAME), "HELLO");
    match hello.map_err(|error| connection.exchange.explain(error, &connection.address)) {
        Ok(answer) => Ok(from_hello(&answer)),
        Err(error) if is_refused(&error) => match connection.query::<String>(&cmd("INFO"), "INFO") {
            Ok(info) => Ok(from_info(&info)),
            Err(error) if is_refused(&error) => Ok(Nature::default()),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Whether the server only refuses the command itself.
fn is_refused(error: &RedisError) -> bool {
    matches!(error.kind, ErrorKind::NotPermitted | ErrorKind::Other)
}

fn from_hello(answer: &Value) -> Nature {
    let mut nature = Nature::default();
    let pairs = match answer {
        Value::Array(items) => items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect::<Vec<_>>(),
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        _ => Vec::new(),
    };
    let text = |value: &Value| redis::from_redis_value_ref::<String>(value).unwrap_or_default();
    for (name, value) in pairs {
        nature.learn(&text(name), &text(value));
    }
    nature
}

fn from_info(info: &str) -> Nature {
    let mut nature = Nature::default();
    for (name, value) in info.lines().filter_map(|line| line.trim().split_once(':')) {
        nature.learn(name, value);
    }
    nature
}

impl Nature {
    /// Takes a field of HELLO or INFO.
    fn learn(&mut self, name: &str, value: &str) {
        match (name, value) {
            ("mode" | "redis_mode", "cluster") => self.is_cluster = true,
            ("mode" | "redis_mode", "sentinel") => self.is_sentinel = true,
            ("cluster_enabled", "1") => self.is_cluster = true,
            ("role", "replica" | "slave") => self.is_replica = true,
            _ => {}
        }
    }
}

/// Chooses the database, and checks that the server takes commands.
pub(super) fn make_ready(connection: &mut Connection, database: u32) -> Result<(), RedisError> {
    if database != 0 {
        connection.query::<Value>(cmd("SELECT").arg(database), "SELECT")?;
        connection.database = database;
    }
    // A server that loads its data answers HELLO all the same.
    let ping: Cmd = cmd("PING");
    match connection.query::<Value>(&ping, "PING") {
        Err(error) if error.kind != ErrorKind::NotPermitted => {
            Err(connection.exchange.explain(error, &connection.address))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_and_info_tell_the_same() {
        let text = |text: &str| Value::BulkString(text.into());
        let hello =
            Value::Array(["server", "redis", "mode", "cluster", "role", "replica", "odd"].map(text).to_vec());
        let expected = Nature { is_replica: true, is_cluster: true, is_sentinel: false };
        assert_eq!(from_hello(&hello), expected);
        let info = "# Server\r\nredis_mode:cluster\r\n\r\n# Replication\r\nrole:slave\r\n";
        assert_eq!(from_info(info), expected);
        assert_eq!(from_info("cluster_enabled:1"), Nature { is_cluster: true, ..Nature::default() });
        assert_eq!(from_hello(&Value::Nil), Nature::default());
        let map = Value::Map(vec![(text("mode"), text("sentinel"))]);
        assert_eq!(from_hello(&map), Nature { is_sentinel: true, ..Nature::default() });
    }
}
