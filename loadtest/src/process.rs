//! A server under load: started, measured and ended by this program.

use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(10);

/// A child process that is killed when it is dropped.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts a command and waits until it listens on `port`.
    pub fn start(command: &mut Command, port: u16) -> io::Result<Self> {
        let server =
            Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > START {
                return Err(io::Error::other("the server did not begin to listen"));
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// CPU time of all threads so far, in nanoseconds.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            total += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(total)
    }

    /// Proportional share of memory, in bytes.
    pub fn pss_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id()))?;
        let line = text.lines().find(|line| line.starts_with("Pss:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no Pss in smaps_rollup"))
    }
}

/// Compiles the floor into `folder`.
pub fn build_floor(folder: &Path) -> io::Result<std::path::PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("floor/floor.c");
    let binary = folder.join("floor");
    let status = Command::new("cc").args(["-O2", "-pthread", "-o"]).arg(&binary).arg(source).status()?;
    if status.success() { Ok(binary) } else { Err(io::Error::other("cc could not compile the floor")) }
}

/// One HTTP request, whose answer is read to the end of its head.
pub fn request(port: u16, head: &str, body: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = [0; 512];
    let count = io::Read::read(&mut stream, &mut answer)?;
    if answer[..count].starts_with(b"HTTP/1.1 200") {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&answer[..count]).into_owned()))
    }
}
