//! An HTTP proxy: takes `CONNECT`, and plain requests with absolute targets. It resolves names by itself, so a test can use
//! names that nobody else knows.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::SOON;

/// What the proxy was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// `CONNECT`, or the method of a forwarded request.
    pub method: String,
    /// Host and port.
    pub target: String,
    /// `Proxy-Authorization`.
    pub authorization: Option<String>,
    /// The status of the answer; 0 for none.
    pub status: u16,
}

/// How the proxy behaves.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Names (`host:port`) and the ports of the loopback behind them; others are unreachable: 502.
    pub routes: Vec<(String, u16)>,
    /// What `Proxy-Authorization` must be; otherwise 407.
    pub authorization: Option<String>,
    /// Every request is refused with this status.
    pub refuse: Option<u16>,
    /// Requests get no answer.
    pub stall: bool,
    /// An interim answer comes before that to `CONNECT`.
    pub interim: bool,
}

/// A running proxy. Dropped, it takes no more connections; open tunnels end with their ends.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    manner: Mutex<Manner>,
    asked: Mutex<Vec<Asked>>,
    tunnels: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

impl Proxy {
    /// Starts one.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared { manner: Mutex::new(manner), ..Shared::default() });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if own.stop.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&own);
                std::thread::spawn(move || {
                    // What goes wrong on a tunnel is seen at its ends.
                    let _ = shared.serve(stream);
                });
            }
        });
        Self { port, shared, thread: Some(thread) }
    }

    /// Its address, for `HTTP_PROXY` and its like.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same with a user.
    pub fn url_with(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Behaves otherwise from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut locked(&self.shared.manner));
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.shared.asked).clone()
    }

    /// Cuts every tunnel.
    pub fn cut(&self) {
        for stream in locked(&self.shared.tunnels).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.cut();
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(SOON))?;
        let (head, rest) = read_head(&mut client)?;
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let authorization = headers.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
        });
        let (authority, path) = if method == "CONNECT" { (target.to_owned(), "") } else { split(target) };
        let manner = locked(&self.manner).clone();
        let port = manner.routes.iter().find(|(name, _)| *name == authority).map(|&(_, port)| port);
        let status = if manner.stall {
            0
        } else if let Some(status) = manner.refuse {
            status
        } else if manner.authorization.is_some() && manner.authorization != authorization {
            407
        } else {
            port.map_or(502, |_| 200)
        };
        let asked = Asked { method: method.into(), target: authority, authorization, status };
        locked(&self.asked).push(asked);
        let (200, Some(port)) = (status, port) else {
            if status != 0 {
                let answer = format!(
                    "HTTP/1.1 {status} As told\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
                );
                client.write_all(answer.as_bytes())?;
            }
            // The client ends it.
            return io::copy(&mut client, &mut io::sink()).map(|_| ());
        };
        let mut server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        if method == "CONNECT" {
            if manner.interim {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        } else {
            let kept = headers.iter().filter(|line| !line.to_ascii_lowercase().starts_with("proxy-"));
            let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
            server.write_all(format!("{method} {path} HTTP/1.1\r\n{kept}\r\n").as_bytes())?;
        }
        server.write_all(&rest)?;
        self.splice(client, server)
    }

    /// Passes bytes on, both ways, until both ends are done.
    fn splice(&self, client: TcpStream, server: TcpStream) -> io::Result<()> {
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(None)?;
            locked(&self.tunnels).push(stream.try_clone()?);
        }
        let back = (server.try_clone()?, client.try_clone()?);
        let thread = std::thread::spawn(move || pass(back.0, &back.1));
        pass(client, &server);
        let _ = thread.join();
        Ok(())
    }
}

fn pass(mut from: TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Authority and path of an absolute target.
fn split(target: &str) -> (String, &str) {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let at = rest.find('/').unwrap_or(rest.len());
    let authority =
        if rest[..at].contains(':') { rest[..at].to_owned() } else { format!("{}:80", &rest[..at]) };
    (authority, if rest[at..].is_empty() { "/" } else { &rest[at..] })
}

/// A head as text, and what came behind it.
fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with the lock")
}
