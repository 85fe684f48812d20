//! Everything that a server holds for a relay proxy, once: for sites without a way to it.
//!
//! Must not register, and must not leave anything running.

use std::fmt;
use std::time::{Duration, Instant};

use crate::model::dataset::LeftOut;
use crate::model::parse::{DatasetError, DatasetText};
use crate::protocol::close::CloseCode;
use crate::protocol::from_relay::RelayRequest;
use crate::protocol::to_relay::{MessageError, MessageKind, ToRelay};
use crate::store::{Moment, Writer, WriterOptions};

use crate::telemetry::metrics::DialFault;

use super::connection::{Ended, Next};
use super::dial::{Caller, Failure};
use super::follow::Fault;

/// What is wrong with a server that only pushes.
const UNANSWERED: &str = "the server did not answer, whatever else it sent";

/// Why there is no dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullError {
    /// The server does not let the key in.
    Refused(String),
    /// The server cannot be reached, or did not answer.
    Unavailable(String),
    /// What it answered cannot be served.
    Unusable(DatasetError),
    /// It holds no environment for the key.
    Empty,
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PullError::Refused(told) | PullError::Unavailable(told) => f.write_str(told),
            PullError::Unusable(faults) => write!(f, "what the server sent cannot be served: {faults}"),
            PullError::Empty => f.write_str(
                "the server holds no environment with a secret for this key; look at the scope of the relay proxy",
            ),
        }
    }
}

impl std::error::Error for PullError {}

impl From<Failure> for PullError {
    fn from(failure: Failure) -> Self {
        match failure.fault {
            // It is not the server that refuses.
            _ if failure.reason == DialFault::Gateway => PullError::Unavailable(failure.told),
            Fault::Refused => PullError::Refused(failure.told),
            Fault::Failed => PullError::Unavailable(failure.told),
        }
    }
}

/// Asks for everything and returns it as a dump that offline mode takes. The answer has to begin within `patience`, and
/// to go on at least as often; what else the server says is no part of it.
///
/// # Errors
/// See [`PullError`].
pub fn pull(caller: &Caller, patience: Duration) -> Result<Vec<u8>, PullError> {
    let mut connection = caller.stream()?;
    connection.set_patience(patience);
    let unavailable = |told: String| PullError::Unavailable(format!("{}: {told}", caller.endpoint));
    if let Err(ended) = connection.send(RelayRequest::full().write()) {
        return Err(unavailable(told(&ended, caller.message_bytes_max)));
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
            Next::Ended(Ended::Broken(_)) if pushed && Instant::now() >= deadline => {
                return Err(unavailable(UNANSWERED.into()));
            }
            Next::Ended(Ended::Closed(CloseCode::REFUSED)) => {
                let told = "the server refuses the ApiKey (it closed the connection with code 4003): either it does not \
                            know it, or the relay proxy has no environment with a server secret";
                return Err(PullError::Refused(format!("{}: {told}", caller.endpoint)));
            }
            Next::Ended(ended) => return Err(unavailable(told(&ended, caller.message_bytes_max))),
            Next::Blocked => return Err(unavailable("nothing came in time".into())),
        }
    }
}

/// The dump, if the message is one.
fn dump_of(message: &mut DatasetText) -> Result<Option<Vec<u8>>, PullError> {
    match ToRelay::parse(message) {
        Ok(ToRelay::Full { dataset, .. }) => {
            if !dataset.left_out.is_empty() {
                // Nobody would miss in a dump what it does not hold.
                let LeftOut { faults, more, .. } = dataset.left_out;
                return Err(PullError::Unusable(DatasetError { faults, more }));
            }
            if dataset.environments.iter().all(|environment| environment.secrets.is_empty()) {
                return Err(PullError::Empty);
            }
            let mut writer = Writer::new(WriterOptions::default());
            writer.replace(&dataset, Moment::default());
            Ok(Some(writer.current().backup().to_vec()))
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

fn told(ended: &Ended, bytes_max: u64) -> String {
    match ended {
        Ended::Closed(code) => {
            format!("the server closed the connection with code {code} before it had answered")
        }
        Ended::TooLarge(bytes) => {
            format!("the answer has {bytes} bytes, and Limits__BootstrapBytes allows {bytes_max}: raise it")
        }
        Ended::Broken(told) => told.clone(),
    }
}
