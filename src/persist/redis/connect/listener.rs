//! A connection that hears what is published on channels.

use std::time::{Duration, Instant};

use redis::Value;

use super::connection::Connection;
use super::error::{ErrorKind, RedisError};
use super::exchange::Limit;

/// What was published on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel.
    pub channel: Vec<u8>,
    /// What was published.
    pub payload: Vec<u8>,
}

/// A connection that hears what is published. It sends a PING when it has heard nothing for a while, so that a connection
/// that has silently died is noticed.
#[derive(Debug)]
pub struct Listener {
    connection: Connection,
    timeout: Duration,
    heard: Instant,
    pinged: Option<Instant>,
}

impl Listener {
    pub(super) fn new(connection: Connection, timeout: Duration) -> Self {
        Self { connection, timeout, heard: Instant::now(), pinged: None }
    }

    /// The server, for logs.
    pub fn address(&self) -> &str {
        self.connection.address()
    }

    /// Subscribes to a channel, and waits until the server has confirmed it: what is published after that is heard.
    ///
    /// # Errors
    /// What the server answers, such as that the user may not do so.
    pub fn subscribe(&mut self, channel: &str) -> Result<(), RedisError> {
        let command = redis::cmd("SUBSCRIBE").arg(channel).get_packed_command();
        self.connection.exchange.limit = Limit::Until(Instant::now() + self.timeout);
        self.send(&command)?;
        match self.connection.exchange.receive().and_then(Value::extract_error) {
            Ok(_) => {
                self.heard = Instant::now();
                Ok(())
            }
            Err(error) => Err(self.error(&error)),
        }
    }

    /// The next message, or `None` if none comes within `wait`.
    ///
    /// # Errors
    /// That the connection has ended, or that the server no longer answers a PING.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Message>, RedisError> {
        let end = Instant::now() + wait;
        loop {
            self.keep_alive()?;
            // No later than the next thing to do for `keep_alive`.
            let due = self.pinged.unwrap_or(self.heard) + self.timeout;
            self.connection.exchange.limit = Limit::Until(end.min(due));
            match self.connection.exchange.receive_in_time() {
                Ok(Some(value)) => {
                    (self.heard, self.pinged) = (Instant::now(), None);
                    match value.extract_error() {
                        Ok(value) => {
                            if let Some(message) = message(value) {
                                return Ok(Some(message));
                            }
                        }
                        Err(error) => return Err(self.error(&error)),
                    }
                }
                Ok(None) if Instant::now() >= end => return Ok(None),
                Ok(None) => {}
                Err(error) => return Err(self.error(&error)),
            }
        }
    }

    /// Sends a PING after a time without a message, and gives up after as long without an answer.
    fn keep_alive(&mut self) -> Result<(), RedisError> {
        let now = Instant::now();
        match self.pinged {
            Some(pinged) if now >= pinged + self.timeout => Err(RedisError::new(
                ErrorKind::TimedOut,
                self.connection.address(),
                "it did not answer PING within Redis__TimeoutSeconds",
                "Check its load and the network",
            )),
            None if now >= self.heard + self.timeout => {
                self.pinged = Some(now);
                self.connection.exchange.limit = Limit::Until(now + self.timeout);
                self.send(&redis::cmd("PING").get_packed_command())
            }
            _ => Ok(()),
        }
    }

    fn send(&mut self, command: &[u8]) -> Result<(), RedisError> {
        self.connection.exchange.send(command).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &redis::RedisError) -> RedisError {
        RedisError::of(error, "SUBSCRIBE", self.connection.address())
    }
}

/// The message in a value; others are confirmations and answers to PING.
fn message(value: Value) -> Option<Message> {
    let message = redis::Msg::from_owned_value(value)?;
    let channel = message.get_channel().ok()?;
    Some(Message { channel, payload: message.get_payload().ok()? })
}
