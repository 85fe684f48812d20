//! What the process does when it is sent a signal: SIGTERM and SIGINT end it, SIGHUP has files read again.

use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
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

/// Catches the signals from now on. Of those that end the process, the first is handed on, the second ends it at once.
pub(super) fn catch(on_hangup: OnHangup) -> Result<Receiver<i32>, StartError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| StartError::new("signals cannot be handled", error))?;
    let (first, received) = bounded(1);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut ending = false;
            for signal in signals.forever() {
                if signal == SIGHUP {
                    on_hangup.call();
                } else if !std::mem::replace(&mut ending, true) {
                    // Whoever would receive it has failed to start, and ends the process itself.
                    let _ = first.send(signal);
                } else {
                    tracing::warn!(signal = name_of(signal), "ended at once by a second signal");
                    log::flush();
                    // As a shell says that a signal ended a process.
                    std::process::exit(128 + signal);
                }
            }
        })
        .map_err(|error| StartError::new("a thread cannot be started", error))?;
    Ok(received)
}

/// The name of a signal that ends the process.
pub(super) fn name_of(signal: i32) -> &'static str {
    if signal == SIGTERM { "SIGTERM" } else { "SIGINT" }
}

#[cfg(test)]
mod tests {
    use super::*;

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
