//! Fetches one full sync from a server as a dump, for agents that cannot reach the server themselves.
//!
//! Must not register, and must not leave a connection or thread behind.

use std::fmt;
use std::time::{Duration, Instant};

use crate::model::dataset::LeftOut;
use crate::model::parse::{DatasetError, DatasetText};
use crate::protocol::close::CloseCode;
use crate::protocol::dump;
use crate::protocol::from_relay::RelayRequest;
use crate::protocol::to_relay::{MessageError, MessageKind, ToRelay};
use crate::telemetry::metrics::DialFault;

use super::connection::{ConnectionEnd, Next};
use super::follow::FailureKind;
use super::opener::{ConnectError, Opener};

/// The error if the server sends messages, but not the answer.
const UNANSWERED: &str = "the server did not answer, whatever else it sent";

/// Why there is no dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullError {
    /// The server refuses the key.
    Refused(String),
    /// The server cannot be reached, or did not answer.
    Unavailable(String),
    /// The answer cannot be served.
    Unusable(DatasetError),
    /// The server has no environment for the key.
    Empty,
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PullError::Refused(text) | PullError::Unavailable(text) => f.write_str(text),
            PullError::Unusable(faults) => write!(f, "what the server sent cannot be served: {faults}"),
            PullError::Empty => f.write_str(
                "the server has no environment with a secret for this key; check the scope of the relay proxy",
            ),
        }
    }
}

impl std::error::Error for PullError {}

impl From<ConnectError> for PullError {
    fn from(failure: ConnectError) -> Self {
        match failure.kind {
            // A gateway refuses, not the server.
            _ if failure.reason == DialFault::Gateway => PullError::Unavailable(failure.text),
            FailureKind::Refused => PullError::Refused(failure.text),
            FailureKind::Failed => PullError::Unavailable(failure.text),
        }
    }
}

/// Requests a full sync and returns it as a dump for offline mode. The answer has to begin within `patience`, and then bytes
/// have to come in at least every `patience`. Other messages of the server are ignored.
///
/// # Errors
/// See [`PullError`].
pub fn pull(opener: &Opener, patience: Duration) -> Result<Vec<u8>, PullError> {
    let mut connection = opener.stream()?;
    connection.set_patience(patience);
    let unavailable = |text: String| PullError::Unavailable(format!("{}: {text}", opener.endpoint));
    if let Err(ended) = connection.send(RelayRequest::full().write()) {
        return Err(unavailable(describe(&ended, opener.message_bytes_max)));
    }
    let (deadline, mut pushed) = (Instant::now() + patience, false);
    loop {
        match connection.next() {
            Next::Message(message) => {
                if let Some(dump) = dump_of(&mut DatasetText::new(message))? {
                    connection.close();
                    return Ok(dump);
                }
                if Instant::now() >= deadline {
                    return Err(unavailable(UNANSWERED.into()));
                }
                pushed = true;
                connection.set_deadline(deadline);
            }
            Next::Ended(ConnectionEnd::Broken(_)) if pushed && Instant::now() >= deadline => {
                return Err(unavailable(UNANSWERED.into()));
            }
            Next::Ended(ConnectionEnd::Closed(CloseCode::REFUSED)) => {
                let text = "the server refuses the ApiKey (it closed the connection with code 4003): either it does not \
                            know it, or the relay proxy has no environment with a server secret";
                return Err(PullError::Refused(format!("{}: {text}", opener.endpoint)));
            }
            Next::Ended(ended) => return Err(unavailable(describe(&ended, opener.message_bytes_max))),
            Next::Blocked => return Err(unavailable("nothing came in time".into())),
        }
    }
}

/// The dump, if the message is a full sync.
fn dump_of(message: &mut DatasetText) -> Result<Option<Vec<u8>>, PullError> {
    match ToRelay::parse(message) {
        Ok(ToRelay::Full { dataset, .. }) => {
            if !dataset.left_out.is_empty() {
                // An error, not a shorter dump: nobody would notice what is missing in it.
                let LeftOut { faults, more, .. } = dataset.left_out;
                return Err(PullError::Unusable(DatasetError { faults, more }));
            }
            if dataset.environments.iter().all(|environment| environment.secrets.is_empty()) {
                return Err(PullError::Empty);
            }
            Ok(Some(dump::write(&dataset)))
        }
        // Pushes, pongs.
        Ok(_)
        | Err(MessageError {
            kind: Some(MessageKind::Change | MessageKind::Patch | MessageKind::Environment),
            ..
        }) => Ok(None),
        Err(MessageError { faults, .. }) => Err(PullError::Unusable(faults)),
    }
}

fn describe(ended: &ConnectionEnd, bytes_max: u64) -> String {
    match ended {
        ConnectionEnd::Closed(code) => {
            format!("the server closed the connection with code {code} before it had answered")
        }
        ConnectionEnd::TooLarge(bytes) => {
            format!("the answer has {bytes} bytes, and Limits__BootstrapBytes allows {bytes_max}: raise it")
        }
        ConnectionEnd::Broken(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Moment, Writer, WriterOptions};

    #[test]
    fn the_dump_equals_the_backup_of_an_agent() {
        let parts = include_str!("../../../tests/vectors/relay.json");
        let recorded: serde_json::Value = serde_json::from_str(parts).unwrap();
        let messages = recorded["streaming"].as_array().unwrap().iter().flat_map(|part| {
            let answers = part["got"].as_array().cloned().unwrap_or_default();
            answers.into_iter().filter_map(|answer| answer.as_str().map(str::to_owned))
        });
        let mut compared = 0;
        for message in messages {
            let mut text = DatasetText::new(message.into_bytes());
            if let Ok(ToRelay::Full { dataset, .. }) = ToRelay::parse(&mut text) {
                let mut writer = Writer::new(WriterOptions::default());
                writer.replace(&dataset, Moment::default());
                let backup = writer.current().backup().to_vec();
                assert_eq!(String::from_utf8(dump::write(&dataset)), String::from_utf8(backup));
                compared += 1;
            }
        }
        assert!(compared > 0);
    }
}
