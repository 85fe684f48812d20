//! Reads files of certificates and keys.
//!
//! Must not quote the content of a file: it may be a key.

use std::path::Path;

use rustls::InconsistentKeys;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::{KeyPairFiles, SettingError, files};

/// The byte order mark of UTF-8, which editors of Windows write.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The contents of the files of a certificate and its key, not parsed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPairText {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The settings that name the files of a certificate and its key.
#[derive(Clone, Copy, Debug)]
pub struct KeyPairNames<'a> {
    /// The setting of the certificate.
    pub certificate: &'a str,
    /// The setting of the key.
    pub key: &'a str,
}

impl KeyPairText {
    /// Reads both files.
    ///
    /// # Errors
    /// What is wrong with each of the files.
    pub fn read(names: KeyPairNames<'_>, files: &KeyPairFiles) -> Result<Self, Vec<SettingError>> {
        let certificate = read(names.certificate, &files.certificate);
        let key = read(names.key, &files.key);
        match (certificate, key) {
            (Ok(certificate), Ok(key)) => Ok(Self { certificate, key }),
            (certificate, key) => Err([certificate.err(), key.err()].into_iter().flatten().collect()),
        }
    }

    /// Parses the certificate with its intermediate certificates, and its key, and checks that they belong together.
    ///
    /// # Errors
    /// What is wrong with the contents.
    pub fn parse(
        &self,
        names: KeyPairNames<'_>,
        files: &KeyPairFiles,
    ) -> Result<CertifiedKey, Vec<SettingError>> {
        let chain = certificates(names.certificate, &files.certificate, &self.certificate);
        let key = key(names.key, &files.key, &self.key);
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
        };
        CertifiedKey::from_der(chain, key, &super::provider()).map_err(|error| {
            vec![match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => SettingError::missing(
                    names.key,
                    format!(
                        "{} is not the key of the first certificate in {}",
                        files.key.display(),
                        files.certificate.display()
                    ),
                    "Name files that belong together; the server's own certificate must be the first in its file",
                ),
                rustls::Error::InvalidCertificate(_) => SettingError::missing(
                    names.certificate,
                    format!("the first certificate in {} is malformed", files.certificate.display()),
                    "Create a new one; `openssl x509 -in FILE -noout -text` shows its content",
                ),
                _ => SettingError::missing(
                    names.key,
                    format!("the key in {} cannot be used", files.key.display()),
                    "Use an RSA key of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519",
                ),
            }]
        })
    }
}

/// Reads the file that `setting` names.
///
/// # Errors
/// When it cannot be read or is too large.
pub fn read(setting: &str, path: &Path) -> Result<Vec<u8>, SettingError> {
    let content = files::read_small(path).map(|mut content| {
        // A byte order mark would hide the first section.
        if content.starts_with(BOM) {
            content.drain(..BOM.len());
        }
        content
    });
    content.map_err(|error| {
        let problem = format!("cannot read {}: {error}", path.display());
        SettingError::missing(setting, problem, "Name a file in PEM form that the agent's user may read")
    })
}

/// The certificates in a file, in order.
///
/// # Errors
/// When there is none, or the file is not PEM.
pub fn certificates(
    setting: &str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, SettingError> {
    refuse_binary(setting, path, text)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(SettingError::missing(
            setting,
            format!("there is no certificate in {}", path.display()),
            "Name a file with at least one section `-----BEGIN CERTIFICATE-----`",
        )),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(malformed(setting, path)),
    }
}

