//! Connections to the Redis that agents share.
//!
//! Must not know what is stored there, nor show a password. Blocks up to `Redis__TimeoutSeconds` at every step: threads that
//! serve SDKs or handle data must not call it.
//!
//! Create one [`Connector`] from the settings. [`Connector::connect`] finds the server that takes writes (the master behind
//! Sentinels, the node of a cluster that has the keys, or the master among several addresses), logs in and returns a
//! [`Connection`] for commands of the crate `redis`. [`Connector::subscribe`] returns a [`Listener`] for one channel.
//! Neither reconnects by itself: after an error for which [`ErrorKind::needs_new_connection`] says so, call `connect` again.
//! The connections are not those of the crate, because these have no deadline over all steps, cannot check a certificate
//! for another name than the address, and read the files of certificates once.
//!
//! ```no_run
//! # use featbit_agent::config;
//! # use featbit_agent::persist::redis::connect::{Connector, RedisError};
//! # fn example(settings: &config::Redis) -> Result<(), Box<dyn std::error::Error>> {
//! let connector = Connector::new(settings)?;
//! let mut connection = connector.connect()?;
//! let key = format!("{}items", settings.key_prefix);
//! let count: u64 = redis::cmd("HLEN")
//!     .arg(&key)
//!     .query(&mut connection)
//!     .map_err(|error| RedisError::of(&error, "HLEN", connection.address()))?;
//! # let _ = count;
//! # Ok(())
//! # }
//! ```

mod connection;
mod error;
mod exchange;
mod for_worker;
mod listener;
mod server;

pub use connection::Connection;
pub use error::{ErrorKind, RedisError};
pub use listener::{Listener, Message};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use redis::{ServerErrorKind, Value, cmd};

use server::{Access, Nature};

use crate::client::RedisDialer;
use crate::config;
use crate::config::redis::Host;

/// How often the nodes of a cluster may send the agent to another one. More than once only while slots move.
const REDIRECTS_MAX: usize = 3;

/// Opens connections to Redis. Cheap to clone; a clone remembers with the others which address was good.
#[derive(Clone, Debug)]
pub struct Connector {
    settings: Arc<config::Redis>,
    dialer: RedisDialer,
    /// The address to try first: the last one that was good.
    first: Arc<AtomicUsize>,
}

/// A connection that is ready, and whether its server takes writes.
enum Found {
    Master(Connection),
    Replica(Connection),
}

