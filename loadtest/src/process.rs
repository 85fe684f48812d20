//! A measured server: started, measured and ended by this program.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it listens. Under valgrind it takes seconds.
const START: Duration = Duration::from_secs(60);

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
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(server)
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.0.id()
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

    /// CPU time so far in nanoseconds, and how often it waited, of each thread by its name; of all threads of a name
    /// together, but for a number at its end.
    pub fn threads(&self) -> io::Result<BTreeMap<String, (u64, u64)>> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let folder = task?.path();
            let read = |name: &str| fs::read_to_string(folder.join(name));
            let (name, times, status) = (read("comm")?, read("schedstat")?, read("status")?);
            let name = name.trim().trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
            let cpu_ns = times.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
            let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let waits = waits.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
            let sum: &mut (u64, u64) = threads.entry(name.to_owned()).or_default();
            *sum = (sum.0 + cpu_ns, sum.1 + waits);
        }
        Ok(threads)
    }

    /// The most memory that was resident at a time, in bytes.
    pub fn peak_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmHWM in status"))
    }

    /// Proportional share of memory, in bytes.
    pub fn pss_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id()))?;
        let line = text.lines().find(|line| line.starts_with("Pss:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no Pss in smaps_rollup"))
    }
}

/// A port that nothing listens on.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Compiles the floor into `folder`.
pub fn build_floor(folder: &Path) -> io::Result<std::path::PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("floor/floor.c");
    let binary = folder.join("floor");
    let status = Command::new("cc").args(["-O2", "-pthread", "-o"]).arg(&binary).arg(source).status()?;
    if status.success() { Ok(binary) } else { Err(io::Error::other("cc could not compile the floor")) }
}

/// One HTTP request. Returns the body of its answer as far as it comes with the head, or until the end if the request
/// asked for that.
pub fn request(port: u16, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer)?;
    answer.truncate(count);
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
    }
    if head.contains("Connection: close") {
        stream.read_to_end(&mut answer)?;
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    Ok(end.map_or_else(Vec::new, |end| answer.split_off(end + 4)))
}
