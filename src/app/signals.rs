//! What the process does when it is sent a signal: SIGTERM, SIGINT and SIGQUIT end it, SIGHUP has files read again,
//! SIGUSR1 and SIGUSR2 mean nothing, which is better than the end that they bring by default.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::StartError;
use crate::telemetry::log;

type Reread = Box<dyn Fn() + Send>;

/// What is done at each SIGHUP, each with its name.
#[derive(Clone, Default)]
pub(super) struct OnHangup(Arc<Mutex<Vec<(&'static str, Reread)>>>);

impl OnHangup {
    /// Calls `reread` at each SIGHUP from now on, which `what` says in the log. It must not take long: it holds up the
    /// signals behind it.
    pub fn add(&self, what: &'static str, reread: impl Fn() + Send + 'static) {
        self.0.lock().push((what, Box::new(reread)));
    }

    fn call(&self) {
        let all = self.0.lock();
        tracing::info!("SIGHUP: {}", told(&all.iter().map(|(what, _)| *what).collect::<Vec<_>>()));
        all.iter().for_each(|(_, reread)| reread());
    }
}

fn told(done: &[&str]) -> String {
    if done.is_empty() { "there is nothing to read again".into() } else { done.join(", and ") }
}

/// Signals so soon after the first that ended the process are the same one: `timeout`, terminals and some supervisors
/// send it to a process and to its group.
const SAME: Duration = Duration::from_millis(200);

/// What becomes of a signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The first.
    Begin,
    /// The first once more.
    Same,
    /// The second: somebody does not want to wait.
    AtOnce,
}

/// Which of the signals that end the process came first.
#[derive(Debug, Default)]
struct Ending(Option<Instant>);

impl Ending {
    fn take(&mut self, now: Instant) -> Step {
        match self.0 {
            None => {
                self.0 = Some(now);
                Step::Begin
            }
            Some(first) if now.saturating_duration_since(first) < SAME => Step::Same,
            Some(_) => Step::AtOnce,
        }
    }
}

/// Catches the signals from now on. Of those that end the process, the first is handed on, the second ends it at once.
pub(super) fn catch(on_hangup: OnHangup) -> Result<Receiver<i32>, StartError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2])
        .map_err(|error| StartError::new("signals cannot be handled", error))?;
    let (first, received) = bounded(1);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut ending = Ending::default();
            for signal in signals.forever() {
                match signal {
                    SIGHUP => on_hangup.call(),
                    SIGUSR1 | SIGUSR2 => {
                        tracing::info!("{} means nothing to the agent, and changes nothing", name_of(signal));
                    }
                    _ => match ending.take(Instant::now()) {
                        // Whoever would receive it has failed to start, and ends the process itself.
                        Step::Begin => drop(first.send(signal)),
                        Step::Same => {}
                        Step::AtOnce => {
                            tracing::warn!(signal = name_of(signal), "ended at once by a second signal");
                            log::flush();
                            // As a shell says that a signal ended a process.
                            std::process::exit(128 + signal);
                        }
                    },
                }
            }
        })
        .map_err(|error| StartError::new("a thread cannot be started", error))?;
    Ok(received)
}

/// The name of a signal that is caught.
pub(super) fn name_of(signal: i32) -> &'static str {
    match signal {
        SIGTERM => "SIGTERM",
        SIGQUIT => "SIGQUIT",
        SIGHUP => "SIGHUP",
        SIGUSR1 => "SIGUSR1",
        SIGUSR2 => "SIGUSR2",
        _ => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What went wrong: `timeout` sends SIGTERM twice, and the second one skipped the drain.
    #[test]
    fn a_second_signal_in_the_same_moment_is_the_same_signal() {
        let (mut ending, first) = (Ending::default(), Instant::now());
        let after = |ms| first + Duration::from_millis(ms);
        assert_eq!(ending.take(first), Step::Begin);
        assert_eq!([ending.take(first), ending.take(after(199))], [Step::Same; 2]);
        // Counted from the first, so that somebody who insists comes through.
        assert_eq!(ending.take(after(200)), Step::AtOnce);
    }

    #[test]
    fn a_hangup_does_and_tells_what_there_is_to_do() {
        assert_eq!(told(&[]), "there is nothing to read again");
        assert_eq!(told(&["the data file is read again"]), "the data file is read again");
        assert_eq!(told(&["a", "b"]), "a, and b");
        let (done, on_hangup) = (Arc::new(Mutex::new(Vec::new())), OnHangup::default());
        for name in ["first", "second"] {
            let done = done.clone();
            on_hangup.add(name, move || done.lock().push(name));
        }
        on_hangup.call();
        assert_eq!(*done.lock(), ["first", "second"]);
    }
}
