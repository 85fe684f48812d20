//! The thread that watches the key files: a key that was replaced in its file is used without a restart.
//!
//! Must not show a key. If a file cannot be used, the previous keys stay in use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{RecvTimeoutError, bounded};

use crate::config::{KeyFiles, RelayKey, Secret, Settings, files, key_files};
use crate::fanout::mailbox::Mailbox;
use crate::ingest::{Job, Jobs};
use crate::serve::{KeySwap, Keys, RelayAccess};
use crate::store::Scope;
use crate::telemetry::metrics::{KeyMetrics, Metrics, Reload};

use super::error::StartError;
use super::signals::OnHangup;

/// How often the files are checked.
const POLL: Duration = Duration::from_secs(1);

/// The keys in the form that `serve` needs.
pub(super) fn of(api_key: Option<Secret>, relay_keys: &[RelayKey]) -> Keys {
    let access = |relay: &RelayKey| {
        let names = relay.environments.as_ref();
        let names = names.map(|names| names.iter().map(|name| name.as_str().into()).collect());
        RelayAccess { key: relay.key.clone(), scope: Arc::new(names.map_or(Scope::All, Scope::Only)) }
    };
    Keys { api_key, relays: relay_keys.iter().map(access).collect() }
}

/// The parts of the agent that new keys are sent to.
pub(super) struct Receivers {
    pub swap: KeySwap,
    pub reactors: Vec<Mailbox>,
    pub jobs: Jobs,
}

