//! The agent's settings, from the command line, the environment and a file.
//!
//! Must not touch a socket, a thread, a global or the process's limits, and must not log: it turns text into
//! [`Settings`], whose types allow only valid values, or into the list of all errors in that text.
//! Files are read through a function that the caller passes.
//!
//! One [table] defines every setting; the parser, `--help`, `docs/configuration.md` and `check` are made
//! from it. The way of a value: [`source`] collects what was given and where (`raw`), highest precedence
//! last; `validate` turns that into [`Settings`] and collects every [`SettingError`] on the way.

pub mod definition;
pub mod docs;
mod environment;
pub mod error;
pub mod event_properties;
mod events;
mod file;
pub mod files;
mod json;
pub mod key_files;
mod limits;
pub mod listen;
pub mod names;
mod origins;
pub mod pseudonym_key;
mod raw;
pub mod redis;
mod relay_keys;
mod secret;
pub mod settings;
pub mod source;
mod suggest;
pub mod table;
#[cfg(test)]
mod tests;
pub mod uri;
mod validate;
pub mod value;

pub use definition::{Definition, Key, Kind, Section};
pub use error::{Origin, RejectedSettings, SettingError};
pub use event_properties::{PropertyAction, PropertyRule};
pub use events::{Events, EventsMode, EventsOverride, PseudonymKeySource};
pub use limits::Limits;
pub use listen::{Listen, ListenAddress, Scheme};
pub use origins::Origins;
pub use redis::Redis;
pub use secret::{KeyPairFiles, Secret};
pub use settings::{
    Access, Backup, CertificateFiles, ClientCertificate, Cors, DataFile, Dial, Effective, KeyFiles, Log,
    LogFormat, Mode, Polling, ProxyChoice, RelayKey, Settings, Streaming, Tls, Upstream,
};
pub use source::Inputs;
pub use table::DEFINITIONS;
pub use uri::AbsoluteUri;
pub use validate::{Loaded, access, events_directory, listening, load, pseudonyms};
