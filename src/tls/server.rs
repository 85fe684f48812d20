//! What the agent is set to when clients connect to it by TLS, and the files that this comes from.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use crate::config::{CertificateFiles, ClientCertificate, Fault, Key, Tls};
use crate::telemetry::metrics::{Reload, TlsMetrics};

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
    /// What was last said of certificates that end soon.
    warned_of: Option<String>,
}

struct Current {
    text: KeyPairText,
    validity: Option<Validity>,
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
    pub fn load(settings: &Tls, metrics: Arc<TlsMetrics>) -> Result<Self, Vec<Fault>> {
        let texts = read(settings)?;
        let tickets = new_tickets()?;
        let made = make(settings, &texts, tickets.clone())?;
        let current = texts
            .pairs
            .into_iter()
            .zip(made)
            .map(|(text, (configuration, validity))| Current {
                text,
                validity,
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
            warned_of: None,
        };
        own.tell_validity();
        Ok(own)
    }

    /// One line for each certificate: where it is and until when it is valid.
    pub fn describe(&self) -> Vec<String> {
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
        self.settings.certificates.iter().zip(&self.current).map(one).collect()
    }

    /// The configuration of the certificate at this place in the settings, as it is at any moment.
    pub fn configuration(&self, place: usize) -> Option<Arc<ArcSwap<ServerConfig>>> {
        self.current.get(place).map(|current| current.configuration.clone())
    }

    /// Looks at the files: a change is taken in when two looks in a row agree, so that no file is read that is being
    /// written. `now_s` is the time in Unix seconds.
    pub fn look(&mut self, now_s: i64) {
        self.warn_of_the_end(now_s);
        match read(&self.settings) {
            Ok(texts) if self.is_current(&texts) => {
                self.settling = None;
                if self.complaint.take().is_some() {
                    tracing::info!("the files of TLS can be read again, and hold what is in use");
                }
            }
            Ok(texts) if self.settling.as_ref() == Some(&texts) => self.take_in(texts),
            Ok(texts) => self.settling = Some(texts),
            Err(faults) => self.complain(&faults),
        }
    }

    /// Reads the files at once, as asked by the operator.
    pub fn reload(&mut self) {
        match read(&self.settings) {
            Ok(texts) if self.is_current(&texts) => tracing::info!("the files of TLS have not changed"),
            Ok(texts) => {
                // Asked for again, it is told again.
                self.complaint = None;
                self.take_in(texts);
            }
            Err(faults) => {
                self.complaint = None;
                self.complain(&faults);
            }
        }
    }

    fn is_current(&self, texts: &Texts) -> bool {
        texts.client_ca == self.client_ca
            && texts.pairs.iter().eq(self.current.iter().map(|current| &current.text))
    }

    fn take_in(&mut self, texts: Texts) {
        let tickets = if texts.client_ca == self.client_ca {
            Ok(self.tickets.clone())
        } else {
            // Who was let in by an authority that is gone must not come back by a ticket.
            new_tickets()
        };
        let made = tickets
            .and_then(|tickets| make(&self.settings, &texts, tickets.clone()).map(|made| (made, tickets)));
        let (made, tickets) = match made {
            Ok(made) => made,
            Err(faults) => {
                self.settling = Some(texts);
                return self.complain(&faults);
            }
        };
        for ((current, text), (configuration, validity)) in self.current.iter_mut().zip(texts.pairs).zip(made)
        {
            current.text = text;
            current.validity = validity;
            current.configuration.store(Arc::new(configuration));
        }
        self.tickets = tickets;
        self.client_ca = texts.client_ca;
        self.settling = None;
        self.complaint = None;
        self.metrics.reloaded(Reload::Done);
        self.tell_validity();
        tracing::info!(
            valid_until = self.not_after_s().map(super::explain::written_s),
            "certificates were read again: new connections get them"
        );
    }

    fn complain(&mut self, faults: &[Fault]) {
        let complaint = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
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

    /// The file of that certificate.
    fn first_to_end(&self) -> Option<String> {
        let end_s = |current: &Current| current.validity.map(|validity| validity.not_after_s);
        let all = self.settings.certificates.iter().zip(&self.current);
        let ends = all.filter_map(|(files, current)| Some((end_s(current)?, files)));
        ends.min_by_key(|(end_s, _)| *end_s).map(|(_, files)| files.files.certificate.display().to_string())
    }

    fn tell_validity(&self) {
        // One that cannot be read counts as one that does not end: TLS itself does not look at it.
        self.metrics.not_after_s(self.not_after_s().unwrap_or(i64::MAX - 1));
    }

    /// Says once for each certificate that it ends soon, and once that it has ended.
    fn warn_of_the_end(&mut self, now_s: i64) {
        let Some(not_after_s) = self.not_after_s().filter(|end_s| *end_s < now_s + ENDS_SOON_S) else {
            self.warned_of = None;
            return;
        };
        let end = super::explain::written_s(not_after_s);
        let what = if not_after_s < now_s {
            format!("a certificate has expired at {end}: clients refuse the agent. Renew it")
        } else {
            format!("a certificate expires at {end}: renew it before, or clients will refuse the agent")
        };
        if self.warned_of.as_ref() != Some(&what) {
            tracing::warn!(certificate = self.first_to_end(), "{what}");
            self.warned_of = Some(what);
        }
    }
}

fn new_tickets() -> Result<Arc<dyn ProducesTickets>, Vec<Fault>> {
    rustls::crypto::ring::Ticketer::new().map_err(|_| {
        vec![Fault::missing("Tls", "the system gives no random numbers for tickets of sessions", "Try again")]
    })
}

fn names(files: &CertificateFiles) -> KeyPairNames<'_> {
    KeyPairNames { certificate: &files.certificate_setting, key: &files.key_setting }
}

fn ca_name() -> &'static str {
    Key::TlsClientCaFile.definition().name
}

