//! Certificates made at run time: authorities, servers, clients, good ones and bad ones.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its private key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PEM, the own certificate first.
    pub certificate: String,
    /// PEM.
    pub key: String,
}

/// What a certificate is to be like.
#[derive(Clone, Debug)]
pub struct Wish {
    names: Vec<String>,
    for_clients: bool,
    valid_s: (i64, i64),
}

impl Wish {
    /// A server's certificate for these names and addresses, valid for a day.
    pub fn server(names: &[&str]) -> Self {
        let day_s = 24 * 3600;
        Self {
            names: names.iter().map(|&name| name.into()).collect(),
            for_clients: false,
            valid_s: (-day_s, day_s),
        }
    }

    /// A client's certificate.
    pub fn client(name: &str) -> Self {
        Self { for_clients: true, ..Self::server(&[name]) }
    }

    /// Valid from and until so many seconds from now.
    pub fn valid_s(mut self, from_s: i64, until_s: i64) -> Self {
        self.valid_s = (from_s, until_s);
        self
    }

    fn parameters(&self) -> CertificateParams {
        let mut parameters = CertificateParams::new(self.names.clone()).expect("names of certificates");
        let at = |offset_s: i64| {
            let now = SystemTime::now();
            let offset = Duration::from_secs(offset_s.unsigned_abs());
            if offset_s < 0 { now - offset } else { now + offset }.into()
        };
        parameters.not_before = at(self.valid_s.0);
        parameters.not_after = at(self.valid_s.1);
        parameters.distinguished_name = called(self.names.first().map_or("nobody", String::as_str));
        parameters.extended_key_usages = vec![if self.for_clients {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        parameters
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name = called(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a certificate.
    pub fn issue(&self, wish: &Wish) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = wish.parameters().signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Whom one has to trust to trust this authority.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("own PEM");
        roots.add(der).expect("own certificate");
        roots
    }
}

impl Pair {
    /// A certificate that its own key signed, as `openssl req -x509` makes them: it claims to be an authority.
    pub fn self_signed(wish: &Wish) -> Self {
        let mut parameters = wish.parameters();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        Self { certificate, key: key.serialize_pem() }
    }

    /// The certificates, as rustls takes them.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).map(|der| der.expect("own PEM")).collect()
    }

    /// The key, as rustls takes it.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("own PEM")
    }

    /// Writes `NAME.pem` and `NAME.key` into a folder, each by a rename.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let put = |extension: &str, text: &str| {
            let path = folder.join(format!("{name}.{extension}"));
            super::dataset::write_atomically(&path, text);
            path
        };
        (put("pem", &self.certificate), put("key", &self.key))
    }
}
