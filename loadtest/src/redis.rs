//! The Redis of the measurements: a given one, or one that is started for them, without persistence.
//!
//! Must not be pointed at a Redis that matters: it is loaded, and keys that begin with `loadtest:` are removed in the end.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::process::{Server, free_port};

/// A Redis.
pub struct Redis {
    /// Its URL, as `Redis__ConnectionString`.
    pub url: String,
    address: String,
    prefixes: AtomicU64,
    _server: Option<Server>,
}

impl Redis {
    /// The Redis of this URL; without one, a `redis-server` of its own. `None` if that is not installed.
    pub fn open(url: Option<&str>, folder: &Path) -> io::Result<Option<Self>> {
        let of = |url: &str, address: &str, server| Self {
            url: url.to_owned(),
            address: address.to_owned(),
            prefixes: AtomicU64::new(0),
            _server: server,
        };
        if let Some(url) = url {
            let address = url.strip_prefix("redis://").map(|rest| rest.trim_end_matches('/'));
            return match address {
                Some(address) if !address.contains(['@', '/']) => Ok(Some(of(url, address, None))),
                _ => Err(io::Error::other("--redis takes redis://HOST:PORT, without a password")),
            };
        }
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no"]).arg("--dir").arg(folder);
        match Server::start(&mut command, port) {
            Ok(server) => {
                let address = format!("127.0.0.1:{port}");
                Ok(Some(of(&format!("redis://{address}"), &address, Some(server))))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A prefix that no agent has used yet.
    pub fn prefix(&self) -> String {
        let number = self.prefixes.fetch_add(1, Ordering::Relaxed);
        format!("loadtest:{{{}-{number}}}:", std::process::id())
    }

    /// All bytes that it has received and sent so far.
    pub fn net_bytes(&self) -> io::Result<(u64, u64)> {
        let page = self.command("INFO stats")?;
        let field = |name: &str| {
            let value = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.ok_or_else(|| io::Error::other(format!("Redis does not tell {name}")))
        };
        Ok((field("total_net_input_bytes:")?, field("total_net_output_bytes:")?))
    }

    /// The answer to one command.
    fn command(&self, text: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(stream, "{text}\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let script =
            "for _, key in ipairs(redis.call('keys', 'loadtest:*')) do redis.call('unlink', key) end";
        let _ = self.command(&format!("EVAL \"{script}\" 0"));
    }
}
