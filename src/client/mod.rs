//! Connections that the agent opens: to the upstream FeatBit server, to the receiver of usage events, and to Redis. Also a small
//! HTTP client for them, and the back-off between attempts.
//!
//! Must not know what is sent on a connection, nor wait without a deadline. Must not show a password.
//!
//! Create one [`Dialer`] from the settings and the environment; that validates both. It is cheap to clone and can be used
//! from any thread. [`Dialer::connect`] blocks for at most `Upstream__ConnectSeconds`, so a thread with other work must
//! call it on another thread:
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
//! The [`Stream`] reads and writes like a socket, with or without TLS and proxy: pass it to a WebSocket client, or write an
//! HTTP request to it. Here `ws` means the same as `http`, and `wss` the same as `https`; the path is ignored.
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

pub use dialer::{Dialer, RedisDialer, connect_unverified};
pub use error::{DialError, Step};
pub use proxy::{Proxies, Proxy, ProxyEnvironment};
pub use stream::{BeforeDeadline, Stream};
