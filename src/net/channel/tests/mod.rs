//! The channel against a real client, and compared with its plain twin, for any splits of the bytes.

pub(in super::super) mod endpoints;
mod twin;

use std::io::{Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use super::unbuffered::RustlsChannel;
use super::*;
use endpoints::{VERSIONS, client, connect, provider, server};
use twin::Buffered;

/// A client and a channel with nothing between them but cuts.
struct Pair<C> {
    client: ClientConnection,
    channel: C,
    plain: Vec<u8>,
    out: Outgoing,
    received: Vec<Received>,
}

impl<C: Channel> Pair<C> {
    fn new(client: ClientConnection, channel: C) -> Self {
        Self { client, channel, plain: Vec::new(), out: Outgoing::default(), received: Vec::new() }
    }

    /// Carries what the client has to say to the channel, in pieces of these sizes in turn.
    fn feed_channel(&mut self, sizes: &[usize]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &mut bytes[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at_mut((*size).clamp(1, rest.len()));
            self.received.push(self.channel.receive(piece, &mut self.plain, &mut self.out)?);
            rest = after;
        }
        Ok(())
    }

    /// Carries what the channel has to say to the client. Returns what the client understood.
    fn feed_client(&mut self) -> Result<Vec<u8>, rustls::Error> {
        let mut bytes = self.out.as_slice();
        let mut said = Vec::new();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            let state = self.client.process_new_packets()?;
            let start = said.len();
            said.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut said[start..]).unwrap();
        }
        self.out.clear();
        Ok(said)
    }

    fn handshake(&mut self, sizes: &[usize]) -> Result<(), Failure> {
        for _ in 0..4 {
            self.feed_channel(sizes)?;
            self.feed_client().unwrap();
        }
        assert!(self.channel.is_established() && !self.client.is_handshaking());
        Ok(())
    }

    fn established(&self) -> Vec<Established> {
        self.received.iter().filter_map(|received| received.established).collect()
    }
}

/// One whole conversation; returns what each side heard.
fn converse<C: Channel>(
    channel: C,
    client: ClientConnection,
    sizes: &[usize],
    question: &[u8],
    answer: &[u8],
) -> (Vec<u8>, Vec<u8>, Vec<Established>, bool) {
    let mut pair = Pair::new(client, channel);
    pair.handshake(sizes).unwrap();
    for part in question.chunks(20_000) {
        pair.client.writer().write_all(part).unwrap();
        pair.feed_channel(sizes).unwrap();
    }
    let mut heard = Vec::new();
    for part in answer.chunks(RECORD_BYTES_MAX) {
        pair.channel.seal(part, &mut pair.out).unwrap();
        heard.extend(pair.feed_client().unwrap());
    }
    pair.client.send_close_notify();
    pair.feed_channel(sizes).unwrap();
    let ended = pair.received.iter().filter(|received| received.ended).count() == 1;
    pair.channel.close_notify(&mut pair.out);
    pair.feed_client().unwrap();
    let mut rest = Vec::new();
    pair.client.reader().read_to_end(&mut rest).expect("an orderly end");
    (std::mem::take(&mut pair.plain), heard, pair.established(), ended)
}

#[test]
fn every_split_of_a_handshake_and_of_records_works() {
    for version in VERSIONS {
        let (server, client) = (server(false), client(version));
        for size in (1..80).chain([200, 517, 100_000]) {
            let channel = RustlsChannel::new(server.clone()).unwrap();
            let (asked, heard, _, ended) =
                converse(channel, connect(&client), &[size], b"question", b"answer");
            assert_eq!((asked.as_slice(), heard.as_slice(), ended), (&b"question"[..], &b"answer"[..], true));
        }
    }
}

#[test]
fn a_second_connection_is_resumed_by_a_ticket() {
    for version in VERSIONS {
        let (server, client) = (server(false), client(version));
        let mut established = Vec::new();
        for _ in 0..2 {
            let channel = RustlsChannel::new(server.clone()).unwrap();
            established.extend(converse(channel, connect(&client), &[1000], b"", b"answer").2);
        }
        assert_eq!(established, [Established::Anew, Established::Resumed]);
    }
}

#[test]
fn nothing_is_kept_for_an_idle_connection() {
    let mut pair = Pair::new(connect(&client(VERSIONS[1])), RustlsChannel::new(server(false)).unwrap());
    pair.handshake(&[10]).unwrap();
    assert_eq!(pair.channel.kept.capacity(), 0);
    pair.client.writer().write_all(b"half of it").unwrap();
    let mut bytes = Vec::new();
    pair.client.write_tls(&mut bytes).unwrap();
    let (first, second) = bytes.split_at_mut(7);
    pair.channel.receive(first, &mut pair.plain, &mut pair.out).unwrap();
    assert_eq!((pair.channel.kept.len(), pair.plain.len()), (7, 0));
    // Incomplete input does not prevent sending.
    pair.channel.seal(b"meanwhile", &mut pair.out).unwrap();
    pair.channel.receive(second, &mut pair.plain, &mut pair.out).unwrap();
    assert_eq!((pair.channel.kept.capacity(), pair.plain.as_slice()), (0, &b"half of it"[..]));
    assert_eq!(pair.feed_client().unwrap(), b"meanwhile");
}

