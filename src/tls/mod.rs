//! Certificates, keys and settings of TLS, for connections that come in and for those that the agent opens.
//!
//! Must not touch a socket or start a thread: it turns files into configurations of rustls, and errors of rustls into
//! words. No private key leaves it in a text.
//!
//! [`pem`] reads files, `chain` and [`validity`] look into certificates, [`client`] and [`server`] make configurations of the two sides, [`explain`] says what went wrong.
//! The cryptography is ring's: it builds with a C compiler alone.

mod chain;
pub mod client;
pub mod explain;
pub mod pem;
pub mod server;
pub mod validity;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

/// The cryptography of both sides.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    PROVIDER.clone()
}
