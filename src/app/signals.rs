//! Handles signals: SIGTERM, SIGINT and SIGQUIT end the process, SIGHUP reads files again. SIGUSR1 and SIGUSR2, which would
//! end it by default, are ignored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::error::StartError;
use crate::telemetry::log;

type Reread = Box<dyn Fn() + Send>;

/// What happens on SIGHUP, each action with its description.
#[derive(Clone, Default)]
pub(super) struct OnHangup(Arc<Mutex<Vec<(&'static str, Reread)>>>);

impl OnHangup {
    /// Calls `reread` on each SIGHUP from now on; `what` describes it in the log. It must return quickly, because it delays
    /// other signals.
    pub fn add(&self, what: &'static str, reread: impl Fn() + Send + 'static) {
        self.0.lock().push((what, Box::new(reread)));
    }

    fn call(&self) {
        let all = self.0.lock();
        tracing::info!("SIGHUP: {}", join(&all.iter().map(|(what, _)| *what).collect::<Vec<_>>()));
        all.iter().for_each(|(_, reread)| reread());
    }
}

fn join(done: &[&str]) -> String {
    if done.is_empty() { "there is nothing to read again".into() } else { done.join(", and ") }
}

/// Further signals within this time count as the first one: `timeout`, terminals and some supervisors send a signal both
/// to a process and to its group.
const SAME: Duration = Duration::from_millis(200);

/// What a signal that ends the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is the first: the shutdown begins.
    Begin,
    /// It is the first one again: nothing.
    Same,
    /// It is the second: the process ends at once.
    AtOnce,
}

/// When the first signal that ends the process came.
#[derive(Debug, Default)]
struct Ending(Option<Instant>);

impl Ending {
    fn step(&mut self, now: Instant) -> Step {
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

/// Catches signals from now on. Of those that end the process, the first is sent to the receiver, the second ends the
/// process at once.
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
                        tracing::info!("{} is ignored", name_of(signal));
                    }
                    _ => match ending.step(Instant::now()) {
                        // Without a receiver the agent has failed to start, and the process ends anyway.
                        Step::Begin => drop(first.send(signal)),
                        Step::Same => {}
                        Step::AtOnce => {
                            tracing::warn!(signal = name_of(signal), "ended at once by a second signal");
                            log::flush();
                            // The exit code by which shells report a signal.
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
        assert_eq!(ending.step(first), Step::Begin);
        assert_eq!([ending.step(first), ending.step(after(199))], [Step::Same; 2]);
        // Counted from the first signal, so that repeated ones still end the process.
        assert_eq!(ending.step(after(200)), Step::AtOnce);
    }

    #[test]
    fn a_hangup_calls_and_logs_every_action() {
        assert_eq!(join(&[]), "there is nothing to read again");
        assert_eq!(join(&["the data file is read again"]), "the data file is read again");
        assert_eq!(join(&["a", "b"]), "a, and b");
        let (done, on_hangup) = (Arc::new(Mutex::new(Vec::new())), OnHangup::default());
        for name in ["first", "second"] {
            let done = done.clone();
            on_hangup.add(name, move || done.lock().push(name));
        }
        on_hangup.call();
        assert_eq!(*done.lock(), ["first", "second"]);
    }
}
