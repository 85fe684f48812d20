//! TLS configuration for accepted connections, and the files that it is loaded from.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use crate::config::{CertificateFiles, ClientCertificate, Key, SettingError, Tls};
use crate::telemetry::metrics::{Reload, TlsMetrics};

use super::chain;
use super::pem::{self, KeyPairNames, KeyPairText};
use super::provider;
use super::validity::Validity;

/// The agent warns of certificates that expire within this time, in seconds.
const ENDS_SOON_S: i64 = 7 * 24 * 3600;

/// The certificates of the agent's addresses. Reactors always use the current configuration.
pub struct Certificates {
    settings: Tls,
    current: Vec<Current>,
    client_ca: Option<Vec<u8>>,
    tickets: Arc<dyn ProducesTickets>,
    metrics: Arc<TlsMetrics>,
    /// Changed content that the last check found. It is loaded if the next check finds the same.
    settling: Option<Texts>,
    /// The error that was logged last.
    logged_error: Option<String>,
    /// The warnings that were logged last: of certificates that are not valid, expire soon, or lack intermediate ones.
    logged_warnings: Vec<String>,
}

struct Current {
    text: KeyPairText,
    validity: Option<Validity>,
    /// What seems to be missing in the file.
    hint: Option<String>,
    configuration: Arc<ArcSwap<ServerConfig>>,
}