fn read(settings: &Tls) -> Result<Texts, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut pairs = Vec::new();
    for certificate in &settings.certificates {
        match KeyPairText::read(names(certificate), &certificate.files) {
            Ok(text) => pairs.push(text),
            Err(more) => faults.extend(more),
        }
    }
    let client_ca = settings.client_ca.as_ref().map(|path| pem::read(ca_name(), path)).transpose();
    match client_ca {
        Ok(client_ca) if faults.is_empty() => Ok(Texts { pairs, client_ca }),
        other => {
            faults.extend(other.err());
            Err(faults)
        }
    }
}

type Configurations = Vec<(ServerConfig, Option<Validity>)>;

fn make(
    settings: &Tls,
    texts: &Texts,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<Configurations, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut identities = Vec::new();
    for (certificate, text) in settings.certificates.iter().zip(&texts.pairs) {
        match text.parse(names(certificate), &certificate.files) {
            Ok(identity) => identities.push(identity),
            Err(more) => faults.extend(more),
        }
    }
    let clients = verifier(settings, texts);
    match clients {
        Ok(clients) if faults.is_empty() => {
            let one = |identity| configuration(identity, clients.clone(), tickets.clone());
            identities.into_iter().map(one).collect()
        }
        other => {
            faults.extend(other.err());
            Err(faults)
        }
    }
}

/// Checks the certificates of clients; `None` asks for none.
fn verifier(settings: &Tls, texts: &Texts) -> Result<Option<Arc<dyn ClientCertVerifier>>, Fault> {
    let (Some(path), Some(text)) = (&settings.client_ca, &texts.client_ca) else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for (index, certificate) in pem::certificates(ca_name(), path, text)?.into_iter().enumerate() {
        if roots.add(certificate).is_err() {
            return Err(Fault::missing(
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
        Fault::missing(ca_name(), format!("{} cannot be used ({error})", path.display()), "Name another file")
    };
    builder.build().map(Some).map_err(unusable)
}

fn configuration(
    identity: CertifiedKey,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<(ServerConfig, Option<Validity>), Vec<Fault>> {
    let validity = identity.cert.first().and_then(|certificate| Validity::of(certificate));
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| vec![Fault::missing("Tls", format!("TLS cannot be set up ({error})"), "")])?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(clients),
    };
    let mut configuration = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Sessions are in the tickets, which every reactor can read, and take no memory here.
    configuration.session_storage = Arc::new(NoServerSessionStorage {});
    configuration.ticketer = tickets;
    Ok((configuration, validity))
}
