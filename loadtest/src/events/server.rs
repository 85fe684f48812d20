//! A stand-in for the server of usage events: it counts requests and bytes, and answers each with 200.
//!
//! It does nothing else, so that it takes little of the machine that it shares with the agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use crate::process::free_port;

/// Requests so far, and their bytes with heads.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// The server. Its threads end with the program, or when their connections close.
pub struct EventServer {
    port: u16,
    counts: Arc<Counts>,
}

impl EventServer {
    /// One that does not listen yet.
    pub fn away() -> io::Result<Self> {
        Ok(Self { port: free_port()?, counts: Arc::default() })
    }

    /// One that listens.
    pub fn start() -> io::Result<Self> {
        let server = Self::away()?;
        server.listen()?;
        Ok(server)
    }

    /// Begins to listen.
    pub fn listen(&self) -> io::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port))?;
        let counts = Arc::clone(&self.counts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&counts);
                // An error means that the agent has ended.
                thread::spawn(move || _ = serve(stream, &counts));
            }
        });
        Ok(())
    }

    /// Its address, as `EventUri`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests so far, and their bytes with heads.
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.requests.load(Relaxed), self.counts.bytes.load(Relaxed))
    }
}

fn serve(stream: TcpStream, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::with_capacity(64 << 10, stream);
    let mut line = String::new();
    loop {
        let (mut bytes, mut length) = (0, 0);
        loop {
            line.clear();
            let count = input.read_line(&mut line)?;
            bytes += count as u64;
            match (count, line.trim_end().split_once(':')) {
                (0, _) => return Ok(()),
                (2, _) => break,
                (_, Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                _ => {}
            }
        }
        bytes += io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        counts.requests.fetch_add(1, Relaxed);
        counts.bytes.fetch_add(bytes, Relaxed);
        output.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}