/// The contents of all files.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    pairs: Vec<KeyPairText>,
    client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Loads all files.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub fn load(settings: &Tls, metrics: Arc<TlsMetrics>) -> Result<Self, Vec<SettingError>> {
        let texts = read(settings)?;
        let tickets = new_tickets()?;
        let made = make(settings, &texts, tickets.clone())?;
        let current = texts
            .pairs
            .into_iter()
            .zip(made)
            .map(|(text, Made { configuration, validity, hint })| Current {
                text,
                validity,
                hint,
                configuration: Arc::new(ArcSwap::from_pointee(configuration)),
            })
            .collect();
        let own = Self {
            settings: settings.clone(),
            current,
            client_ca: texts.client_ca,
            tickets,
            metrics,
            settling: None,
            logged_error: None,
            logged_warnings: Vec::new(),
        };
        own.publish_validity();
        Ok(own)
    }

    /// A line for each certificate with its path and the end of its validity, then the warnings at `now_s`, in Unix seconds.
    pub fn describe(&self, now_s: i64) -> Vec<String> {
        let one = |(files, current): (&CertificateFiles, &Current)| {
            let path = files.files.certificate.display();
            match current.validity {
                Some(validity) => {
                    let end = super::explain::written_s(validity.not_after_s);
                    format!("Certificate {path}: belongs to its key, valid until {end}")
                }
                None => format!("Certificate {path}: belongs to its key"),
            }
        };
        let lines = self.settings.certificates.iter().zip(&self.current).map(one);
        lines.chain(self.warnings(now_s).into_iter().map(|warning| format!("Warning: {warning}"))).collect()
    }

    /// The current configuration of the certificate with this index in the settings.
    pub fn configuration(&self, place: usize) -> Option<Arc<ArcSwap<ServerConfig>>> {
        self.current.get(place).map(|current| current.configuration.clone())
    }

    /// Checks the files for changes. A change is loaded when two checks in a row find the same content, so that no
    /// half-written file is loaded. `now_s` is the time in Unix seconds.
    pub fn look(&mut self, now_s: i64) {
        self.warn(now_s);
        match read(&self.settings) {
            Ok(texts) if self.is_current(&texts) => {
                self.settling = None;
                if self.logged_error.take().is_some() {
                    tracing::info!("the TLS files can be read again; their content is already in use");
                }
            }
            Ok(texts) if self.settling.as_ref() == Some(&texts) => self.replace(texts, now_s),
            Ok(texts) => self.settling = Some(texts),
            Err(errors) => self.log_errors(&errors),
        }
    }

    /// Loads the files at once, at the operator's request. `now_s` is the time in Unix seconds.
    pub fn reload(&mut self, now_s: i64) {
        match read(&self.settings) {
            Ok(texts) if self.is_current(&texts) => tracing::info!("the TLS files have not changed"),
            Ok(texts) => {
                // The operator asked again, so the error is logged again.
                self.logged_error = None;
                self.replace(texts, now_s);
            }
            Err(errors) => {
                self.logged_error = None;
                self.log_errors(&errors);
            }
        }
    }

    fn is_current(&self, texts: &Texts) -> bool {
        texts.client_ca == self.client_ca
            && texts.pairs.iter().eq(self.current.iter().map(|current| &current.text))
    }

    /// Replaces what is in use by `texts`, but keeps a valid certificate if the new one is not valid.
    fn replace(&mut self, texts: Texts, now_s: i64) {
        let tickets = if texts.client_ca == self.client_ca {
            Ok(self.tickets.clone())
        } else {
            // A client of an authority that was removed must not resume its session with a ticket.
            new_tickets()
        };
        let make = |texts: &Texts, tickets: Arc<dyn ProducesTickets>| make(&self.settings, texts, tickets);
        let made = tickets.and_then(|tickets| make(&texts, tickets.clone()).map(|made| (made, tickets)));
        let (made, tickets) = match made {
            Ok(made) => made,
            Err(errors) => {
                self.settling = Some(texts);
                return self.log_errors(&errors);
            }
        };
        let (usable, refused) = self.keep_valid(&texts, &made, now_s);
        let made = match refused.is_empty() {
            true => Ok(made),
            false => make(&usable, tickets.clone()),
        };
        let made = match made {
            Ok(made) if !self.is_current(&usable) => made,
            Ok(_) => {
                // Only certificates that are not valid have changed.
                self.settling = Some(texts);
                return self.log_refused(&refused);
            }
            Err(errors) => {
                self.settling = Some(texts);
                return self.log_errors(&errors);
            }
        };
        for ((current, text), made) in self.current.iter_mut().zip(usable.pairs).zip(made) {
            current.text = text;
            current.validity = made.validity;
            current.hint = made.hint;
            current.configuration.store(Arc::new(made.configuration));
        }
        self.tickets = tickets;
        self.client_ca = usable.client_ca;
        self.settling = None;
        self.logged_error = None;
        self.metrics.reloaded(Reload::Done);
        self.publish_validity();
        tracing::info!(
            valid_until = self.not_after_s().map(super::explain::written_s),
            "certificates were loaded again: new connections use them"
        );
        if !refused.is_empty() {
            // The next check loads it if it is valid then.
            self.settling = Some(texts);
            self.log_refused(&refused);
        }
    }

    /// `texts`, in which each new certificate that is not valid is replaced by the one in use if that is valid, and a message
    /// for each such certificate.
    fn keep_valid(&self, texts: &Texts, made: &[Made], now_s: i64) -> (Texts, Vec<String>) {
        let mut usable = texts.clone();
        let mut refused = Vec::new();
        let all = self.settings.certificates.iter().zip(&self.current).zip(made).zip(&mut usable.pairs);
        for (((files, current), made), text) in all {
            let error = made.validity.and_then(|validity| validity.error(now_s));
            let in_use = current.validity.filter(|validity| validity.error(now_s).is_none());
            if let (Some(error), Some(in_use)) = (error, in_use)
                && *text != current.text
            {
                refused.push(format!(
                    "the new certificate in {} {error}, so the previous one, valid until {}, stays in use. Put a valid \
                     certificate there",
                    files.files.certificate.display(),
                    super::explain::written_s(in_use.not_after_s)
                ));
                *text = current.text.clone();
            }
        }
        (usable, refused)
    }

    /// Logs once that new certificates are not used.
    fn log_refused(&mut self, refused: &[String]) {
        let error = refused.join("; ");
        if self.logged_error.as_ref() != Some(&error) {
            self.metrics.reloaded(Reload::Failed);
            tracing::warn!("{error}");
            self.logged_error = Some(error);
        }
    }

    /// Logs errors, unless they are the same as the last time.
    fn log_errors(&mut self, errors: &[SettingError]) {
        let error = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if self.logged_error.as_ref() == Some(&error) {
            return;
        }
        self.metrics.reloaded(Reload::Failed);
        tracing::error!(
            "the TLS files have changed and cannot be used: {error} The previous certificates stay in use until the files are \
             corrected"
        );
        self.logged_error = Some(error);
    }

    /// When the first of the certificates expires, in Unix seconds.
    pub fn not_after_s(&self) -> Option<i64> {
        let ends = self.current.iter().filter_map(|current| current.validity);
        ends.map(|validity| validity.not_after_s).min()
    }

    fn publish_validity(&self) {
        // A validity that cannot be read counts as unlimited: TLS itself does not check it.
        self.metrics.not_after_s(self.not_after_s().unwrap_or(i64::MAX - 1));
    }

    /// Warnings about the certificates in use: expired or not valid yet, expiring soon, or without intermediate ones.
    fn warnings(&self, now_s: i64) -> Vec<String> {
        let mut warnings = Vec::new();
        for (files, current) in self.settings.certificates.iter().zip(&self.current) {
            let path = files.files.certificate.display();
            if let Some(validity) = current.validity {
                if let Some(error) = validity.error(now_s) {
                    warnings.push(format!(
                        "the certificate {path} {error}, so clients refuse the agent. Renew it"
                    ));
                } else if validity.not_after_s < now_s + ENDS_SOON_S {
                    let end = super::explain::written_s(validity.not_after_s);
                    warnings.push(format!(
                        "the certificate {path} expires at {end}. Renew it before then, or clients will refuse the agent"
                    ));
                }
            }
            if let Some(hint) = &current.hint {
                warnings.push(format!("the certificate {path}: {hint}"));
            }
        }
        warnings
    }

    /// Logs each warning once.
    fn warn(&mut self, now_s: i64) {
        let warnings = self.warnings(now_s);
        for warning in warnings.iter().filter(|warning| !self.logged_warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.logged_warnings = warnings;
    }
}

