//! TLS configuration for connections that the agent opens.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::provider;
use super::validity::Validity;

/// Trusted certificates.
#[derive(Debug)]
pub struct Trust {
    roots: RootCertStore,
    /// Those that were added one by one: a server may present one of them as its own.
    own: Vec<CertificateDer<'static>>,
    errors: Vec<String>,
}

impl Trust {
    /// No certificates yet.
    pub fn none() -> Self {
        Self { roots: RootCertStore::empty(), own: Vec::new(), errors: Vec::new() }
    }

    /// Adds those that the system trusts. [`Trust::errors`] returns what could not be read.
    pub fn add_system(&mut self) {
        let found = rustls_native_certs::load_native_certs();
        self.roots.add_parsable_certificates(found.certs);
        self.errors.extend(found.errors.iter().map(ToString::to_string));
    }

    /// Adds one certificate. Returns whether it can be used.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> bool {
        self.own.push(certificate.clone());
        self.roots.add(certificate).is_ok()
    }

    /// Whether no certificate is trusted, so that no connection can succeed.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Why certificates of the system could not be read.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }
}

/// A client configuration: TLS 1.2 and 1.3, HTTP/1.1, with verification of the server's name.
///
/// # Errors
/// If no certificate is trusted.
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

/// A client configuration that accepts any server: for a health check of the agent on the same machine, whose certificate
/// is for another name. Nothing secret may be sent.
///
/// # Errors
/// Only if the cryptography does not support the versions of TLS.
pub fn without_verification() -> Result<ClientConfig, Error> {
    let schemes = provider().signature_verification_algorithms.supported_schemes();
    let mut configuration = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer { schemes }))
        .with_no_client_auth();
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(configuration)
}

/// Accepts any server.
#[derive(Debug)]
struct AnyServer {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for AnyServer {
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

/// Verifies servers as usual, and also accepts a server that presents a certificate which was added itself: `openssl req
/// -x509` makes self-signed certificates that claim to be authorities, which by the rules no server may present.
#[derive(Debug)]
struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn verify_added(
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
            // The error for an authority that is presented as a server's certificate has no variant of its own.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.own.iter().any(|own| own == certificate) =>
            {
                self.verify_added(certificate, name, now).map(|()| ServerCertVerified::assertion())
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