/// The private key in a file: PKCS #8, PKCS #1 or SEC 1.
fn key(setting: &str, path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, SettingError> {
    refuse_binary(setting, path, text)?;
    let holds = |mark: &str| memchr::memmem::find(text, mark.as_bytes()).is_some();
    if holds("BEGIN ENCRYPTED PRIVATE KEY") || holds("Proc-Type: 4,ENCRYPTED") {
        return Err(SettingError::missing(
            setting,
            format!("the key in {} is encrypted, and the agent has no password for it", path.display()),
            "Decrypt it (`openssl pkey -in FILE -out PLAIN`) and let only the agent's user read it",
        ));
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(SettingError::missing(
            setting,
            format!("there is no private key in {}", path.display()),
            "Name a file with a section such as `-----BEGIN PRIVATE KEY-----`",
        )),
        Err(_) => Err(malformed(setting, path)),
    }
}

fn malformed(setting: &str, path: &Path) -> SettingError {
    SettingError::missing(
        setting,
        format!("{} is malformed PEM", path.display()),
        "Copy it again: a section is cut off or changed",
    )
}

fn refuse_binary(setting: &str, path: &Path, text: &[u8]) -> Result<(), SettingError> {
    // Every DER structure that may be here is a SEQUENCE.
    if text.first() == Some(&0x30) && memchr::memmem::find(text, b"-----BEGIN").is_none() {
        return Err(SettingError::missing(
            setting,
            format!("{} is binary (PFX or DER), not PEM", path.display()),
            "Convert it: `openssl pkcs12 -in FILE -nodes -out FILE.pem` for a PFX, `openssl x509 -inform der -in FILE \
             -out FILE.pem` for a certificate",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const NAMES: KeyPairNames<'_> = KeyPairNames { certificate: "Cert", key: "Key" };

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        }
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["agent.test".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn errors(certificate: PathBuf, key: PathBuf) -> Vec<String> {
        let files = KeyPairFiles { certificate, key };
        let parsed = KeyPairText::read(NAMES, &files).and_then(|text| text.parse(NAMES, &files));
        parsed.err().unwrap_or_default().iter().map(SettingError::to_string).collect()
    }

    #[test]
    fn a_pair_is_taken_from_two_files_or_one() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let (certificate, key) = pair();
        let both = folder.put("both.pem", format!("{key}\n# a comment\n{certificate}"));
        let marked = folder.put("marked.pem", format!("\u{feff}{certificate}\n{key}"));
        let (certificate, key) = (folder.put("cert.pem", certificate), folder.put("key.pem", key));
        assert!(errors(certificate, key).is_empty());
        assert!(errors(both.clone(), both).is_empty());
        assert_eq!(errors(marked.clone(), marked), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file_and_what_to_do() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let (certificate, key) = pair();
        let (_, other_key) = pair();
        let good = folder.put("cert.pem", &certificate);
        let good_key = folder.put("key.pem", &key);
        let half = certificate.len() / 2;
        for (certificate, key, parts) in [
            (folder.0.path().join("none"), good_key.clone(), &["Cert: cannot read", "none"][..]),
            (folder.0.path().to_path_buf(), good_key.clone(), &["Cert:", "is not a file"]),
            (good_key.clone(), good_key.clone(), &["Cert: there is no certificate in", "key.pem"]),
            (
                folder.put("half.pem", &certificate[..half]),
                good_key.clone(),
                &["Cert:", "half.pem is malformed"],
            ),
            (
                folder.put("a.pfx", [0x30, 0x82, 1, 1]),
                good_key.clone(),
                &["a.pfx is binary", "openssl pkcs12"],
            ),
            (good.clone(), folder.put("other.pem", other_key), &["Key:", "is not the key of", "cert.pem"]),
            (good.clone(), good.clone(), &["Key: there is no private key in", "cert.pem"]),
            (
                good.clone(),
                folder.put(
                    "locked.pem",
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                ),
                &["Key:", "locked.pem is encrypted", "openssl pkey"],
            ),
            (
                good.clone(),
                folder.put("no.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
                &["Key: the key in", "cannot be used", "Ed25519"],
            ),
        ] {
            let errors = errors(certificate, key);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(parts.iter().all(|part| errors[0].contains(part)), "{errors:?} without {parts:?}");
        }
        let nothing = folder.0.path().join("nothing");
        assert_eq!(errors(nothing.clone(), nothing).len(), 2);
    }
}