fn new_tickets() -> Result<Arc<dyn ProducesTickets>, Vec<SettingError>> {
    rustls::crypto::ring::Ticketer::new().map_err(|_| {
        vec![SettingError::missing(
            "Tls",
            "the system provides no random numbers for session tickets",
            "Try again",
        )]
    })
}

fn names(files: &CertificateFiles) -> KeyPairNames<'_> {
    KeyPairNames { certificate: &files.certificate_setting, key: &files.key_setting }
}

fn ca_name() -> &'static str {
    Key::TlsClientCaFile.definition().name
}

fn read(settings: &Tls) -> Result<Texts, Vec<SettingError>> {
    let mut errors = Vec::new();
    let mut pairs = Vec::new();
    for certificate in &settings.certificates {
        match KeyPairText::read(names(certificate), &certificate.files) {
            Ok(text) => pairs.push(text),
            Err(more) => errors.extend(more),
        }
    }
    let client_ca = settings.client_ca.as_ref().map(|path| pem::read(ca_name(), path)).transpose();
    match client_ca {
        Ok(client_ca) if errors.is_empty() => Ok(Texts { pairs, client_ca }),
        other => {
            errors.extend(other.err());
            Err(errors)
        }
    }
}

/// The configuration made from a certificate and its key.
struct Made {
    configuration: ServerConfig,
    validity: Option<Validity>,
    hint: Option<String>,
}

fn make(
    settings: &Tls,
    texts: &Texts,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<Vec<Made>, Vec<SettingError>> {
    let mut errors = Vec::new();
    let mut identities = Vec::new();
    for (certificate, text) in settings.certificates.iter().zip(&texts.pairs) {
        match text.parse(names(certificate), &certificate.files) {
            Ok(identity) => identities.push(identity),
            Err(more) => errors.extend(more),
        }
    }
    let clients = verifier(settings, texts);
    match clients {
        Ok(clients) if errors.is_empty() => {
            let one = |identity| configuration(identity, clients.clone(), tickets.clone());
            identities.into_iter().map(one).collect()
        }
        other => {
            errors.extend(other.err());
            Err(errors)
        }
    }
}

/// Verifies client certificates; `None` means that none are requested.
fn verifier(settings: &Tls, texts: &Texts) -> Result<Option<Arc<dyn ClientCertVerifier>>, SettingError> {
    let (Some(path), Some(text)) = (&settings.client_ca, &texts.client_ca) else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for (index, certificate) in pem::certificates(ca_name(), path, text)?.into_iter().enumerate() {
        if roots.add(certificate).is_err() {
            return Err(SettingError::missing(
                ca_name(),
                format!("certificate {} in {} is malformed", index + 1, path.display()),
                "Remove it, or copy it again",
            ));
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = match settings.client_certificate {
        ClientCertificate::None => return Ok(None),
        ClientCertificate::Optional => builder.allow_unauthenticated(),
        ClientCertificate::Required => builder,
    };
    let unusable = |error: rustls::server::VerifierBuilderError| {
        SettingError::missing(
            ca_name(),
            format!("{} cannot be used ({error})", path.display()),
            "Name another file",
        )
    };
    builder.build().map(Some).map_err(unusable)
}

fn configuration(
    identity: CertifiedKey,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<Made, Vec<SettingError>> {
    let hint = chain::hint(&identity.cert);
    let validity = identity.cert.first().and_then(|certificate| Validity::of(certificate));
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![SettingError::missing("Tls", format!("TLS cannot be set up ({error})"), "")])?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients),
    };
    let mut configuration = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Sessions are stored in tickets, which all reactors can read, and take no memory here.
    configuration.session_storage = Arc::new(NoServerSessionStorage {});
    configuration.ticketer = tickets;
    Ok(Made { configuration, validity, hint })
}
