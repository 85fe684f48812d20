//! The only home of the texts of FeatBit's wire, in both directions.
//!
//! Must not look anything up, evaluate a flag, or know the time: it turns texts into values and values into texts.
//! Nothing that a peer sends makes it panic, and no error of it shows a secret or a user.
//!
//! | file | what |
//! |---|---|
//! | `from_sdk` | what an SDK says on a stream |
//! | `to_sdk` | what a server says to an SDK |
//! | `from_relay` | what a relay agent says to the server that it follows: requests for data, its status |
//! | `to_relay` | what a server says to a relay agent: full syncs, patches, and what agents of this make add |
//! | `relay_path` | the names of the agents between one and the source of truth |
//! | `close` | close codes, and what SDKs make of them |
//! | `token`, `secret` | what an SDK shows to be let in |
//! | `sdk` | which SDKs need something of their own |
//! | `user` | the user of a client SDK |
//! | `insight` | usage events |
//! | `http` | what the HTTP endpoints share: content types, the timestamp of a poll |
//! | `status`, `details` | the answers to the status call (FeatBit's part, and the part for operators) and to bootstrap |
//! | `json` | reads JSON by the rules of .NET |

pub mod close;
pub mod details;
pub mod dump;
pub mod from_relay;
pub mod from_sdk;
pub mod http;
pub mod insight;
pub mod json;
pub mod relay_path;
#[cfg(test)]
mod samples;
pub mod sdk;
pub mod secret;
pub mod status;
pub mod to_relay;
pub mod to_sdk;
pub mod token;
pub mod user;