impl Connector {
    /// Reads the files of certificates, and checks them. Opens no connection.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn new(settings: &config::Redis) -> Result<Self, String> {
        let dialer = RedisDialer::new(settings.ca_file.clone(), settings.client_certificate.clone());
        let dialer =
            dialer.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))?;
        Ok(Self { settings: Arc::new(settings.clone()), dialer, first: Arc::default() })
    }

    /// The addresses in the settings, for logs.
    pub fn address(&self) -> String {
        let hosts: Vec<_> = self.settings.hosts.iter().map(Host::to_string).collect();
        match &self.settings.service {
            Some(service) => format!("{service} by the Sentinels {}", hosts.join(",")),
            None => hosts.join(","),
        }
    }

    /// Opens a connection to the server that takes writes. If there are only replicas, to one of them: it can be read, and
    /// answers writes with READONLY. Takes no longer than `Redis__TimeoutSeconds`.
    ///
    /// # Errors
    /// Where, why, and what to do. If several addresses failed, all that was found out.
    pub fn connect(&self) -> Result<Connection, RedisError> {
        let end = Instant::now() + self.settings.timeout;
        let hosts = &self.settings.hosts;
        let first = self.first.load(Ordering::Relaxed) % hosts.len().max(1);
        let (mut errors, mut replica) = (Vec::new(), None);
        for place in 0..hosts.len() {
            let index = (first + place) % hosts.len();
            let Some(host) = hosts.get(index) else { continue };
            // Each address gets an equal share of what is left, so that one that does not answer hides no other.
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(hosts.len() - place).unwrap_or(u32::MAX);
            match self.connect_by(host, Instant::now() + share) {
                Ok(Found::Master(connection)) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(self.for_commands(connection));
                }
                Ok(Found::Replica(connection)) => replica = replica.or(Some(connection)),
                Err(error) => errors.push(error),
            }
        }
        match replica {
            Some(connection) => Ok(self.for_commands(connection)),
            None => Err(self.joined(errors)),
        }
    }

    /// Opens a connection for a channel. Takes no longer than `Redis__TimeoutSeconds`. In a cluster every node passes on
    /// what is published; it is the same one that [`Connector::connect`] chooses, so that what can be written can also be
    /// announced.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub fn subscribe(&self) -> Result<Listener, RedisError> {
        Ok(Listener::new(self.connect()?, self.settings.timeout))
    }

    /// Connects to a server, or to the one that this Sentinel names.
    fn connect_by(&self, host: &Host, deadline: Instant) -> Result<Found, RedisError> {
        match &self.settings.service {
            Some(service) => {
                let master = self.master_by(host, service, deadline)?;
                let found = match self.connect_to(&master, deadline) {
                    Ok(Found::Replica(connection)) => Err(RedisError::new(
                        ErrorKind::NoMaster,
                        &connection.address,
                        "it is a replica",
                        "A fail-over is under way, or the Sentinels have lost the others: the agent tries again",
                    )),
                    found => found,
                };
                found.map_err(|error| RedisError {
                    text: format!("{} (the Sentinel {host} named this server)", error.text),
                    ..error
                })
            }
            None => self.connect_to(host, deadline),
        }
    }

    fn connect_to(&self, host: &Host, deadline: Instant) -> Result<Found, RedisError> {
        let mut host = host.clone();
        let (mut connection, nature) = self.open(&host, deadline)?;
        if nature.is_sentinel {
            return Err(RedisError::new(
                ErrorKind::Sentinel,
                &connection.address,
                "it is a Sentinel",
                "Add serviceName=… to Redis__ConnectionString, with the name that the Sentinels know the master by",
            ));
        }
        if nature.is_cluster {
            let mut redirects = 0;
            while let Some(owner) = self.owner(&mut connection, &host)? {
                redirects += 1;
                if redirects > REDIRECTS_MAX {
                    return Err(RedisError::new(
                        ErrorKind::Moved,
                        &connection.address,
                        "the nodes of the cluster send the agent from one to the other",
                        "Check the cluster: redis-cli --cluster check HOST:PORT",
                    ));
                }
                (connection, _) = self.open(&owner, deadline)?;
                host = owner;
            }
        }
        server::make_ready(&mut connection, self.settings.database)?;
        Ok(match nature.is_replica && !nature.is_cluster {
            true => Found::Replica(connection),
            false => Found::Master(connection),
        })
    }

    fn for_commands(&self, mut connection: Connection) -> Connection {
        connection.set_timeout(self.settings.timeout);
        connection
    }

    fn access(&self) -> Access<'_> {
        Access {
            dialer: &self.dialer,
            login: &self.settings.login,
            tls: self.settings.tls,
            tls_name: self.settings.tls_name.as_deref(),
        }
    }

    fn open(&self, host: &Host, deadline: Instant) -> Result<(Connection, Nature), RedisError> {
        let mut connection = self.access().open(host, deadline)?;
        let nature = server::nature_of(&mut connection)?;
        Ok((connection, nature))
    }

    /// The node of a cluster that has the keys, if it is another one than `asked`: the answer to any command with one of them
    /// names it. Who may not use the command finds out by another one later.
    fn owner(&self, connection: &mut Connection, asked: &Host) -> Result<Option<Host>, RedisError> {
        let Err(error) = cmd("HLEN").arg(&self.settings.key_prefix).query::<Value>(connection) else {
            return Ok(None);
        };
        // ASK is for one command only, while a slot is being moved.
        let is_moved = error.kind() == redis::ErrorKind::Server(ServerErrorKind::Moved);
        let owner = error.redirect_node().filter(|_| is_moved);
        let owner = owner.and_then(|(address, _)| redirected(address, asked));
        let error = RedisError::of(&error, "HLEN", &connection.address);
        match (error.kind, owner) {
            (ErrorKind::Moved, Some(owner)) => Ok(Some(owner)),
            // While the slot is being moved, this node still decides; or nothing is known.
            (ErrorKind::Moved | ErrorKind::NotPermitted | ErrorKind::Other, _) => Ok(None),
            _ => Err(error),
        }
    }

    /// The master that a Sentinel names.
    fn master_by(&self, sentinel: &Host, service: &str, deadline: Instant) -> Result<Host, RedisError> {
        let access =
            Access { login: &self.settings.sentinel_login, tls: self.settings.sentinel_tls, ..self.access() };
        let not_reached = |error: RedisError| match error.kind.is_answer() {
            true => error,
            false => RedisError { kind: ErrorKind::NoSentinel, ..error },
        };
        let mut connection = access.open(sentinel, deadline).map_err(not_reached)?;
        let mut question = cmd("SENTINEL");
        let question = question.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let answer: Value = connection
            .query(question, "SENTINEL GET-MASTER-ADDR-BY-NAME")
            .map_err(|error| connection.exchange.explain(error, &connection.address))
            .map_err(|error| match error.kind {
                ErrorKind::Other => RedisError::new(
                    ErrorKind::Sentinel,
                    &connection.address,
                    "it is not a Sentinel",
                    "Name the Sentinels in Redis__ConnectionString (their port is mostly 26379), or remove serviceName",
                ),
                _ => not_reached(error),
            })?;
        if let Some((name, port)) = redis::from_redis_value::<Option<(String, u16)>>(answer).ok().flatten() {
            return Ok(Host { name, port });
        }
        Err(RedisError::new(
            ErrorKind::UnknownService,
            &connection.address,
            &format!("this Sentinel knows no master named {service:?}"),
            "Check serviceName in Redis__ConnectionString: it is the name after `sentinel monitor` in the Sentinels' \
             configuration",
        ))
    }

    /// One error of those of all addresses: of the kind that says most, with all texts.
    fn joined(&self, errors: Vec<RedisError>) -> RedisError {
        let telling = errors.iter().find(|error| error.kind.is_answer()).or(errors.first());
        let kind = telling.map_or(ErrorKind::Unreachable, |error| error.kind);
        let mut texts: Vec<String> = errors.into_iter().map(|error| error.text).collect();
        texts.dedup();
        if texts.is_empty() {
            texts.push(format!("Redis at {}: there was no time to connect", self.address()));
        }
        RedisError { kind, text: texts.join("; ") }
    }
}