#[test]
fn keys_are_renewed_on_request_even_in_the_middle_of_something() {
    let mut pair = Pair::new(connect(&client(VERSIONS[1])), RustlsChannel::new(server(false)).unwrap());
    pair.handshake(&[100]).unwrap();
    for size in [1, 3, 1000] {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"after").unwrap();
        pair.feed_channel(&[size]).unwrap();
        pair.channel.seal(b"answer", &mut pair.out).unwrap();
        assert_eq!(pair.feed_client().unwrap(), b"answer");
        assert_eq!(std::mem::take(&mut pair.plain), b"after");
    }
}

#[test]
fn failures_are_told_apart_and_the_peer_is_told() {
    let refused = |server: Arc<ServerConfig>, client: Arc<ClientConfig>| {
        let mut pair = Pair::new(connect(&client), RustlsChannel::new(server).unwrap());
        let failure = (0..3).find_map(|_| {
            let failure = pair.feed_channel(&[1000]).err();
            // Either side may refuse the other.
            let _ = pair.feed_client();
            failure
        });
        (failure, pair)
    };
    let (failure, pair) = refused(server(true), client(VERSIONS[1]));
    assert_eq!(failure, Some(Failure::ClientCertificate));
    assert_eq!(pair.channel.certificate_error(), Some("the client sent none"));
    let untrusting = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let (failure, _) = refused(server(false), Arc::new(untrusting));
    assert_eq!(failure, Some(Failure::Alert));
    let mut tls13 = ServerConfig::clone(&server(false));
    tls13.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut other = ClientConfig::clone(&client(VERSIONS[1]));
    other.alpn_protocols = vec![b"h2".to_vec()];
    let (failure, _) = refused(Arc::new(tls13), Arc::new(other));
    assert_eq!(failure, Some(Failure::Incompatible));
    let mut channel = RustlsChannel::new(server(false)).unwrap();
    let (mut plain, mut out) = (Vec::new(), Outgoing::default());
    let failure = channel.receive(&mut b"GET / HTTP/1.1\r\n".to_vec(), &mut plain, &mut out);
    assert_eq!(failure, Err(Failure::Protocol));
    assert_eq!(out.as_slice()[0], 0x15, "an alert");
    // It is over, whatever comes.
    assert_eq!(channel.receive(&mut [0x16], &mut plain, &mut out), Err(Failure::Internal));
    assert_eq!(channel.seal(b"x", &mut out), Err(Failure::Internal));
    out.clear();
    channel.close_notify(&mut out);
    assert!(out.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn it_behaves_like_its_plain_twin(
        sizes in prop::collection::vec(1usize..5000, 1..6),
        question in 0usize..60_000,
        answer in 0usize..60_000,
        tls13: bool,
    ) {
        let (server, client) = (server(false), client(VERSIONS[usize::from(tls13)]));
        let text: Vec<u8> = (0..60_000u32).map(|number| (number % 253) as u8).collect();
        let (question, answer) = (&text[..question], &text[..answer]);
        let channel = RustlsChannel::new(server.clone()).unwrap();
        let own = converse(channel, connect(&client), &sizes, question, answer);
        let twin = converse(Buffered::new(server), connect(&client), &sizes, question, answer);
        prop_assert_eq!((&own.0, &own.1, own.3), (&twin.0, &twin.1, twin.3));
        prop_assert_eq!((own.0.as_slice(), own.1.as_slice()), (question, answer));
    }

    #[test]
    fn no_change_of_what_a_client_sends_makes_it_panic(
        place in 0usize..600,
        value: u8,
        size in 1usize..600,
        tls13: bool,
    ) {
        let (server, client) = (server(false), client(VERSIONS[usize::from(tls13)]));
        for flight in 0..3 {
            let mut pair = Pair::new(connect(&client), RustlsChannel::new(server.clone()).unwrap());
            for number in 0..3 {
                let mut bytes = Vec::new();
                while pair.client.wants_write() {
                    pair.client.write_tls(&mut bytes).unwrap();
                }
                if number == flight && !bytes.is_empty() {
                    let place = place % bytes.len();
                    bytes[place] = value;
                }
                let taken = bytes.chunks_mut(size).try_for_each(|piece| {
                    pair.channel.receive(piece, &mut pair.plain, &mut pair.out).map(drop)
                });
                if taken.is_err() || pair.feed_client().is_err() {
                    break;
                }
                if pair.channel.is_established() {
                    pair.channel.seal(b"answer", &mut pair.out).unwrap();
                    pair.client.writer().write_all(b"question").unwrap();
                }
            }
        }
    }
}
