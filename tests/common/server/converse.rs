//! The messages of a relay agent, and what the stand-in answers.

use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::Shared;
use super::delayed::{Delay, Delayed};
use super::relay::Relay;
use super::script::Answer;
use super::socket::{Incoming, Reader};
use crate::common::frames::{BINARY, CLOSE, TEXT};

/// The longest message the server takes, and the most pieces it takes one in.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
const PIECES_MAX: usize = 4;

/// Serves a streaming connection to its end; returns the code of the agent's close frame.
pub fn converse(shared: &Shared, relay: &Arc<Relay>, mut reader: Reader) -> io::Result<Option<u16>> {
    loop {
        let message = match reader.message() {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    shared.fault(format!("connection {}: {error}", relay.number));
                }
                return Err(error);
            }
        };
        match message.opcode {
            TEXT | BINARY => take(shared, relay, message),
            CLOSE => {
                let code = message.payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                relay.saw_close(message.payload);
                // The agent ends the connection when it has seen the answer, or it is gone already.
                while matches!(reader.message(), Ok(Some(_))) {}
                return Ok(code);
            }
            opcode => relay.saw_control(opcode, message.payload),
        }
    }
}

fn take(shared: &Shared, relay: &Arc<Relay>, message: Incoming) {
    let fault = |what: &str| shared.fault(format!("connection {}: {what}", relay.number));
    if message.payload.len() > MESSAGE_BYTES_MAX || message.frames > PIECES_MAX {
        // Dropped silently.
        fault(&format!("a message of {} bytes in {} frames", message.payload.len(), message.frames));
        return;
    }
    let Ok(json) = serde_json::from_slice::<Value>(&message.payload) else { return fault("no JSON") };
    let data = &json["data"];
    match json["messageType"].as_str().unwrap_or_default() {
        "ping" => relay.saw_ping(),
        "data-sync" => {
            if !data["timestamp"].is_i64() {
                fault("a data-sync request without a timestamp");
            }
            answer(shared, relay, json);
        }
        "rp-agent-status" => {
            let status = data["status"].as_str().map(serde_json::from_str::<Value>);
            match (data["agentId"].as_str(), status) {
                (Some(id), Some(Ok(status))) => {
                    relay.saw_status(serde_json::json!({ "agentId": id, "status": status }));
                }
                _ => fault(&format!("a status report of another form: {json}")),
            }
        }
        other => fault(&format!("a message of the type {other:?}")),
    }
}

/// Answers a request, or does what the script says. All under one lock: nothing that changes at the same time can get
/// between the answer and its place in the connection's queue.
fn answer(shared: &Shared, relay: &Arc<Relay>, request: Value) {
    let mut state = shared.state();
    let honest = |state: &super::State| state.model.answer(&relay.key, &relay.mapped, &request);
    let next = state.script.answers.pop_front().unwrap_or(Answer::Honest);
    // Whoever sees the request and has an answer for the next one must not find it given to this one.
    relay.saw_request(request.clone());
    match next {
        Answer::Honest => match state.script.delay {
            None => relay.respond(honest(&state)),
            Some(delay) => {
                let answer = (delay == Delay::AsRequested).then(|| honest(&state));
                state.delayed.push(Delayed { relay: Arc::clone(relay), request, answer });
            }
        },
        Answer::Text(text) => relay.respond(text),
        Answer::Binary(text) => relay.send_binary(text.as_bytes()),
        Answer::Bytes(bytes) => relay.send_bytes(&bytes),
        Answer::None => {}
    }
}
