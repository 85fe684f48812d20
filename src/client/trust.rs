//! The certificate authorities that the agent trusts, and its client certificate: files that are read again when they
//! change.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::config::{Dial, Key, SettingError};
use crate::tls::client::{Trust, configuration};
use crate::tls::explain;
use crate::tls::pem::{self, KeyPairNames, KeyPairText};
use crate::tls::validity::Validity;

/// After this time the system's certificates are read again.
const SYSTEM_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Which settings name the files, and what is spoken on the connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    ca: Key,
    certificate: Key,
    key: Key,
    /// Whether HTTP is spoken, which TLS then tells the server.
    is_http: bool,
    /// What the names of these settings begin with.
    pub section: &'static str,
}

/// Connections to a FeatBit server.
pub(super) const UPSTREAM: Purpose = Purpose {
    ca: Key::UpstreamCaFile,
    certificate: Key::UpstreamClientCertificateFile,
    key: Key::UpstreamClientKeyFile,
    is_http: true,
    section: explain::SECTION,
};

/// Connections to Redis.
pub(super) const REDIS: Purpose = Purpose {
    ca: Key::RedisCaFile,
    certificate: Key::RedisClientCertificateFile,
    key: Key::RedisClientKeyFile,
    is_http: false,
    section: "Redis__",
};

impl Purpose {
    fn ca_name(self) -> &'static str {
        self.ca.definition().name
    }

    fn pair_names(self) -> KeyPairNames<'static> {
        KeyPairNames { certificate: self.certificate.definition().name, key: self.key.definition().name }
    }
}

/// The files, and the TLS configuration last built from them.
pub(super) struct TrustFiles {
    settings: Dial,
    purpose: Purpose,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// The last problem logged, so that it is logged only once.
    logged_problem: Option<String>,
}

struct Current {
    texts: Texts,
    identity: Option<CertifiedKey>,
    configuration: Arc<ClientConfig>,
    made: Instant,
}

#[derive(Clone, PartialEq, Eq)]
struct Texts {
    ca: Option<Vec<u8>>,
    identity: Option<KeyPairText>,
}

impl fmt::Debug for TrustFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustFiles").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl State {
    /// Logs a problem, unless it was the last one logged.
    fn warn(&mut self, problem: &str) {
        if self.logged_problem.as_deref() != Some(problem) {
            tracing::warn!("{problem}");
            self.logged_problem = Some(problem.to_owned());
        }
    }
}

fn validity_of(identity: &CertifiedKey) -> Option<Validity> {
    identity.cert.first().and_then(|certificate| Validity::of(certificate))
}

