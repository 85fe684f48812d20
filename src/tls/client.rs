//! What the agent is set to when it connects to a server by TLS.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::provider;
use super::validity::Validity;

/// Certificates that are trusted.
#[derive(Debug)]
pub struct Trust {
    roots: RootCertStore,
    /// Those that were added one by one: a server may show one of them as its own.
    own: Vec<CertificateDer<'static>>,
    complaints: Vec<String>,
}

impl Trust {
    /// Nobody yet.
    pub fn nobody() -> Self {
        Self { roots: RootCertStore::empty(), own: Vec::new(), complaints: Vec::new() }
    }

    /// Adds those that the system trusts. What could not be read is kept as complaints.
    pub fn add_system(&mut self) {
        let found = rustls_native_certs::load_native_certs();
        self.roots.add_parsable_certificates(found.certs);
        self.complaints.extend(found.errors.iter().map(ToString::to_string));
    }

    /// Adds one certificate. Returns whether it could be used.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> bool {
        self.own.push(certificate.clone());
        self.roots.add(certificate).is_ok()
    }

    /// Whether nobody is trusted, so that no connection could ever be made.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Why certificates of the system could not be read.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

/// A configuration of the connecting side: TLS 1.2 and 1.3, HTTP/1.1, the server's name checked.
///
/// # Errors
/// If nobody is trusted.
pub fn configuration(trust: Trust, identity: Option<CertifiedKey>) -> Result<ClientConfig, Error> {
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(trust.roots), provider())
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { authorities, own: trust.own }));
    let mut configuration = match identity {
        Some(identity) => {
            let identity: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(identity));
            builder.with_client_cert_resolver(identity)
        }
        None => builder.with_no_client_auth(),
    };
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(configuration)
}

/// A configuration that takes any server for the right one: for a look at the agent on this very machine, whose
/// certificate is for the name that others know it by. Nothing secret may be sent.
///
/// # Errors
/// Only if the cryptography lacks what this program is built with.
pub fn without_verification() -> Result<ClientConfig, Error> {
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    let mut configuration = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody { schemes }))
        .with_no_client_auth();
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(configuration)
}

/// Takes any server.
#[derive(Debug)]
struct Anybody {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Checks servers as usual, and takes one that shows a certificate that was named itself: `openssl req -x509` makes
/// self-signed certificates that claim to be authorities, which by the rules none may show as its own.
#[derive(Debug)]
struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn is_named(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(validity) = Validity::of(certificate) else {
            return Err(CertificateError::BadEncoding.into());
        };
        let seconds =
            |at_s: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(at_s.max(0) as u64));
        let (not_before, not_after) = (seconds(validity.not_before_s), seconds(validity.not_after_s));
        if now < not_before {
            return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
        }
        if now > not_after {
            return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self.authorities.verify_server_cert(certificate, intermediates, name, ocsp_response, now);
        match usual {
            // What is said of an authority that is shown as a server's own certificate has no name of its own.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.own.iter().any(|own| own == certificate) =>
            {
                self.is_named(certificate, name, now).map(|()| ServerCertVerified::assertion())
            }
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
