//! All message formats of FeatBit's protocol, in both directions.
//!
//! Must not look anything up, evaluate a flag, or know the time: it parses and writes texts. Nothing that a peer sends makes
//! it panic, and none of its errors contains a secret or a user.
//!
//! | file | what |
//! |---|---|
//! | `from_sdk` | messages of an SDK on a stream |
//! | `to_sdk` | messages of a server to an SDK |
//! | `from_relay` | messages of a relay agent to its upstream: requests for data, its status |
//! | `to_relay` | messages of a server to a relay agent: full syncs, patches, and additions of this agent |
//! | `relay_path` | the names of the agents between an agent and the FeatBit server |
//! | `close` | close codes, and how peers react to them |
//! | `token`, `secret` | how an SDK authenticates |
//! | `sdk` | which SDKs need special treatment |
//! | `user` | the user that a client SDK sends |
//! | `insight` | usage events |
//! | `http` | what the HTTP endpoints share: content types, the timestamp of a poll |
//! | `status`, `details` | the answers to the status call (FeatBit's part, and the additional part for operators) and to bootstrap |
//! | `dump` | writes a dump |
//! | `json` | reads JSON with the rules of .NET |

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
