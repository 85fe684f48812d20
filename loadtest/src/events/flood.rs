//! Calls with usage events, as SDKs send them: several connections, one call at a time on each.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::data::{self, Sdk};

/// How many different calls there are. They come again and again.
const DIFFERENT: usize = 256;
/// A user evaluates so many flags at a time.
const EVALUATIONS_OF_A_USER: usize = 5;
/// After an answer of 503.
const PAUSE: Duration = Duration::from_millis(10);

/// Requests that are ready to be sent.
pub struct Calls {
    requests: Vec<Vec<u8>>,
    /// Events in each.
    pub events: usize,
    /// Bytes of a body, on average.
    pub body_bytes: f64,
}

impl Calls {
    /// Calls with so many evaluations, each an event of its own. Every second one has the secret of client SDKs.
    pub fn new(events: usize) -> Self {
        let mut bytes = 0;
        let requests = (0..DIFFERENT).map(|number| {
            let body = data::evaluations(number * events, events, EVALUATIONS_OF_A_USER);
            bytes += body.len();
            let secret = if number % 2 == 0 { Sdk::Server } else { Sdk::Client }.secret();
            let mut request = format!(
                "POST /api/public/insight/track HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                secret.as_str(),
                body.len()
            )
            .into_bytes();
            request.extend_from_slice(body.as_bytes());
            request
        });
        let requests = requests.collect();
        Self { requests, events, body_bytes: bytes as f64 / DIFFERENT as f64 }
    }
}

#[derive(Debug, Default)]
struct Counts {
    is_over: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// Calls that are being made until it is dropped.
pub struct Flood {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<io::Result<Vec<Duration>>>>,
    begun: Instant,
}

/// What became of the calls.
pub struct Posted {
    /// Calls that were answered with 200.
    pub accepted: u64,
    /// Calls that were answered with 503.
    pub refused: u64,
    /// From the first call to the last answer.
    pub took: Duration,
    /// How long the calls took that were accepted, sorted.
    pub times: Vec<Duration>,
}

impl Flood {
    /// Makes calls on so many connections, each as soon as it has its answer, or so many a second on all of them.
    pub fn start(
        address: SocketAddr,
        calls: &Arc<Calls>,
        connections: usize,
        rate: Option<f64>,
    ) -> io::Result<Self> {
        let counts: Arc<Counts> = Arc::default();
        let every = rate.map(|rate| Duration::from_secs_f64(connections as f64 / rate));
        let begun = Instant::now();
        let threads = (0..connections).map(|number| {
            let (counts, calls) = (Arc::clone(&counts), Arc::clone(calls));
            let first = every.map(|every| begun + every * number as u32 / connections as u32);
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            Ok(thread::spawn(move || post(stream, &calls, number * 7, first.zip(every), &counts)))
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, counts, begun })
    }

    /// Calls so far that were accepted.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Relaxed)
    }

    /// Makes no more calls, and waits for the answers.
    pub fn end(mut self) -> io::Result<Posted> {
        self.counts.is_over.store(true, Relaxed);
        let mut times = Vec::new();
        for thread in self.threads.drain(..) {
            times.extend(thread.join().map_err(|_| io::Error::other("a client panicked"))??);
        }
        times.sort_unstable();
        let (accepted, refused) = (self.accepted(), self.counts.refused.load(Relaxed));
        Ok(Posted { accepted, refused, took: self.begun.elapsed(), times })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.counts.is_over.store(true, Relaxed);
    }
}

/// `paced`: when the first call is made, and how long after each the next one.
fn post(
    mut stream: TcpStream,
    calls: &Calls,
    first: usize,
    paced: Option<(Instant, Duration)>,
    counts: &Counts,
) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut at = paced.map(|(at, _)| at);
    for request in calls.requests.iter().cycle().skip(first % DIFFERENT) {
        if let (Some(next), Some((_, every))) = (&mut at, paced) {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            *next += every;
        }
        if counts.is_over.load(Relaxed) {
            break;
        }
        let begun = Instant::now();
        stream.write_all(request)?;
        match answer(&mut stream)? {
            200 => {
                counts.accepted.fetch_add(1, Relaxed);
                times.push(begun.elapsed());
            }
            503 => {
                counts.refused.fetch_add(1, Relaxed);
                thread::sleep(PAUSE);
            }
            other => return Err(io::Error::other(format!("a call was answered with {other}"))),
        }
    }
    Ok(times)
}

/// Reads an answer. Returns its status.
fn answer(stream: &mut TcpStream) -> io::Result<u16> {
    let (mut buffer, mut filled) = ([0; 2048], 0);
    loop {
        let count = stream.read(&mut buffer[filled..])?;
        if count == 0 {
            return Err(io::Error::other("the agent closed a connection, or its answer is long"));
        }
        filled += count;
        let text = std::str::from_utf8(&buffer[..filled]).map_err(io::Error::other)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            return status.ok_or_else(|| io::Error::other("an answer has no status"));
        }
    }
}
