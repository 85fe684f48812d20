//! Both ends of the tests' connections: a server's configuration, and clients that trust it.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

struct Endpoints {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    roots: RootCertStore,
}

static ENDPOINTS: LazyLock<Endpoints> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["agent.test".into()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    Endpoints { certificate: made.cert.der().clone(), key, roots }
});

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// `clients`: whether they must show a certificate.
pub fn server(clients: bool) -> Arc<ServerConfig> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = if clients {
        let roots = Arc::new(ENDPOINTS.roots.clone());
        builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap(),
        )
    } else {
        builder.with_no_client_auth()
    };
    let mut configuration =
        builder.with_single_cert(vec![ENDPOINTS.certificate.clone()], ENDPOINTS.key.clone_key()).unwrap();
    configuration.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    Arc::new(configuration)
}

pub fn client(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(ENDPOINTS.roots.clone()).with_no_client_auth())
}

pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

pub fn connect(configuration: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(configuration.clone(), "agent.test".try_into().unwrap()).unwrap()
}
