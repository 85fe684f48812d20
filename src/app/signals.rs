//! What the process does when it is sent a signal: SIGTERM and SIGINT end it, SIGHUP has files read again.

use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::StartError;
use crate::telemetry::log;

type Reread = Box<dyn Fn() + Send>;

/// What is done at each SIGHUP.
#[derive(Clone, Default)]
pub(super) struct OnHangup(Arc<Mutex<Vec<Reread>>>);

impl OnHangup {
    /// Calls `reread` at each SIGHUP from now on. It must not take long: it holds up the signals behind it.
    pub fn add(&self, reread: impl Fn() + Send + 'static) {
        self.0.lock().push(Box::new(reread));
    }

    fn call(&self) {
        let all = self.0.lock();
        tracing::info!("SIGHUP: everything is asked for again, and the files of TLS are read again");
        all.iter().for_each(|reread| reread());
    }
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
