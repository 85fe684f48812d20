//! Describes TLS errors: what happened, and what to do.

use std::fmt::Write as _;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The description of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What happened, such as "its certificate expired at …".
    pub problem: String,
    /// What to do; may be empty.
    pub remedy: &'static str,
}

fn explained(problem: impl Into<String>, remedy: &'static str) -> Explained {
    Explained { problem: problem.into(), remedy }
}

/// What the names of settings in these descriptions begin with. Other connections have settings that are named alike.
pub const SECTION: &str = "Upstream__";

const CLIENT_CERTIFICATE: &str = "Check Upstream__ClientCertificateFile: the server must trust who issued it";
const NO_TLS: &str = "Check the scheme and the port: this may be a port without TLS (`ws`, `http`)";
const VERSIONS: &str = "The agent supports TLS 1.2 and 1.3 with AES-GCM or ChaCha20 and ephemeral keys: the server must support one of them";

/// Why the TLS handshake with a server failed.
pub fn server_refused(error: &Error) -> Explained {
    match error {
        Error::InvalidCertificate(error) => bad_certificate(error),
        Error::AlertReceived(alert) => alert_received(*alert),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => explained("it does not answer with TLS", NO_TLS),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => explained("it supports neither TLS 1.2 nor TLS 1.3", VERSIONS),
        Error::PeerIncompatible(_) => {
            explained(format!("the two sides have no TLS parameters in common ({error})"), VERSIONS)
        }
        Error::NoCertificatesPresented => {
            explained("it sent no certificate", "Give the server a certificate")
        }
        other => explained(format!("the TLS handshake failed ({other})"), ""),
    }
}

fn bad_certificate(error: &CertificateError) -> Explained {
    const RENEW: &str = "Renew the certificate, and check the clocks of both machines";
    match error {
        CertificateError::Expired => explained("its certificate has expired", RENEW),
        CertificateError::ExpiredContext { not_after, .. } => {
            explained(format!("its certificate expired at {}", written(*not_after)), RENEW)
        }
        CertificateError::NotValidYet => explained("its certificate is not valid yet", RENEW),
        CertificateError::NotValidYetContext { not_before, .. } => {
            explained(format!("its certificate is not valid before {}", written(*not_before)), RENEW)
        }
        CertificateError::UnknownIssuer => explained(
            "its certificate was not issued by an authority that is trusted here",
            "Set Upstream__CaFile to the certificate of the private authority, or have the server send its intermediate \
             certificates",
        ),
        CertificateError::NotValidForName => wrong_name(&[]),
        CertificateError::NotValidForNameContext { presented, .. } => wrong_name(presented),
        CertificateError::Revoked => explained("its certificate was revoked", "Renew the certificate"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => explained(
            "its certificate is not meant for servers",
            "Issue it with the extended key usage serverAuth",
        ),
        CertificateError::BadEncoding => explained("its certificate is malformed", "Create a new one"),
        CertificateError::Other(other) => explained(
            format!("its certificate is not acceptable ({other})"),
            "Have an authority issue the server's certificate, and set Upstream__CaFile to that of the authority",
        ),
        other => explained(format!("its certificate is not acceptable ({other})"), "Renew the certificate"),
    }
}

/// The most names of a certificate that a message shows.
const NAMES_MAX: usize = 5;

fn wrong_name(presented: &[String]) -> Explained {
    let mut problem = String::from("its certificate is for other names");
    for (index, name) in presented.iter().take(NAMES_MAX).enumerate() {
        // They come as `DnsName("els.example")` and `IpAddress(10.0.0.1)`.
        let name = name.split_once('(').map_or(name.as_str(), |(_, name)| name.trim_end_matches(')'));
        let name: String = name.chars().filter(|c| !c.is_control() && *c != '"').take(100).collect();
        let _ = write!(problem, "{} {name}", if index == 0 { ":" } else { "," });
    }
    if presented.len() > NAMES_MAX {
        problem.push_str(" …");
    }
    explained(problem, "Use one of its names in the address, or issue the certificate for this name too")
}

fn alert_received(alert: AlertDescription) -> Explained {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => explained(
            "it asks for a client certificate",
            "Set Upstream__ClientCertificateFile and Upstream__ClientKeyFile",
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            explained(format!("it refuses the agent's client certificate ({alert:?})"), CLIENT_CERTIFICATE)
        }
        AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
            explained("it refuses the agent's versions of TLS", VERSIONS)
        }
        AlertDescription::HandshakeFailure => explained(
            "it refuses the handshake: no common cipher, or it requires a client certificate",
            "Check that it supports a cipher of TLS 1.2 or 1.3 with AES-GCM or ChaCha20, and whether it requires client certificates",
        ),
        AlertDescription::UnrecognisedName => explained(
            "it does not know the host name that the agent asked for",
            "Check the host name in the address",
        ),
        other => explained(format!("it ended TLS with the alert {other:?}"), ""),
    }
}

fn written(at: UnixTime) -> String {
    written_s(i64::try_from(at.as_secs()).unwrap_or(i64::MAX))
}

/// A time in Unix seconds as text (RFC 3339).
pub(super) fn written_s(at_s: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at_s).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| "an impossible time".into())
}
