//! What the worker for the data of agents needs, in terms of a connector.

use std::time::Duration;

use redis::ConnectionLike;

use super::{Connector, Listener, RedisError};
use crate::persist::redis::dial::{Dial, Failure, Listen};

impl Dial for Connector {
    fn connect(&self) -> Result<Box<dyn ConnectionLike + Send>, Failure> {
        Ok(Box::new(Connector::connect(self)?))
    }

    fn listen(&self, channel: &str) -> Result<Box<dyn Listen>, Failure> {
        let mut listener = self.subscribe()?;
        listener.subscribe(channel)?;
        Ok(Box::new(listener))
    }

    fn address(&self) -> String {
        Connector::address(self)
    }

    fn explain(&self, error: &redis::RedisError, what: &str) -> Failure {
        RedisError::of(error, what, &Connector::address(self)).into()
    }
}

impl Listen for Listener {
    fn next(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, Failure> {
        Ok(Listener::next(self, wait)?.map(|message| message.payload))
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self {
            kind: error.kind.as_str(),
            refused: error.kind.is_refusal(),
            usable: !error.kind.needs_new_connection(),
            text: error.text,
        }
    }
}
