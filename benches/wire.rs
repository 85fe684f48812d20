//! What one connection costs between its bytes and their meaning: token, frames, request heads, messages.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use featbit_agent::model::environment_id::EnvironmentId;
use featbit_agent::protocol::from_sdk::FromSdk;
use featbit_agent::protocol::secret::Secret;
use featbit_agent::protocol::{insight, token, user};
use featbit_agent::wire::http1::chunked::Chunked;
use featbit_agent::wire::http1::head::{self, HeadLimits};
use featbit_agent::wire::ws::mask::unmask;
use featbit_agent::wire::ws::reader::Reader;

const LIMITS: HeadLimits = HeadLimits { max_bytes: 32 * 1024, max_headers: 100 };
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const PING: &[u8] = br#"{"messageType":"ping","data":null}"#;
const PING_SPACED: &[u8] = br#"{ "messageType": "ping", "data": null }"#;
const SERVER_SYNC: &[u8] = br#"{"messageType":"data-sync","data":{"timestamp":1735689644638}}"#;
const CLIENT_SYNC: &[u8] = br#"{"messageType":"data-sync","data":{"timestamp":0,"user":{"keyId":"user-0","name":"Alice","customizedProperties":[{"name":"age","value":"18"},{"name":"score","value":"-0.25"},{"name":"city","value":"unicode"},{"name":"email","value":"alice@example.com"},{"name":"plan","value":"gold"}]}}}"#;
const USER: &[u8] = br#"{"keyId":"user-0","name":"Alice","customizedProperties":[{"name":"age","value":"18"},{"name":"city","value":"unicode"}]}"#;
const EVENT: &str = r#"{"user":{"keyId":"u","name":"n","customizedProperties":[]},"variations":[{"featureFlagKey":"flag","sendToExperiment":false,"timestamp":1735689644638,"variation":{"id":"ad99d259-1f50-4ed9-a002-7c65e25487df","value":"true"}}]}"#;

fn upgrade_request(token: &str) -> String {
    format!(
        "GET /streaming?type=server&token={token} HTTP/1.1\r\nHost: localhost:6100\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         User-Agent: featbit-dotnet-server-sdk\r\n\r\n"
    )
}

const BROWSER_POLL: &str = "POST /api/public/sdk/client/latest-all?timestamp=1735689644638 HTTP/1.1\r\n\
    Host: flags.example.com\r\nConnection: keep-alive\r\nContent-Length: 120\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
    Authorization: FF6HjRDP50eAc1OTtJ8G4wWdKZrVAf2U6gAnxl4lSH3w\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
    Content-Type: application/json\r\nX-User-Agent: Browser-Client-SDK/4.3.5\r\nAccept: */*\r\n\
    Origin: https://www.example.com\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n\
    Referer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\r\n";

fn client_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    if payload.len() < 126 {
        frame.push(0x80 | payload.len() as u8);
    } else {
        frame.push(0x80 | 126);
        frame.extend((payload.len() as u16).to_be_bytes());
    }
    frame.extend(KEY);
    let start = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[start..], KEY);
    frame
}

fn tokens(c: &mut Criterion) {
    let secret = Secret::build([7; 16], EnvironmentId::from_bytes([9; 16]));
    let text = token::encode(&secret, 1_735_689_644_638, 17);
    c.bench_function("token/decode", |b| b.iter(|| token::decode(black_box(&text))));
}

fn heads(c: &mut Criterion) {
    let secret = Secret::build([7; 16], EnvironmentId::from_bytes([9; 16]));
    let upgrade = upgrade_request(&token::encode(&secret, 1_735_689_644_638, 17));
    c.bench_function("http1/upgrade", |b| b.iter(|| head::parse(black_box(upgrade.as_bytes()), &LIMITS)));
    c.bench_function("http1/browser_poll", |b| {
        b.iter(|| head::parse(black_box(BROWSER_POLL.as_bytes()), &LIMITS));
    });

    let mut group = c.benchmark_group("http1/chunked");
    let mut body = Vec::new();
    for _ in 0..64 {
        body.extend(b"4000\r\n");
        body.extend([b'x'; 0x4000]);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("1_mib_of_16_kib_chunks", |b| {
        let mut out = Vec::with_capacity(2 << 20);
        b.iter(|| {
            out.clear();
            Chunked::new().decode(black_box(&body), &mut out, 1 << 30).map(|progress| progress.done)
        });
    });
    group.finish();
}

fn frames(c: &mut Criterion) {
    for (name, payload) in [("ping", PING), ("client_sync", CLIENT_SYNC)] {
        let frame = client_frame(payload);
        c.bench_function(&format!("ws/read_{name}"), |b| {
            let mut reader = Reader::new();
            b.iter_batched_ref(
                || frame.clone(),
                |frame| reader.step(black_box(frame), 64 * 1024).is_ok(),
                BatchSize::SmallInput,
            );
        });
    }
    let mut group = c.benchmark_group("ws/unmask");
    for len in [34usize, 300, 65_536] {
        let mut payload = vec![b'x'; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| b.iter(|| unmask(black_box(&mut payload), black_box(KEY))));
    }
    group.finish();
}

fn messages(c: &mut Criterion) {
    for (name, text) in [
        ("ping", PING),
        ("ping_spaced", PING_SPACED),
        ("server_sync", SERVER_SYNC),
        ("client_sync", CLIENT_SYNC),
    ] {
        c.bench_function(&format!("message/{name}"), |b| b.iter(|| FromSdk::parse(black_box(text), 1000)));
    }
    c.bench_function("user/poll", |b| b.iter(|| user::parse_http(black_box(USER), 1000)));

    let body = format!("[{}]", vec![EVENT; 50].join(","));
    let mut group = c.benchmark_group("insight");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("50_events", |b| b.iter(|| insight::check(black_box(body.as_bytes()))));
    group.finish();
}

criterion_group!(benches, tokens, heads, frames, messages);
criterion_main!(benches);