/// Checks the files until the process ends, and at once on SIGHUP. Does nothing without key files.
pub(super) fn watch(
    settings: &Settings,
    metrics: &Metrics,
    receivers: Receivers,
    on_hangup: &OnHangup,
) -> Result<(), StartError> {
    let KeyFiles { api_key, relay_keys } = &settings.key_files;
    if api_key.is_none() && relay_keys.is_none() {
        return Ok(());
    }
    let (hangup, hangups) = bounded(1);
    on_hangup.add("the key files are read again", move || {
        // If one is already waiting, it covers this one too.
        let _ = hangup.try_send(());
    });
    let mut watched = Watched::new(settings, metrics.keys());
    let read = |path: &Path| files::read_small(path);
    let watch = move || {
        let mut asked = false;
        loop {
            let news = watched.look(read, asked, Instant::now());
            // First, so that clients with the new key are accepted before anything else happens.
            if let Some(keys) = news.keys {
                receivers.swap.put(keys, &receivers.reactors);
            }
            if let Some(key) = news.own_key {
                receivers.jobs.send(Job::Key(key));
            }
            let wait = watched.next(Instant::now()).map_or(POLL, |wait| wait.min(POLL));
            asked = match hangups.recv_timeout(wait) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    };
    let started = std::thread::Builder::new().name("keys".into()).spawn(watch);
    started.map(drop).map_err(|error| StartError::new("a thread cannot be started", error))
}

/// The changes that a check found.
#[derive(Default)]
struct News {
    /// The keys that are valid from now on.
    keys: Option<Keys>,
    /// The `ApiKey` from now on, for the connection to the server and for the backup file.
    own_key: Option<Secret>,
}

/// The keys in use, and the last known state of their files.
struct Watched {
    api_file: Option<KeyFile>,
    relay_file: Option<KeyFile>,
    api_key: Option<Secret>,
    relay_keys: Vec<RelayKey>,
    /// Keys that were removed from the file, and when they become invalid.
    leaving: Vec<(RelayKey, Instant)>,
    grace: Duration,
    follows: bool,
    metrics: Arc<KeyMetrics>,
}

/// A file and its last known content.
struct KeyFile {
    name: &'static str,
    path: PathBuf,
    /// The content that was processed last, or the error of reading it.
    processed: Option<Result<Vec<u8>, String>>,
    /// Changed content that the last check found.
    settling: Option<Result<Vec<u8>, String>>,
    /// Whether the content that was processed last could not be used.
    failing: bool,
}

impl KeyFile {
    fn new(name: &'static str, path: &Option<PathBuf>) -> Option<Self> {
        let path = path.clone()?;
        Some(Self { name, path, processed: None, settling: None, failing: false })
    }

    /// The content to process now, if there is any. A change counts when two checks in a row find the same content, so that
    /// no half-written file is used, or at once if the operator `asked`.
    fn news(
        &mut self,
        read: &impl Fn(&Path) -> io::Result<Vec<u8>>,
        asked: bool,
    ) -> Option<Result<Vec<u8>, String>> {
        let content = read(&self.path).map_err(|error| format!("it cannot be read: {error}"));
        if self.processed.as_ref() == Some(&content) && !asked {
            self.settling = None;
            return None;
        }
        if !asked && self.processed.is_some() && self.settling.as_ref() != Some(&content) {
            self.settling = Some(content);
            return None;
        }
        self.settling = None;
        self.processed = Some(content.clone());
        Some(content)
    }
}

impl Watched {
    fn new(settings: &Settings, metrics: Arc<KeyMetrics>) -> Self {
        let KeyFiles { api_key, relay_keys } = &settings.key_files;
        Self {
            api_file: KeyFile::new("ApiKey__File", api_key),
            relay_file: KeyFile::new("RelayKeys__File", relay_keys),
            api_key: settings.api_key.clone(),
            relay_keys: settings.relay_keys.clone(),
            leaving: Vec::new(),
            grace: settings.revocation_grace,
            follows: settings.mode.upstream().is_some(),
            metrics,
        }
    }

    /// The time until the next removed key becomes invalid.
    fn next(&self, now: Instant) -> Option<Duration> {
        self.leaving.iter().map(|(_, until)| until.saturating_duration_since(now)).min()
    }

    /// Checks the files. `asked`: the operator asked for it, so the result is logged even without a change.
    fn look(&mut self, read: impl Fn(&Path) -> io::Result<Vec<u8>>, asked: bool, now: Instant) -> News {
        let new_api_key = self.look_at_api_key(&read, asked);
        let new_relay_keys = self.look_at_relay_keys(&read, asked, now);
        let before = self.leaving.len();
        self.leaving.retain(|(_, until)| now < *until);
        let ended = before - self.leaving.len();
        if ended > 0 {
            tracing::info!(
                keys = ended,
                "relay keys that were removed from RelayKeys__File are no longer valid; connections of agents that use them are \
                 closed"
            );
        }
        let keys = (new_api_key || new_relay_keys || ended > 0).then(|| {
            let leaving = self.leaving.iter().map(|(key, _)| key.clone());
            of(self.api_key.clone(), &self.relay_keys.iter().cloned().chain(leaving).collect::<Vec<_>>())
        });
        let own_key = self.api_key.clone().filter(|_| new_api_key);
        News { keys, own_key }
    }

    /// Checks the file of the ApiKey. Returns whether the key has changed.
    fn look_at_api_key(&mut self, read: &impl Fn(&Path) -> io::Result<Vec<u8>>, asked: bool) -> bool {
        let Some(file) = &mut self.api_file else { return false };
        let Some(content) = file.news(read, asked) else { return false };
        let taken = content.and_then(|content| {
            let key = key_files::api_key(&content).map_err(|invalid| describe(&[invalid]))?;
            if !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err("it contains characters that no key of FeatBit has".into());
            }
            if self.relay_keys.iter().any(|relay| relay.key == key) {
                return Err("it contains one of RelayKeys; downstream agents need a key of their own".into());
            }
            Ok(key)
        });
        match taken {
            Ok(key) if self.api_key.as_ref() == Some(&key) => {
                file.log_unchanged(asked);
                false
            }
            Ok(key) => {
                file.failing = false;
                self.api_key = Some(key);
                self.metrics.reloaded(Reload::Done);
                let server =
                    if self.follows { ", and the agent connects to the server again with it" } else { "" };
                tracing::info!(
                    "ApiKey__File contains a new key: management calls need it from now on{server}"
                );
                true
            }
            Err(problem) => {
                file.fail(&problem, &self.metrics);
                false
            }
        }
    }

    /// Checks the file of the relay keys. Returns whether the keys have changed.
    fn look_at_relay_keys(
        &mut self,
        read: &impl Fn(&Path) -> io::Result<Vec<u8>>,
        asked: bool,
        now: Instant,
    ) -> bool {
        let Some(file) = &mut self.relay_file else { return false };
        let Some(content) = file.news(read, asked) else { return false };
        let api_key = self.api_key.as_ref();
        let taken = content
            .and_then(|content| key_files::relay_keys(&content, api_key).map_err(|errors| describe(&errors)));
        match taken {
            Ok(keys) if keys == self.relay_keys => {
                file.log_unchanged(asked);
                false
            }
            Ok(keys) => {
                file.failing = false;
                self.metrics.reloaded(Reload::Done);
                let lists = |list: &[RelayKey], key: &RelayKey| list.iter().any(|other| other.key == key.key);
                let new = keys.iter().filter(|key| !lists(&self.relay_keys, key)).count();
                self.leaving.retain(|(key, _)| !lists(&keys, key));
                let gone = self.relay_keys.iter().filter(|key| !lists(&keys, key)).cloned();
                let leaving: Vec<_> = gone.map(|key| (key, now + self.grace)).collect();
                tracing::info!(
                    keys = keys.len(),
                    new,
                    gone = leaving.len(),
                    "RelayKeys__File contains other keys; removed keys stay valid for RevocationGraceSeconds ({} s)",
                    self.grace.as_secs()
                );
                self.leaving.extend(leaving);
                self.relay_keys = keys;
                true
            }
            Err(problem) => {
                file.fail(&problem, &self.metrics);
                false
            }
        }
    }
}

