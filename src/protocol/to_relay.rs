//! What a server says to a relay agent.

use crate::protocol::status::SyncState;

/// `rp-verified`: nothing exists that the relay was not sent before it asked with this number.
pub fn verified(number: u64) -> String {
    format!(r#"{{"messageType":"rp-verified","data":{{"verify":{number}}}}}"#)
}

/// `rp-path`: the path from this agent to the source of truth is another one from now on.
pub fn path(names: &[String]) -> String {
    serde_json::json!({ "messageType": "rp-path", "data": { "path": names } }).to_string()
}

/// `rp-state`: the state of this agent's own upstream.
pub fn state(state: SyncState) -> String {
    format!(r#"{{"messageType":"rp-state","data":{{"state":"{}"}}}}"#, state.as_str())
}
