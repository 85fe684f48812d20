//! A real nginx or HAProxy in front of an agent: with a configuration, a directory and a port of its own, in the
//! foreground, for as long as a test needs it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::sdk::REQUIRED;
use super::{SOON, left_out, wait_until};

/// Which proxy, and how it forwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// nginx that understands HTTP, as docs/operations.md has it.
    NginxHttp,
    /// nginx that forwards bytes.
    NginxStream,
    /// HAProxy that understands HTTP.
    HaproxyHttp,
    /// nginx without settings for WebSocket: HTTP/1.0 to the agent, and no upgrade.
    NginxBare,
    /// nginx that keeps every answer for a minute, unless the answer forbids it, and says in `X-Cache` where it is from.
    NginxCaching,
}

impl Kind {
    /// Those that are as docs/operations.md wants them.
    pub const ALL: [Kind; 3] = [Kind::NginxHttp, Kind::NginxStream, Kind::HaproxyHttp];

    fn program(self) -> &'static str {
        match self {
            Kind::NginxHttp | Kind::NginxStream | Kind::NginxBare | Kind::NginxCaching => "nginx",
            Kind::HaproxyHttp => "haproxy",
        }
    }

    /// What has to be there.
    fn files(self) -> Vec<PathBuf> {
        // Not on everybody's path.
        let found = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"]
            .map(|dir| Path::new(dir).join(self.program()));
        let program = found.iter().find(|file| file.is_file()).unwrap_or(&found[0]).clone();
        match self {
            Kind::NginxStream => vec![program, STREAM_MODULE.into()],
            Kind::NginxHttp | Kind::HaproxyHttp | Kind::NginxBare | Kind::NginxCaching => vec![program],
        }
    }
}

/// Where Debian's `libnginx-mod-stream` puts it.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Those of the proxies that are installed. Others are reported as left out, or fail the test where all are required.
pub fn installed(test: &str) -> Vec<Kind> {
    installed_of(test, &Kind::ALL)
}

/// The same of these.
pub fn installed_of(test: &str, wanted: &[Kind]) -> Vec<Kind> {
    let (installed, missing): (Vec<Kind>, Vec<Kind>) =
        wanted.iter().copied().partition(|kind| kind.files().iter().all(|file| file.is_file()));
    if !missing.is_empty() {
        let why = format!("not behind {missing:?}, which ./scripts/test installs");
        assert!(std::env::var_os(REQUIRED).is_none(), "{test}: {why}");
        left_out(test, &why);
    }
    installed
}

/// A running proxy. Dropped, it is killed.
#[derive(Debug)]
pub struct Frontend {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Frontend {
    /// Starts one in front of these ports of the loopback.
    pub fn start(kind: Kind, to: &[u16]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Another process may take it before the proxy does; then the proxy ends, and the test fails.
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        let file = dir.path().join("proxy.conf");
        fs::write(&file, configuration(kind, dir.path(), port, to)).expect("a file can be written");
        let mut command = Command::new(&kind.files()[0]);
        match kind {
            Kind::NginxHttp | Kind::NginxStream | Kind::NginxBare | Kind::NginxCaching => {
                command.arg("-e").arg("errors").arg("-p").arg(dir.path()).arg("-c").arg(&file)
            }
            Kind::HaproxyHttp => command.arg("-db").arg("-f").arg(&file),
        };
        let log = fs::File::create(dir.path().join("output")).expect("a file can be written");
        let errors = log.try_clone().expect("a descriptor is free");
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("the proxy can be started");
        let mut frontend = Self { child, port, dir };
        wait_until("the proxy listens", SOON, || {
            let ended = frontend.child.try_wait().expect("the proxy is this process' child");
            assert!(ended.is_none(), "{kind:?} ended at its start: {}", frontend.log());
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        frontend
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as SDKs are given it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has written.
    pub fn log(&self) -> String {
        let text = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        text("output") + &text("errors")
    }
}

impl Drop for Frontend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the proxy ---\n{}", self.log());
        }
    }
}

fn configuration(kind: Kind, dir: &Path, port: u16, to: &[u16]) -> String {
    let dir = dir.display();
    let servers = |line: fn(u16) -> String| to.iter().map(|port| line(*port)).collect::<String>();
    // One that refuses a connection is tried again at once: the other may be the next to be restarted.
    let nginx_servers = servers(|port| format!("server 127.0.0.1:{port} max_fails=0; "));
    // One process, so that none is left when it is killed.
    let nginx = format!(
        "daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log {dir}/errors info;\nevents {{ worker_connections 512; }}\n"
    );
    let passing = "proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; \
                   proxy_set_header Connection $connection_upgrade;";
    let (in_http, in_location) = match kind {
        Kind::NginxBare => ("", "proxy_http_version 1.0;"),
        Kind::NginxCaching => (
            "proxy_cache_path cache keys_zone=all:1m;",
            "proxy_cache all; proxy_cache_valid any 1m; add_header X-Cache $upstream_cache_status always;",
        ),
        Kind::NginxHttp | Kind::NginxStream | Kind::HaproxyHttp => ("", passing),
    };
    match kind {
        Kind::NginxHttp | Kind::NginxBare | Kind::NginxCaching => format!(
            "{nginx}http {{
    access_log off;
    {in_http}
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream agents {{ {nginx_servers}keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://agents;
            {in_location}
        }}
    }}
}}
"
        ),
        Kind::NginxStream => format!(
            "load_module {STREAM_MODULE};\n{nginx}stream {{ upstream agents {{ {nginx_servers}}} server {{ listen 127.0.0.1:{port}; proxy_pass agents; }} }}\n"
        ),
        Kind::HaproxyHttp => format!(
            "defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    option redispatch 1
frontend sdks
    bind 127.0.0.1:{port}
    default_backend agents
backend agents
    http-reuse always
{}",
            servers(|port| format!("    server agent-{port} 127.0.0.1:{port}\n"))
        ),
    }
}
