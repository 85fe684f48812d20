//! Where to listen, and with which certificates: `Urls`, or the endpoints of .NET's `Kestrel` section.
//!
//! Must not read the files: what is in them is checked by who uses them.

use std::collections::BTreeMap;

use super::check::{Check, shown};
use crate::config::definition::{Key, Kind};
use crate::config::fault::{Fault, Origin};
use crate::config::listen::{self, Listen, Scheme};
use crate::config::raw::Given;
use crate::config::settings::{CertificateFiles, ClientCertificate, KeyPairFiles, Tls};
use crate::config::value::{Unfit, unfit};

/// An address to listen on, and the certificate that it names for itself.
pub(super) type Wanted = (Listen, Option<CertificateFiles>);

/// What .NET says of one endpoint: the name as it is written, and what is given for it.
struct Endpoint {
    name: String,
    given: BTreeMap<String, Given>,
}

const CONVERT: &str = "Convert the file (`openssl pkcs12 -in FILE.pfx -nodes -out FILE.pem`) and name the outcome as the \
                       certificate and as the key";

impl Check<'_> {
    /// The addresses of SDKs: the endpoints, which as in .NET go over `Urls`, or `Urls`.
    pub(super) fn listen(&mut self) -> Option<Vec<Wanted>> {
        let endpoints = self.endpoints();
        if endpoints.is_empty() {
            return Some(self.urls(Key::Urls)?.into_iter().map(|listen| (listen, None)).collect());
        }
        if self.raw.given(Key::Urls).is_some() {
            self.raw.warnings.push(Fault::at(
                Key::Urls.definition().name,
                self.raw.origin(Key::Urls),
                "is not looked at, since the endpoints of the section Kestrel go over it, as in .NET",
                "Keep one of the two",
            ));
        }
        let before = self.raw.faults.len();
        let wanted = endpoints.iter().flat_map(|endpoint| self.endpoint(endpoint)).collect();
        (self.raw.faults.len() == before).then_some(wanted)
    }

    pub(super) fn urls(&mut self, key: Key) -> Option<Vec<Listen>> {
        let definition = key.definition();
        let given = self.raw.given(key).map(|given| given.value.clone());
        self.listed(definition.name, self.raw.origin(key), given.as_deref().unwrap_or(definition.default))
    }

    /// The URLs in a text. `None` has been told, each one that is wrong by itself.
    fn listed(&mut self, setting: &str, origin: Origin, text: &str) -> Option<Vec<Listen>> {
        match listen::parse(text) {
            Ok((listen, names)) => {
                self.warn_of_names(setting, &origin, &names);
                Some(listen)
            }
            Err(wrong) => {
                for (url, Unfit { problem, remedy }) in wrong {
                    let problem = format!("{:?} {problem}", shown(Kind::Urls, &url));
                    self.raw.faults.push(Fault::at(setting, origin.clone(), problem, remedy));
                }
                None
            }
        }
    }

    fn warn_of_names(&mut self, setting: &str, origin: &Origin, names: &[String]) {
        for name in names {
            self.raw.warnings.push(Fault::at(
                setting,
                origin.clone(),
                format!("the host name {name:?} is not resolved: it means every address, as in .NET"),
                "Write `*`, `localhost` or an address to say what is meant",
            ));
        }
    }

    pub(super) fn metrics(&mut self, data: &[Wanted]) -> Option<Vec<Wanted>> {
        self.raw.given(Key::MetricsUrl)?;
        let metrics = self.urls(Key::MetricsUrl)?;
        let is_taken = |one: &Listen| one.port != 0 && data.iter().any(|(other, _)| one.port == other.port);
        if metrics.iter().any(is_taken) {
            self.raw.faults.push(Fault::at(
                Key::MetricsUrl.definition().name,
                self.raw.origin(Key::MetricsUrl),
                "has a port that Urls has too",
                "Choose another port, or leave it out: /metrics is then on the data port",
            ));
        }
        Some(metrics.into_iter().map(|listen| (listen, None)).collect())
    }

    /// What the section Kestrel says of endpoints, by their names.
    fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints: BTreeMap<String, Endpoint> = BTreeMap::new();
        for (name, (written, given)) in &self.raw.kestrel {
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
            self.raw.lack(Fault {
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
                    ("is for PFX files and encrypted keys, which are not taken", CONVERT)
                }
                rest if rest.starts_with("certificate:") => (
                    "names a certificate in a way that the agent does not know",
                    "Name PEM files by Path and KeyPath",
                ),
                _ => {
                    self.raw.warnings.push(Fault::at(
                        format!("{setting}__{}", rest.replace(':', "__")),
                        given.origin.clone(),
                        "is not read",
                        "",
                    ));
                    continue;
                }
            };
            let name = format!("{setting}__{}", capitalized(rest));
            self.raw.faults.push(Fault::at(name, given.origin.clone(), problem, remedy));
        }
        let names = (format!("{setting}__Certificate__Path"), format!("{setting}__Certificate__KeyPath"));
        let (path, key) = (endpoint.given.get("certificate:path"), endpoint.given.get("certificate:keypath"));
        self.certificate(names, path.cloned(), key.cloned())
    }

    /// A certificate and its key, both or none.
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
                        let problem = "names a PFX file, and only PEM is taken";
                        self.raw.faults.push(Fault::at(name, given.origin.clone(), problem, CONVERT));
                    }
                }
                let files = KeyPairFiles { certificate: path.value.into(), key: key.value.into() };
                return Some(CertificateFiles { files, certificate_setting: names.0, key_setting: names.1 });
            }
            (Some(path), None) => (&names.0, &names.1, path),
            (None, Some(key)) => (&names.1, &names.0, key),
        };
        self.raw.lack(Fault::at(
            have,
            given.origin,
            format!("is given without {lack}"),
            format!("Set {lack} too. A PEM file that holds both may be named twice; PFX is not taken"),
        ));
        None
    }

    fn default_certificate(&mut self) -> Option<CertificateFiles> {
        let default = "kestrel:certificates:default:password";
        if let Some((_, given)) = self.raw.kestrel.get(default).filter(|(_, given)| !given.value.is_empty()) {
            self.raw.faults.push(Fault::at(
                "Kestrel__Certificates__Default__Password",
                given.origin.clone(),
                "is for PFX files and encrypted keys, which are not taken",
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

    /// TLS of the addresses that ask for it; each address learns which certificate is its own.
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
        let tried = self.tried(Key::TlsCertificateFile) || self.tried(Key::TlsKeyFile);
        match lacking {
            // A certificate that is there in part has been complained about.
            Some(listen) if !tried => self.raw.lack(Fault::missing(
                Key::TlsCertificateFile.definition().name,
                format!("is needed by {listen}"),
                "Set it and Tls__KeyFile to PEM files, or listen on http://",
            )),
            None if certificates.is_empty() && tried => {
                let certificate = self.tried(Key::TlsCertificateFile);
                let key = if certificate { Key::TlsCertificateFile } else { Key::TlsKeyFile };
                self.raw.warnings.push(Fault::at(
                    key.definition().name,
                    self.raw.origin(key),
                    "is set, but no address begins with https://",
                    "Write https:// in Urls, or take it out",
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
                // Who names an authority and says nothing more does not want strangers in.
                "" if has_ca => Ok(ClientCertificate::Required),
                "" | "none" => Ok(ClientCertificate::None),
                "optional" => Ok(ClientCertificate::Optional),
                "required" => Ok(ClientCertificate::Required),
                _ => Err(unfit("is no such thing", "Write none, optional or required")),
            });
        let wanted = parsed.unwrap_or(ClientCertificate::None);
        if wanted != ClientCertificate::None && !has_ca {
            self.raw.lack(Fault::at(
                Key::TlsClientCertificate.definition().name,
                self.raw.origin(Key::TlsClientCertificate),
                "needs Tls__ClientCaFile, since nobody's certificate would be trusted",
                "Name a PEM file of the authorities whose certificates are taken",
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
