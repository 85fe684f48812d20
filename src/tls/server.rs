//! What the agent is set to when clients connect to it by TLS, and the files that this comes from.

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

/// Certificates that end so soon are warned of.
const ENDS_SOON_S: i64 = 7 * 24 * 3600;

/// The certificates of the agent's addresses. Who accepts connections looks at the configuration of the moment.
pub struct Certificates {
    settings: Tls,
    current: Vec<Current>,
    client_ca: Option<Vec<u8>>,
    tickets: Arc<dyn ProducesTickets>,
    metrics: Arc<TlsMetrics>,
    /// A change that was seen at the last look: it is taken in once it holds still.
    settling: Option<Texts>,
    /// What was last complained of.
    complaint: Option<String>,
    /// What was last said of certificates that are not valid, end soon, or lack others.
    warned_of: Vec<String>,
}

struct Current {
    text: KeyPairText,
    validity: Option<Validity>,
    /// What seems to lack in the file.
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
    /// Reads all files.
    ///
    /// # Errors
    /// Everything that is wrong with them.
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
            complaint: None,
            warned_of: Vec::new(),
        };
        own.tell_validity();
        Ok(own)
    }

    /// For each certificate a line with where it is and until when it is valid, then what is wrong with them at this time
    /// in Unix seconds.
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

    /// The configuration of the certificate at this place in the settings, as it is at any moment.
    pub fn configuration(&self, place: usize) -> Option<Arc<ArcSwap<ServerConfig>>> {
        self.current.get(place).map(|current| current.configuration.clone())
    }

    /// Looks at the files: a change is taken in when two looks in a row agree, so that no file is read that is being
    /// written. `now_s` is the time in Unix seconds.
    pub fn look(&mut self, now_s: i64) {
        self.warn(now_s);
        match read(&self.settings) {
            Ok(texts) if self.is_current(&texts) => {
                self.settling = None;
                if self.complaint.take().is_some() {
                    tracing::info!("the files of TLS can be read again, and hold what is in use");
                }
            }
            Ok(texts) if self.settling.as_ref() == Some(&texts) => self.take_in(texts, now_s),
            Ok(texts) => self.settling = Some(texts),
            Err(errors) => self.complain(&errors),
        }
    }

    /// Reads the files at once, as asked by the operator. `now_s` is the time in Unix seconds.
    pub fn reload(&mut self, now_s: i64) {
        match read(&self.settings) {
            Ok(texts) if self.is_current(&texts) => tracing::info!("the files of TLS have not changed"),
            Ok(texts) => {
                // Asked for again, it is told again.
                self.complaint = None;
                self.take_in(texts, now_s);
            }
            Err(errors) => {
                self.complaint = None;
                self.complain(&errors);
            }
        }
    }

    fn is_current(&self, texts: &Texts) -> bool {
        texts.client_ca == self.client_ca
            && texts.pairs.iter().eq(self.current.iter().map(|current| &current.text))
    }

    /// Puts what was read in the place of what is in use, except for certificates that are not valid in the place of
    /// valid ones.
    fn take_in(&mut self, texts: Texts, now_s: i64) {
        let tickets = if texts.client_ca == self.client_ca {
            Ok(self.tickets.clone())
        } else {
            // Who was let in by an authority that is gone must not come back by a ticket.
            new_tickets()
        };
        let make = |texts: &Texts, tickets: Arc<dyn ProducesTickets>| make(&self.settings, texts, tickets);
        let made = tickets.and_then(|tickets| make(&texts, tickets.clone()).map(|made| (made, tickets)));
        let (made, tickets) = match made {
            Ok(made) => made,
            Err(errors) => {
                self.settling = Some(texts);
                return self.complain(&errors);
            }
        };
        let (usable, held) = self.hold_valid(&texts, &made, now_s);
        let made = match held.is_empty() {
            true => Ok(made),
            false => make(&usable, tickets.clone()),
        };
        let made = match made {
            Ok(made) if !self.is_current(&usable) => made,
            Ok(_) => {
                // Only those that are held have changed.
                self.settling = Some(texts);
                return self.complain_of_held(&held);
            }
            Err(errors) => {
                self.settling = Some(texts);
                return self.complain(&errors);
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
        self.complaint = None;
        self.metrics.reloaded(Reload::Done);
        self.tell_validity();
        tracing::info!(
            valid_until = self.not_after_s().map(super::explain::written_s),
            "certificates were read again: new connections get them"
        );
        if !held.is_empty() {
            // Looked at again, it is taken in as soon as it is valid.
            self.settling = Some(texts);
            self.complain_of_held(&held);
        }
    }

    /// What was read, with the pair in use in the place of each new one that is not valid while that one is; and what is
    /// to be said of those.
    fn hold_valid(&self, texts: &Texts, made: &[Made], now_s: i64) -> (Texts, Vec<String>) {
        let mut usable = texts.clone();
        let mut held = Vec::new();
        let all = self.settings.certificates.iter().zip(&self.current).zip(made).zip(&mut usable.pairs);
        for (((files, current), made), text) in all {
            let complaint = made.validity.and_then(|validity| validity.complaint(now_s));
            let in_use = current.validity.filter(|validity| validity.complaint(now_s).is_none());
            if let (Some(complaint), Some(in_use)) = (complaint, in_use)
                && *text != current.text
            {
                held.push(format!(
                    "the new certificate in {} {complaint}: the one before stays in use, which is valid until {}. Put a valid \
                     one there",
                    files.files.certificate.display(),
                    super::explain::written_s(in_use.not_after_s)
                ));
                *text = current.text.clone();
            }
        }
        (usable, held)
    }

    /// Says once of new certificates that they are not taken in.
    fn complain_of_held(&mut self, held: &[String]) {
        let complaint = held.join("; ");
        if self.complaint.as_ref() != Some(&complaint) {
            self.metrics.reloaded(Reload::Failed);
            tracing::warn!("{complaint}");
            self.complaint = Some(complaint);
        }
    }

    fn complain(&mut self, errors: &[SettingError]) {
        let complaint = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if self.complaint.as_ref() == Some(&complaint) {
            return;
        }
        self.metrics.reloaded(Reload::Failed);
        tracing::error!(
            "the files of TLS have changed and cannot be used: {complaint} What was read before stays in use until they \
             are put right"
        );
        self.complaint = Some(complaint);
    }

    /// The end of the certificate that ends first, in Unix seconds.
    pub fn not_after_s(&self) -> Option<i64> {
        let ends = self.current.iter().filter_map(|current| current.validity);
        ends.map(|validity| validity.not_after_s).min()
    }

    fn tell_validity(&self) {
        // One that cannot be read counts as one that does not end: TLS itself does not look at it.
        self.metrics.not_after_s(self.not_after_s().unwrap_or(i64::MAX - 1));
    }

    /// What is to be known of the certificates in use: which have ended or not begun, end soon, or lack others.
    fn warnings(&self, now_s: i64) -> Vec<String> {
        let mut warnings = Vec::new();
        for (files, current) in self.settings.certificates.iter().zip(&self.current) {
            let path = files.files.certificate.display();
            if let Some(validity) = current.validity {
                if let Some(complaint) = validity.complaint(now_s) {
                    warnings.push(format!(
                        "the certificate {path} {complaint}: clients refuse the agent. Renew it"
                    ));
                } else if validity.not_after_s < now_s + ENDS_SOON_S {
                    let end = super::explain::written_s(validity.not_after_s);
                    warnings.push(format!(
                        "the certificate {path} expires at {end}: renew it before, or clients will refuse the agent"
                    ));
                }
            }
            if let Some(hint) = &current.hint {
                warnings.push(format!("the certificate {path}: {hint}"));
            }
        }
        warnings
    }

    /// Says each of them once.
    fn warn(&mut self, now_s: i64) {
        let warnings = self.warnings(now_s);
        for warning in warnings.iter().filter(|warning| !self.warned_of.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.warned_of = warnings;
    }
}

fn new_tickets() -> Result<Arc<dyn ProducesTickets>, Vec<SettingError>> {
    rustls::crypto::ring::Ticketer::new().map_err(|_| {
        vec![SettingError::missing(
            "Tls",
            "the system gives no random numbers for tickets of sessions",
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

/// What a certificate and its key come to.
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

/// Checks the certificates of clients; `None` asks for none.
fn verifier(settings: &Tls, texts: &Texts) -> Result<Option<Arc<dyn ClientCertVerifier>>, SettingError> {
    let (Some(path), Some(text)) = (&settings.client_ca, &texts.client_ca) else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for (index, certificate) in pem::certificates(ca_name(), path, text)?.into_iter().enumerate() {
        if roots.add(certificate).is_err() {
            return Err(SettingError::missing(
                ca_name(),
                format!("certificate {} in {} is malformed", index + 1, path.display()),
                "Take it out, or copy it again",
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
    // Sessions are in the tickets, which every reactor can read, and take no memory here.
    configuration.session_storage = Arc::new(NoServerSessionStorage {});
    configuration.ticketer = tickets;
    Ok(Made { configuration, validity, hint })
}
