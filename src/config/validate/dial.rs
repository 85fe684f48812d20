//! How connections to servers are opened: files of certificates, the proxy.
//!
//! Must not read the files: what is in them is checked by who uses them.

use super::check::Check;
use crate::config::definition::Key;
use crate::config::fault::Fault;
use crate::config::settings::{Dial, KeyPairFiles, ProxyChoice};
use crate::config::uri::AbsoluteUri;
use crate::config::value::{Unfit, unfit};

impl Check<'_> {
    pub(super) fn dial(&mut self) -> Dial {
        Dial {
            ca_file: self.text(Key::UpstreamCaFile).map(Into::into),
            client_certificate: self.pair(Key::UpstreamClientCertificateFile, Key::UpstreamClientKeyFile),
            proxy: self.parsed(Key::UpstreamProxy, proxy).unwrap_or(ProxyChoice::Environment),
            connect: self.duration(Key::UpstreamConnectSeconds),
        }
    }

    /// A certificate and its key: both, or none.
    fn pair(&mut self, certificate: Key, key: Key) -> Option<KeyPairFiles> {
        match (self.text(certificate), self.text(key)) {
            (Some(certificate), Some(key)) => {
                Some(KeyPairFiles { certificate: certificate.into(), key: key.into() })
            }
            (None, None) => None,
            (given, _) => {
                let (have, lack) = if given.is_some() { (certificate, key) } else { (key, certificate) };
                let (have_name, lack_name) = (have.definition().name, lack.definition().name);
                self.raw.lack(Fault::at(
                    have_name,
                    self.raw.origin(have),
                    format!("is given without {lack_name}"),
                    format!("Set {lack_name} too. A file that holds both may be named twice"),
                ));
                None
            }
        }
    }
}

fn proxy(text: &str) -> Result<ProxyChoice, Unfit> {
    if text.is_empty() {
        return Ok(ProxyChoice::Environment);
    }
    if text.eq_ignore_ascii_case("none") {
        return Ok(ProxyChoice::Never);
    }
    let with_scheme = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
    match AbsoluteUri::parse(&with_scheme, &["http"]) {
        Ok(uri) => Ok(ProxyChoice::Always(uri)),
        Err(Unfit { problem, .. }) => {
            Err(unfit(problem, "Write the URL of an HTTP proxy, such as http://proxy.example:3128, or none"))
        }
    }
}
