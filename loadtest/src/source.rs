//! A stand-in for the server that an agent follows: it registers the agent, answers full syncs, and pushes changes.
//!
//! It does nothing else, so that a change can be timed from the moment it leaves the server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use featbit_agent::wire::ws::frame::text_frame;
use featbit_agent::wire::ws::handshake::accept_response;

/// A listening stand-in. Its threads end with the program, or when their connections close.
pub struct Source {
    port: u16,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    asked: Mutex<Receiver<()>>,
}

impl Source {
    /// One that answers every request for data with `full`.
    pub fn start(full: Vec<u8>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (answered, asked) = channel();
        let (own, full) = (Arc::clone(&streams), Arc::new(text_frame(&full)));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (streams, full, answered) = (Arc::clone(&own), Arc::clone(&full), answered.clone());
                thread::spawn(move || {
                    // An error means that the agent has ended; the next round starts another one.
                    let _ = serve(stream, &streams, &full, &answered);
                });
            }
        });
        Ok(Self { port, streams, asked: Mutex::new(asked) })
    }

    /// Its address, as `StreamingUri`.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Waits until an agent has asked for data and been answered.
    pub fn wait_for_request(&self) -> io::Result<()> {
        let asked = self.asked.lock().map_err(|_| io::Error::other("a thread panicked"))?;
        asked.recv_timeout(std::time::Duration::from_secs(60)).map_err(io::Error::other)
    }

    /// Sends a change to every agent that follows.
    pub fn push(&self, patch: &[u8]) -> io::Result<()> {
        let frame = text_frame(patch);
        let mut streams = self.streams.lock().map_err(|_| io::Error::other("a thread panicked"))?;
        streams.retain_mut(|stream| stream.write_all(&frame).is_ok());
        Ok(())
    }
}

fn serve(
    stream: TcpStream,
    streams: &Mutex<Vec<TcpStream>>,
    full: &[u8],
    answered: &std::sync::mpsc::Sender<()>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if input.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        if let Some(key) = field("sec-websocket-key") {
            let mut answer = Vec::new();
            accept_response(&key, None, &mut answer);
            output.write_all(&answer)?;
            break;
        }
        let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
        output.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nload")?;
    }
    // Only requests for data need an answer; pings and status reports do not.
    loop {
        let mut header = [0; 2];
        input.read_exact(&mut header)?;
        let length = match header[1] & 0x7f {
            126 => {
                let mut long = [0; 2];
                input.read_exact(&mut long)?;
                usize::from(u16::from_be_bytes(long))
            }
            127 => return Err(io::Error::other("no agent sends a message that long")),
            short => usize::from(short),
        };
        let mut masked = vec![0; length + 4];
        input.read_exact(&mut masked)?;
        let (mask, payload) = masked.split_at_mut(4);
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[index % 4];
        }
        if payload.windows(11).any(|bytes| bytes == b"\"data-sync\"") {
            output.write_all(full)?;
            let stream = output.try_clone()?;
            streams.lock().map_err(|_| io::Error::other("a thread panicked"))?.push(stream);
            // The receiver may be gone.
            let _ = answered.send(());
        }
    }
}