/// The present time in Unix seconds.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl TrustFiles {
    /// Reads the files, and checks that they can be used.
    pub fn new(settings: &Dial, purpose: Purpose) -> Result<Self, Vec<SettingError>> {
        let files = Self { settings: settings.clone(), purpose, state: Mutex::default() };
        let texts = files.read()?;
        files.parse(&texts)?;
        Ok(files)
    }

    /// The present TLS configuration, built again if a file has changed. If a file has become unusable, logs that once and
    /// keeps the previous configuration.
    pub fn configuration(&self) -> Result<Arc<ClientConfig>, (String, String)> {
        let mut state = self.state.lock();
        let texts = self.read();
        if let (Ok(texts), Some(current)) = (&texts, &state.current)
            && current.texts == *texts
            && current.made.elapsed() < SYSTEM_AGE_MAX
        {
            let configuration = current.configuration.clone();
            state.logged_problem = None;
            return Ok(configuration);
        }
        let made = texts.and_then(|texts| self.parse(&texts).map(|parsed| (texts, parsed)));
        let failure = match made {
            Ok((mut texts, (authorities, mut identity))) => {
                let problem = self.keep_valid(state.current.as_ref(), &mut texts, &mut identity, now_s());
                if let (Some(problem), Some(current)) = (&problem, &state.current)
                    && current.texts == texts
                    && current.made.elapsed() < SYSTEM_AGE_MAX
                {
                    let configuration = current.configuration.clone();
                    state.warn(problem);
                    return Ok(configuration);
                }
                match build(authorities, identity.clone(), self.purpose) {
                    Ok(configuration) => {
                        if state.current.is_some() {
                            tracing::info!("certificates for connections to servers were read again");
                        }
                        match problem {
                            Some(problem) => state.warn(&problem),
                            None => state.logged_problem = None,
                        }
                        state.current = Some(Current {
                            texts,
                            identity,
                            configuration: configuration.clone(),
                            made: Instant::now(),
                        });
                        return Ok(configuration);
                    }
                    Err(failure) => failure,
                }
            }
            Err(errors) => {
                let all = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                (format!("the files that TLS needs cannot be used: {all}"), String::new())
            }
        };
        let Some(current) = &state.current else { return Err(failure) };
        let configuration = current.configuration.clone();
        if state.logged_problem.as_ref() != Some(&failure.0) {
            tracing::error!("{}; what was read before stays in use", failure.0);
            state.logged_problem = Some(failure.0);
        }
        Ok(configuration)
    }

    /// If the new client certificate is not valid but the one in use is, puts the one in use into `texts` and `identity`, and
    /// returns the warning to log.
    fn keep_valid(
        &self,
        current: Option<&Current>,
        texts: &mut Texts,
        identity: &mut Option<CertifiedKey>,
        now_s: i64,
    ) -> Option<String> {
        let current = current.filter(|current| current.texts.identity != texts.identity)?;
        let in_use = validity_of(current.identity.as_ref()?)?;
        let problem = validity_of(identity.as_ref()?)?.error(now_s)?;
        if in_use.error(now_s).is_some() {
            return None;
        }
        texts.identity.clone_from(&current.texts.identity);
        identity.clone_from(&current.identity);
        let path = &self.settings.client_certificate.as_ref()?.certificate;
        Some(format!(
            "the new client certificate in {} {problem}: the previous one stays in use. Put a valid one there",
            path.display()
        ))
    }

    /// A warning if the client certificate is not valid at this time in Unix seconds.
    pub fn warning(&self, now_s: i64) -> Option<String> {
        let path = &self.settings.client_certificate.as_ref()?.certificate;
        let (_, identity) = self.parse(&self.read().ok()?).ok()?;
        let problem = validity_of(&identity?)?.error(now_s)?;
        Some(format!("the client certificate {} {problem}: servers refuse it. Renew it", path.display()))
    }

    fn read(&self) -> Result<Texts, Vec<SettingError>> {
        let ca =
            self.settings.ca_file.as_ref().map(|path| pem::read(self.purpose.ca_name(), path)).transpose();
        let identity = self.settings.client_certificate.as_ref();
        let identity = identity.map(|files| KeyPairText::read(self.purpose.pair_names(), files)).transpose();
        match (ca, identity) {
            (Ok(ca), Ok(identity)) => Ok(Texts { ca, identity }),
            (ca, identity) => Err(ca.err().into_iter().chain(identity.err().into_iter().flatten()).collect()),
        }
    }

    fn parse(
        &self,
        texts: &Texts,
    ) -> Result<(Vec<CertificateDer<'static>>, Option<CertifiedKey>), Vec<SettingError>> {
        let authorities = self.authorities(texts);
        let files = self.settings.client_certificate.as_ref();
        let identity = texts
            .identity
            .as_ref()
            .zip(files)
            .map(|(text, files)| text.parse(self.purpose.pair_names(), files))
            .transpose();
        match (authorities, identity) {
            (Ok(authorities), Ok(identity)) => Ok((authorities, identity)),
            (authorities, identity) => {
                Err(authorities.err().into_iter().chain(identity.err().into_iter().flatten()).collect())
            }
        }
    }

    fn authorities(&self, texts: &Texts) -> Result<Vec<CertificateDer<'static>>, SettingError> {
        let Some((path, text)) = self.settings.ca_file.as_ref().zip(texts.ca.as_ref()) else {
            return Ok(Vec::new());
        };
        let certificates = pem::certificates(self.purpose.ca_name(), path, text)?;
        let mut trust = Trust::none();
        for (index, certificate) in certificates.iter().enumerate() {
            if !trust.add(certificate.clone()) {
                return Err(SettingError::missing(
                    self.purpose.ca_name(),
                    format!("certificate {} in {} is malformed", index + 1, path.display()),
                    "Remove it, or copy it again",
                ));
            }
        }
        Ok(certificates)
    }
}

fn build(
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<CertifiedKey>,
    purpose: Purpose,
) -> Result<Arc<ClientConfig>, (String, String)> {
    let mut trust = Trust::none();
    trust.add_system();
    for certificate in authorities {
        trust.add(certificate);
    }
    if trust.is_empty() {
        let why = trust.errors().first().map_or(String::new(), |error| format!(" ({error})"));
        return Err((
            format!("no certificate authority is trusted on this machine{why}"),
            format!(
                "Install the system's certificates (the package ca-certificates), or set {} to a file with certificates",
                purpose.ca_name()
            ),
        ));
    }
    let mut configuration = configuration(trust, identity)
        .map_err(|error| (format!("TLS cannot be set up ({error})"), String::new()))?;
    if !purpose.is_http {
        configuration.alpn_protocols.clear();
    }
    Ok(Arc::new(configuration))
}
