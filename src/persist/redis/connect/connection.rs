//! A connection for commands.

use std::time::Duration;

use redis::{Cmd, ConnectionLike, FromRedisValue, RedisResult, Value};

use super::error::RedisError;
use super::exchange::{Exchange, Limit};

/// A connection to the server that takes writes. Use it with the crate's commands, pipelines and scripts.
///
/// A server that is silent for `Redis__TimeoutSeconds` before it has answered is an error, after which the connection is
/// closed, as after any error but those that the server answers.
pub struct Connection {
    pub(super) exchange: Exchange,
    pub(super) address: String,
    pub(super) database: u32,
}

impl Connection {
    /// The server, for logs.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sets how long the server may be silent before it has answered.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.exchange.limit = Limit::Silence(timeout);
    }

    /// Sends a command, and converts the answer. `what` names the command in the error.
    ///
    /// # Errors
    /// What the server answers, or that it does not.
    pub fn query<T: FromRedisValue>(&mut self, command: &Cmd, what: &str) -> Result<T, RedisError> {
        command.query(self).map_err(|error| RedisError::of(&error, what, &self.address))
    }

    fn answer(&mut self) -> RedisResult<Value> {
        loop {
            // None is asked for, but one must not be taken for the answer.
            match self.exchange.receive()? {
                Value::Push { .. } => {}
                value => return Ok(value),
            }
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        self.exchange.send(command)?;
        self.answer()
    }

    /// The answers from number `offset` on. Errors before it are those of commands within a transaction: then it was not
    /// executed, and its own answer says so.
    fn req_packed_commands(
        &mut self,
        commands: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        self.exchange.send(commands)?;
        let mut refused = None;
        for _ in 0..offset {
            if let Value::ServerError(error) = self.answer()? {
                refused.get_or_insert(error);
            }
        }
        let answers = (0..count).map(|_| self.answer()).collect::<RedisResult<Vec<_>>>()?;
        match refused {
            Some(error) => Err(error.into()),
            None => Ok(answers),
        }
    }

    fn get_db(&self) -> i64 {
        self.database.into()
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").query::<Value>(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.exchange.is_open()
    }
}
