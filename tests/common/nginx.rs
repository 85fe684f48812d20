//! A real nginx on the loopback, in front of an agent.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{SOON, http, left_out, wait_until};

/// A running nginx. Dropped, it is killed.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Nginx {
    /// Starts one that passes everything on to the agent, with these lines in its `http` and its `location` block; `None`
    /// where there is no nginx.
    pub fn start(test: &str, agent_port: u16, in_http: &str, in_location: &str) -> Option<Self> {
        let found = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("FEATBIT_TEST_SDKS_REQUIRED").is_none(), "{test} needs nginx");
            left_out(test, "there is no nginx");
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = dir.path().display();
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; {temporary} {in_http}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{agent_port}; {in_location} }} }} }}\n"
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, configuration).expect("it can be written");
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        let nginx = Self { child, port, _dir: dir };
        wait_until("nginx passes requests on", SOON, || {
            http::get(port, "/health/liveness", &[]).ok().filter(|answer| answer.status == 200)
        });
        Some(nginx)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as SDKs are given it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
