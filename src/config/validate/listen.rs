//! Addresses to listen on and their certificates: `Urls`, or the endpoints of .NET's section `Kestrel`.
//!
//! Must not read the files: `tls` does, and checks their content.

use std::collections::BTreeMap;

use super::check::{Check, shown};
use crate::config::definition::{Key, Kind};
use crate::config::error::{Origin, SettingError};
use crate::config::listen::{self, Listen, Scheme};
use crate::config::raw::Given;
use crate::config::secret::KeyPairFiles;
use crate::config::settings::{CertificateFiles, ClientCertificate, Tls};
use crate::config::value::{InvalidValue, invalid};

/// An address to listen on, and its own certificate if it has one.
pub(super) type Wanted = (Listen, Option<CertificateFiles>);

/// One endpoint of .NET's section `Kestrel`: its name as written, and its values.
struct Endpoint {
    name: String,
    given: BTreeMap<String, Given>,
}

const CONVERT: &str = "Convert the file (`openssl pkcs12 -in FILE.pfx -nodes -out FILE.pem`) and name the new file as the \
                       certificate and as the key";

impl Check<'_> {
    /// The addresses for SDKs: the endpoints, which override `Urls` as in .NET, or else `Urls`.
    pub(super) fn listen(&mut self) -> Option<Vec<Wanted>> {
        let endpoints = self.endpoints();
        if endpoints.is_empty() {
            return Some(self.urls(Key::Urls)?.into_iter().map(|listen| (listen, None)).collect());
        }
        if self.raw.given(Key::Urls).is_some() {
            self.raw.warnings.push(SettingError::at(
                Key::Urls.definition().name,
                self.raw.origin(Key::Urls),
                "is ignored, because the endpoints of the section Kestrel override it, as in .NET",
                "Keep one of the two",
            ));
        }
        let before = self.raw.errors.len();
        let wanted = endpoints.iter().flat_map(|endpoint| self.endpoint(endpoint)).collect();
        (self.raw.errors.len() == before).then_some(wanted)
    }

    pub(super) fn urls(&mut self, key: Key) -> Option<Vec<Listen>> {
        let definition = key.definition();
        let given = self.raw.given(key).map(|given| given.value.clone());
        self.listed(definition.name, self.raw.origin(key), given.as_deref().unwrap_or(definition.default))
    }

    /// The URLs in a text. `None` means that an error was reported for each wrong URL.
    fn listed(&mut self, setting: &str, origin: Origin, text: &str) -> Option<Vec<Listen>> {
        match listen::parse(text) {
            Ok((listen, names)) => {
                self.warn_of_names(setting, &origin, &names);
                Some(listen)
            }
            Err(wrong) => {
                for (url, InvalidValue { problem, remedy }) in wrong {
                    let problem = format!("{:?} {problem}", shown(Kind::Urls, &url));
                    self.raw.errors.push(SettingError::at(setting, origin.clone(), problem, remedy));
                }
                None
            }
        }
    }

    fn warn_of_names(&mut self, setting: &str, origin: &Origin, names: &[String]) {
        for name in names {
            self.raw.warnings.push(SettingError::at(
                setting,
                origin.clone(),
                format!("the host name {name:?} is not resolved: it means every address, as in .NET"),
                "Write `*`, `localhost` or an address instead",
            ));
        }
    }

    pub(super) fn metrics(&mut self, data: &[Wanted]) -> Option<Vec<Wanted>> {
        self.raw.given(Key::MetricsUrl)?;
        let metrics = self.urls(Key::MetricsUrl)?;
        let is_taken = |one: &Listen| one.port != 0 && data.iter().any(|(other, _)| one.port == other.port);
        if metrics.iter().any(is_taken) {
            self.raw.errors.push(SettingError::at(
                Key::MetricsUrl.definition().name,
                self.raw.origin(Key::MetricsUrl),
                "has a port that is also in Urls",
                "Choose another port, or remove it: /metrics is then on the data port",
            ));
        }
        Some(metrics.into_iter().map(|listen| (listen, None)).collect())
    }

    /// The endpoints of the section Kestrel.
    fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints: BTreeMap<String, Endpoint> = BTreeMap::new();
        for (name, (written, given)) in &self.raw.nested {
            let Some((endpoint, rest)) =
                name.strip_prefix("kestrel:endpoints:").and_then(|rest| rest.split_once(':'))
            else {
                continue;
            };
            if given.value.is_empty() {
                continue;
            }
            let written = written.replace("__", ":");
            let written = written.split(':').nth(2).unwrap_or(endpoint).to_string();
            let entry = endpoints
                .entry(endpoint.to_string())
                .or_insert_with(|| Endpoint { name: written, given: BTreeMap::new() });
            entry.given.insert(rest.to_string(), given.clone());
        }
        endpoints.into_values().collect()
    }

    fn endpoint(&mut self, endpoint: &Endpoint) -> Vec<Wanted> {
        let setting = format!("Kestrel__Endpoints__{}", endpoint.name);
        let Some(url) = endpoint.given.get("url") else {
            let origin = endpoint.given.values().next().map(|given| given.origin.clone());
            self.raw.push_missing(SettingError {
                setting: format!("{setting}__Url"),
                origin,
                problem: "is missing".into(),
                remedy: "Write one such as https://*:6443".into(),
            });
            return Vec::new();
        };
        let setting_url = format!("{setting}__Url");
        let Some(listen) = self.listed(&setting_url, url.origin.clone(), &url.value) else {
            return Vec::new();
        };
        let certificate = self.endpoint_certificate(&setting, endpoint);
        listen.into_iter().map(|listen| (listen, certificate.clone())).collect()
    }

    fn endpoint_certificate(&mut self, setting: &str, endpoint: &Endpoint) -> Option<CertificateFiles> {
        for (rest, given) in &endpoint.given {
            let (problem, remedy) = match rest.as_str() {
                "url" | "certificate:path" | "certificate:keypath" => continue,
                "certificate:password" => {
                    ("is for PFX files and encrypted keys, which are not supported", CONVERT)
                }
                rest if rest.starts_with("certificate:") => (
                    "names a certificate in a way that the agent does not support",
                    "Name PEM files by Path and KeyPath",
                ),
                _ => {
                    self.raw.warnings.push(SettingError::at(
                        format!("{setting}__{}", rest.replace(':', "__")),
                        given.origin.clone(),
                        "is ignored",
                        "",
                    ));
                    continue;
                }
            };
            let name = format!("{setting}__{}", capitalized(rest));
            self.raw.errors.push(SettingError::at(name, given.origin.clone(), problem, remedy));
        }
        let names = (format!("{setting}__Certificate__Path"), format!("{setting}__Certificate__KeyPath"));
        let (path, key) = (endpoint.given.get("certificate:path"), endpoint.given.get("certificate:keypath"));
        self.certificate(names, path.cloned(), key.cloned())
    }

    /// A certificate and its key: both or neither.
    fn certificate(
        &mut self,
        names: (String, String),
        path: Option<Given>,
        key: Option<Given>,
    ) -> Option<CertificateFiles> {
        let (have, lack, given) = match (path, key) {
            (None, None) => return None,
            (Some(path), Some(key)) => {
                let is_pfx = |path: &str| {
                    let lower = path.to_ascii_lowercase();
                    lower.ends_with(".pfx") || lower.ends_with(".p12")
                };
                for (name, given) in [(&names.0, &path), (&names.1, &key)] {
                    if is_pfx(&given.value) {
                        let problem = "names a PFX file, but only PEM is supported";
                        self.raw.errors.push(SettingError::at(name, given.origin.clone(), problem, CONVERT));
                    }
                }
                let files = KeyPairFiles { certificate: path.value.into(), key: key.value.into() };
                return Some(CertificateFiles { files, certificate_setting: names.0, key_setting: names.1 });
            }
            (Some(path), None) => (&names.0, &names.1, path),
            (None, Some(key)) => (&names.1, &names.0, key),
        };
        self.raw.push_missing(SettingError::at(
            have,
            given.origin,
            format!("is given without {lack}"),
            format!("Set {lack} too. Both may name the same PEM file; PFX is not supported"),
        ));
        None
    }

    fn default_certificate(&mut self) -> Option<CertificateFiles> {
        let default = "kestrel:certificates:default:password";
        if let Some((_, given)) = self.raw.nested.get(default).filter(|(_, given)| !given.value.is_empty()) {
            self.raw.errors.push(SettingError::at(
                "Kestrel__Certificates__Default__Password",
                given.origin.clone(),
                "is for PFX files and encrypted keys, which are not supported",
                CONVERT,
            ));
        }
        let names = (
            Key::TlsCertificateFile.definition().name.to_string(),
            Key::TlsKeyFile.definition().name.to_string(),
        );
        let given = |key| self.raw.given(key).cloned();
        let (path, key) = (given(Key::TlsCertificateFile), given(Key::TlsKeyFile));
        self.certificate(names, path, key)
    }

    /// TLS of the `https` addresses. Sets the index of each address's certificate.
    pub(super) fn tls(&mut self, all: [&mut [Wanted]; 2]) -> Option<Tls> {
        let default = self.default_certificate();
        let mut certificates: Vec<CertificateFiles> = Vec::new();
        let mut lacking = None;
        for (listen, own) in all.into_iter().flatten() {
            let Scheme::Https { certificate } = &mut listen.scheme else { continue };
            let Some(files) = own.as_ref().or(default.as_ref()) else {
                lacking.get_or_insert(*listen);
                continue;
            };
            let place = certificates.iter().position(|known| known == files);
            *certificate = place.unwrap_or_else(|| {
                certificates.push(files.clone());
                certificates.len() - 1
            });
        }
        let tried = self.is_given(Key::TlsCertificateFile) || self.is_given(Key::TlsKeyFile);
        match lacking {
            // A certificate without its key, or the reverse, has been reported.
            Some(listen) if !tried => self.raw.push_missing(SettingError::missing(
                Key::TlsCertificateFile.definition().name,
                format!("is needed by {listen}"),
                "Set it and Tls__KeyFile to PEM files, or listen on http://",
            )),
            None if certificates.is_empty() && tried => {
                let certificate = self.is_given(Key::TlsCertificateFile);
                let key = if certificate { Key::TlsCertificateFile } else { Key::TlsKeyFile };
                self.raw.warnings.push(SettingError::at(
                    key.definition().name,
                    self.raw.origin(key),
                    "is set, but no address begins with https://",
                    "Write https:// in Urls, or remove it",
                ));
            }
            _ => {}
        }
        let client_ca = self.text(Key::TlsClientCaFile).map(Into::into);
        let client_certificate = self.client_certificate(client_ca.is_some());
        let tls = Tls {
            certificates,
            client_ca,
            client_certificate,
            handshakes_per_turn: self.count(Key::TlsHandshakesPerTurn),
            poll: self.duration(Key::TlsPollSeconds),
        };
        (!tls.certificates.is_empty()).then_some(tls)
    }

    fn client_certificate(&mut self, has_ca: bool) -> ClientCertificate {
        let parsed =
            self.parsed(Key::TlsClientCertificate, |text| match text.to_ascii_lowercase().as_str() {
                // An authority alone means that other clients are to be refused.
                "" if has_ca => Ok(ClientCertificate::Required),
                "" | "none" => Ok(ClientCertificate::None),
                "optional" => Ok(ClientCertificate::Optional),
                "required" => Ok(ClientCertificate::Required),
                _ => Err(invalid("is not one of the values", "Write none, optional or required")),
            });
        let wanted = parsed.unwrap_or(ClientCertificate::None);
        if wanted != ClientCertificate::None && !has_ca {
            self.raw.push_missing(SettingError::at(
                Key::TlsClientCertificate.definition().name,
                self.raw.origin(Key::TlsClientCertificate),
                "needs Tls__ClientCaFile, because no client certificate would be trusted without it",
                "Name a PEM file of the authorities that issue client certificates",
            ));
        }
        wanted
    }
}

/// `certificate:password` as .NET writes it.
fn capitalized(rest: &str) -> String {
    let word = |word: &str| {
        let mut characters = word.chars();
        characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
    };
    rest.split(':').map(word).collect::<Vec<_>>().join("__")
}
