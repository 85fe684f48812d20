//! What the tests of sending share, and those over real sockets.

mod answers;
mod connections;
mod faults;
mod harness;
mod stand_in;
mod threads;

use crate::client::{DialError, Step};
use crate::insights::events::{Batch, Events, Form};
use crate::insights::queue::StreamKey;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;

use super::outcome::{Fault, Outcome};

fn environment(number: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([number; 16])
}

/// The stream of an environment with this number.
pub fn stream(number: u8) -> StreamKey {
    StreamKey { environment: environment(number), kind: SecretKind::Server }
}

/// A secret of that environment.
pub fn secret(number: u8) -> Secret {
    Secret::build([7; 16], environment(number))
}

/// A batch of environment 1 with these events.
pub fn batch<T: AsRef<str>>(texts: &[T]) -> Batch {
    let mut events = Events::builder(0);
    texts.iter().for_each(|text| events.add(text.as_ref().as_bytes()));
    Batch {
        environment: environment(1),
        secret: secret(1),
        kind: SecretKind::Server,
        form: Form::Raw,
        received_ms: 0,
        events: events.build(),
    }
}

/// The outcome of a request for which there was no connection.
pub fn no_connection() -> Outcome {
    Outcome::Again(Fault::NoConnection(DialError {
        step: Step::Connect,
        peer: "els:5100".into(),
        problem: "cannot be connected to".into(),
        remedy: "Check it".into(),
    }))
}
