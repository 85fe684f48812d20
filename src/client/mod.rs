//! Connections that the agent opens: to the FeatBit server that it follows, to where usage events go; one small HTTP
//! client on top of them, and how long to wait before the next attempt.
//!
//! Must not know what is sent on them, nor wait for anything without a deadline. Nothing here shows a password.
//!
//! A [`Dialer`] is made once from the settings and the environment; both are judged then. It is cheap to clone and can
//! be used from any thread; [`Dialer::connect`] blocks for at most `Upstream__ConnectSeconds`, so a thread that has
//! something else to do lets another one call it:
//!
//! ```no_run
//! # use featbit_agent::config::{AbsoluteUri, Settings};
//! # use featbit_agent::client::{Dialer, ProxyEnvironment};
//! # fn example(settings: &Settings, uri: &AbsoluteUri) -> Result<(), Box<dyn std::error::Error>> {
//! let environment = ProxyEnvironment::from_variables(std::env::vars_os());
//! let dialer = Dialer::new(settings.dial.clone(), &environment).map_err(|errors| errors[0].to_string())?;
//! let stream = dialer.connect(uri)?;
//! stream.set_nonblocking(true)?;
//! # Ok(())
//! # }
//! ```
//!
//! The [`Stream`] reads and writes like a socket, whatever lies between: hand it to a WebSocket client, or write an HTTP
//! request to it. `ws` and `http` are the same here, as are `wss` and `https`; the path is the caller's business.
//! Certificates, private authorities and keys are read again when their files change.

mod connect;
mod dialer;
mod error;
pub mod http;
mod proxy;
pub mod random;
pub mod retry;
mod stream;
mod trust;
mod tunnel;

pub use dialer::{Dialer, connect_unverified};
pub use error::{DialError, Step};
pub use proxy::{Proxies, Proxy, ProxyEnvironment};
pub use stream::{BeforeDeadline, Stream};
