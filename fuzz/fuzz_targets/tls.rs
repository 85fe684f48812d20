//! What a client of TLS may send: any bytes, or a real conversation with bytes changed; and what a file may hold as a
//! certificate. Nothing is understood before the handshake is done, and nothing is answered once it has failed.
#![no_main]

use std::io::Write;
use std::sync::{Arc, LazyLock};

use featbit_agent::net::channel::unbuffered::RustlsChannel;
use featbit_agent::net::channel::{Channel, Outgoing};
use featbit_agent::tls::validity::Validity;
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

struct Parties {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    certificate: CertificateDer<'static>,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(vec!["agent.test".into()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Parties { server: Arc::new(server), client: Arc::new(client), certificate }
});

/// The agent's side of a connection.
struct Server {
    channel: RustlsChannel,
    plain: Vec<u8>,
    out: Outgoing,
    failed: bool,
}

impl Server {
    fn new() -> Self {
        let channel = RustlsChannel::new(PARTIES.server.clone()).unwrap();
        Self { channel, plain: Vec::new(), out: Outgoing::default(), failed: false }
    }

    fn receive(&mut self, bytes: &mut [u8], portion: usize) {
        for part in bytes.chunks_mut(portion) {
            let before = self.out.as_slice().len();
            let received = self.channel.receive(part, &mut self.plain, &mut self.out);
            assert!(!self.failed || (received.is_err() && self.out.as_slice().len() == before));
            self.failed |= received.is_err();
            assert!(self.plain.is_empty() || self.channel.is_established());
        }
    }
}

/// Each four bytes change one of those that the client sends: in which flight, where, and to what.
fn converse(changes: &[u8], portion: usize) {
    let mut server = Server::new();
    let name = "agent.test".try_into().unwrap();
    let mut client = ClientConnection::new(PARTIES.client.clone(), name).unwrap();
    for flight in 0..4 {
        if !client.is_handshaking() {
            let _ = client.writer().write_all(b"question");
        }
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        for change in changes.chunks_exact(4).filter(|change| change[0] % 4 == flight) {
            let place = usize::from(change[1]) << 8 | usize::from(change[2]);
            if !bytes.is_empty() {
                let place = place % bytes.len();
                bytes[place] = change[3];
            }
        }
        server.receive(&mut bytes, portion);
        if server.channel.is_established() {
            let sealed = server.channel.seal(b"answer", &mut server.out);
            assert_eq!(sealed.is_err(), server.failed);
        }
        let mut answer = server.out.as_slice();
        while !answer.is_empty() && client.read_tls(&mut answer).is_ok() {
            if client.process_new_packets().is_err() {
                return;
            }
        }
        server.out.clear();
    }
    server.channel.close_notify(&mut server.out);
}

fuzz_target!(|data: &[u8]| {
    let Some(([mode, portion], rest)) = data.split_first_chunk::<2>() else { return };
    let portion = usize::from(*portion).max(1);
    match mode % 3 {
        0 => Server::new().receive(&mut rest.to_vec(), portion),
        1 => converse(rest, portion),
        _ => {
            // A certificate with some of its bytes changed.
            let mut certificate = PARTIES.certificate.to_vec();
            for change in rest.chunks_exact(3) {
                let place = (usize::from(change[0]) << 8 | usize::from(change[1])) % certificate.len();
                certificate[place] = change[2];
            }
            let _ = Validity::of(&certificate);
            let _ = Validity::of(rest);
        }
    }
});
