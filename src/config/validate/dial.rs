//! Settings of connections to servers: certificate files and the proxy.
//!
//! Must not read the files: `dial` does, and checks their content.

use super::check::Check;
use crate::config::definition::Key;
use crate::config::error::SettingError;
use crate::config::secret::KeyPairFiles;
use crate::config::settings::{Dial, ProxyChoice};
use crate::config::uri::AbsoluteUri;
use crate::config::value::{InvalidValue, invalid};

impl Check<'_> {
    pub(super) fn dial(&mut self) -> Dial {
        Dial {
            ca_file: self.text(Key::UpstreamCaFile).map(Into::into),
            client_certificate: self.pair(Key::UpstreamClientCertificateFile, Key::UpstreamClientKeyFile),
            proxy: self.parsed(Key::UpstreamProxy, proxy).unwrap_or(ProxyChoice::Environment),
            connect: self.duration(Key::UpstreamConnectSeconds),
        }
    }

    /// A certificate and its key: both or neither.
    pub(super) fn pair(&mut self, certificate: Key, key: Key) -> Option<KeyPairFiles> {
        match (self.text(certificate), self.text(key)) {
            (Some(certificate), Some(key)) => {
                Some(KeyPairFiles { certificate: certificate.into(), key: key.into() })
            }
            (None, None) => None,
            (given, _) => {
                let (have, lack) = if given.is_some() { (certificate, key) } else { (key, certificate) };
                let (have_name, lack_name) = (have.definition().name, lack.definition().name);
                self.raw.push_missing(SettingError::at(
                    have_name,
                    self.raw.origin(have),
                    format!("is given without {lack_name}"),
                    format!("Set {lack_name} too. Both may name the same file"),
                ));
                None
            }
        }
    }
}

fn proxy(text: &str) -> Result<ProxyChoice, InvalidValue> {
    if text.is_empty() {
        return Ok(ProxyChoice::Environment);
    }
    if text.eq_ignore_ascii_case("none") {
        return Ok(ProxyChoice::Never);
    }
    let with_scheme = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
    match AbsoluteUri::parse(&with_scheme, &["http"]) {
        Ok(uri) => Ok(ProxyChoice::Always(uri)),
        Err(InvalidValue { problem, .. }) => Err(invalid(
            problem,
            "Write the URL of an HTTP proxy, such as http://proxy.example:3128, or none",
        )),
    }
}