impl KeyFile {
    /// The content is already in use.
    fn log_unchanged(&mut self, asked: bool) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("{} can be used again; its content is already in use", self.name);
        } else if asked {
            tracing::info!("{} has not changed", self.name);
        }
    }

    /// The content cannot be used.
    fn fail(&mut self, problem: &str, metrics: &KeyMetrics) {
        self.failing = true;
        metrics.reloaded(Reload::Failed);
        tracing::error!(
            path = %self.path.display(),
            "{} cannot be used, so the previous keys stay in use: {problem}",
            self.name
        );
    }
}

fn describe(errors: &[crate::config::value::InvalidValue]) -> String {
    let one =
        |invalid: &crate::config::value::InvalidValue| format!("{}. {}", invalid.problem, invalid.remedy);
    errors.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "rp-first-0123456789abcdefghij";
    const SECOND: &str = "rp-second-0123456789abcdefghij";

    fn watched() -> Watched {
        let secret = |text: &str| Secret::new(text.into());
        Watched {
            api_file: KeyFile::new("ApiKey__File", &Some("api".into())),
            relay_file: KeyFile::new("RelayKeys__File", &Some("relays".into())),
            api_key: Some(secret("rp-1")),
            relay_keys: vec![RelayKey { key: secret(FIRST), environments: None }],
            leaving: Vec::new(),
            grace: Duration::from_secs(60),
            follows: true,
            metrics: Arc::default(),
        }
    }

    /// A look at these contents.
    fn look(watched: &mut Watched, api: &str, relays: &str, asked: bool, now: Instant) -> News {
        let read = |path: &Path| Ok(if path == Path::new("api") { api } else { relays }.as_bytes().to_vec());
        watched.look(read, asked, now)
    }

    fn open(news: &News) -> Option<Vec<&str>> {
        Some(news.keys.as_ref()?.relays.iter().map(|access| access.key.expose()).collect())
    }

    #[test]
    fn a_file_that_is_being_written_is_not_taken() {
        let (mut watched, now) = (watched(), Instant::now());
        assert!(look(&mut watched, "rp-1", FIRST, false, now).keys.is_none(), "as it was at the start");
        assert!(look(&mut watched, "rp-", FIRST, false, now).keys.is_none());
        assert!(look(&mut watched, "rp-2", FIRST, false, now).keys.is_none());
        let news = look(&mut watched, "rp-2", FIRST, false, now);
        assert!(news.own_key.as_ref().is_some_and(|key| key.expose() == "rp-2"));
        assert!(news.keys.is_some_and(|keys| keys.api_key == news.own_key));
        assert!(look(&mut watched, "rp-2", FIRST, false, now).keys.is_none());
        // The operator asks only after writing the file.
        assert!(look(&mut watched, "rp-3", FIRST, true, now).own_key.is_some());
    }

    #[test]
    fn a_relay_key_that_comes_back_within_its_grace_does_not_end() {
        let (mut watched, now) = (watched(), Instant::now());
        assert_eq!(open(&look(&mut watched, "rp-1", SECOND, true, now)), Some(vec![SECOND, FIRST]));
        assert_eq!(watched.next(now), Some(Duration::from_secs(60)));
        let both = format!("{SECOND};{FIRST}");
        assert_eq!(open(&look(&mut watched, "rp-1", &both, true, now)), Some(vec![SECOND, FIRST]));
        assert_eq!(watched.next(now), None);
        let news = look(&mut watched, "rp-1", SECOND, true, now);
        assert_eq!(open(&news), Some(vec![SECOND, FIRST]));
        assert!(news.own_key.is_none());
        assert!(look(&mut watched, "rp-1", SECOND, false, now + Duration::from_secs(59)).keys.is_none());
        let news = look(&mut watched, "rp-1", SECOND, false, now + Duration::from_secs(60));
        assert_eq!((open(&news), watched.next(now)), (Some(vec![SECOND]), None));
    }

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let (mut watched, now) = (watched(), Instant::now());
        for (api, relays) in [("", "short"), ("rp 2", "rp-1"), (FIRST, ""), ("rp-\u{e9}", FIRST)] {
            assert!(look(&mut watched, api, relays, true, now).keys.is_none(), "{api} {relays}");
        }
        let gone = watched.look(|_| Err(io::ErrorKind::NotFound.into()), true, now);
        assert!(gone.keys.is_none() && gone.own_key.is_none());
    }
}