/// The host in the answer MOVED. A node that does not know the other's name gives none, which means its own.
fn redirected(address: &str, asked: &Host) -> Option<Host> {
    let (name, port) = address.rsplit_once(':')?;
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let name = if name.is_empty() || name == "?" { &asked.name } else { name };
    let owner = Host { name: name.to_owned(), port: port.parse().ok().filter(|port| *port > 0)? };
    (owner != *asked).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_name_a_host_or_mean_the_one_that_was_asked() {
        let host = |name: &str, port| Host { name: name.into(), port };
        let asked = host("10.0.0.1", 7000);
        for (address, expected) in [
            ("10.0.0.2:7001", Some(host("10.0.0.2", 7001))),
            ("redis.example:7001", Some(host("redis.example", 7001))),
            (":7001", Some(host("10.0.0.1", 7001))),
            ("?:7001", Some(host("10.0.0.1", 7001))),
            ("2001:db8::1:7001", Some(host("2001:db8::1", 7001))),
            ("[2001:db8::1]:7001", Some(host("2001:db8::1", 7001))),
            ("10.0.0.1:7000", None),
            ("10.0.0.2:0", None),
            ("10.0.0.2:70000", None),
            ("10.0.0.2", None),
            ("", None),
        ] {
            assert_eq!(redirected(address, &asked), expected, "{address}");
        }
    }
}
