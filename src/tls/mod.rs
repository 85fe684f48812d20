//! Certificates, keys and TLS configuration, for accepted connections and for those that the agent opens.
//!
//! Must not touch a socket or start a thread: it turns files into rustls configurations, and rustls errors into messages.
//! No message contains a private key.
//!
//! [`pem`] reads files, `chain` and [`validity`] inspect certificates, [`client`] and [`certificates`] configure the two
//! sides, [`explain`] describes errors. The cryptography is that of ring, which needs only a C compiler to build.

pub mod certificates;
mod chain;
pub mod client;
pub mod explain;
pub mod pem;
pub mod validity;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

/// The cryptography for both sides.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    PROVIDER.clone()
}
