//! A sender, and the server that it sends to.

use std::path::Path;
use std::time::Duration;

use crossbeam::channel::{Receiver, unbounded};
use tempfile::TempDir;

use super::stand_in::{StandIn, Wire, certificate};
use super::{batch, secret, stream};
use crate::client::{Dialer, ProxyEnvironment};
use crate::config::{AbsoluteUri, Settings};
use crate::insights::queue::{PeekLimits, Portion};
use crate::insights::sender::{Job, JobDone, Options, Sender};

/// Longer than anything takes on a slow machine.
pub const SOON: Duration = Duration::from_secs(30);

/// How requests are made where a test does not say it.
pub const OPTIONS: Options = Options { threads: 1, timeout: SOON, gzip: false };

pub struct Harness {
    pub sender: Sender,
    pub done: Receiver<JobDone>,
    pub server: StandIn,
    _folder: TempDir,
}

impl Harness {
    pub fn new(serve: impl Fn(usize, Wire) + Send + Sync + 'static) -> Self {
        Self::with(OPTIONS, false, serve)
    }

    pub fn with(options: Options, tls: bool, serve: impl Fn(usize, Wire) + Send + Sync + 'static) -> Self {
        let server = StandIn::start(tls, serve);
        let uri = match tls {
            true => format!("https://localhost:{}/below", server.address().port()),
            false => format!("http://{}/below", server.address()),
        };
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, certificate()).unwrap();
        let (sender, done) = sender(&uri, options, Some(&ca_file));
        Self { sender, done, server, _folder: folder }
    }

    /// Sends these events of stream 1 and returns what became of them.
    pub fn send(&self, texts: &[&str]) -> JobDone {
        self.sender.submit(job(1, texts));
        self.done.recv_timeout(SOON).unwrap()
    }

    /// The bodies of all requests that the server has read to their end.
    pub fn bodies(&self) -> Vec<String> {
        self.server.received().iter().map(|request| request.text()).collect()
    }
}

/// A sender to this address, which trusts a certificate besides those of the system, and what comes out of it.
pub fn sender(uri: &str, options: Options, ca_file: Option<&Path>) -> (Sender, Receiver<JobDone>) {
    let mut pairs = vec![("Mode", "offline"), ("ApiKey", "k")];
    if let Some(ca_file) = ca_file {
        pairs.push(("Upstream__CaFile", ca_file.to_str().unwrap()));
    }
    let settings = Settings::from_pairs(&pairs).unwrap();
    let dialer = Dialer::new(settings.dial, &ProxyEnvironment::from_variables([])).unwrap();
    let uri = AbsoluteUri::parse(uri, &["http", "https"]).unwrap();
    let (tell, done) = unbounded();
    let sender = Sender::start(&dialer, uri, options, "agent7".into(), move |job| {
        // Fails if the test has ended.
        let _ = tell.send(job);
    });
    (sender.unwrap(), done)
}

/// A job with these events of a stream.
pub fn job(number: u8, texts: &[&str]) -> Job {
    let mut portion = Portion::default();
    let limits = PeekLimits { events: usize::MAX, bytes: usize::MAX };
    assert_eq!(portion.add(batch(texts), &limits), texts.len());
    Job { stream: stream(number), secret: secret(number), portion }
}
