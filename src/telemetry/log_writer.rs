//! The thread that writes log lines, so that whoever logs never waits for standard output.
//!
//! A pipe that nobody reads, or a terminal that was stopped, would else hold a reactor for ever. Lines that find the
//! queue full are dropped and counted. There are crates for it; those seen write to standard output themselves when
//! they cannot end, and wait for it then.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait; about a megabyte.
const LINES: usize = 4096;

/// How long [`flush`] waits for lines that were logged before.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lines that were dropped since the process started.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The queue that [`super::log::init`] made.
static QUEUE: OnceLock<Sender<Order>> = OnceLock::new();

enum Order {
    Write(Box<[u8]>),
    /// Everything before it is written: says so by dropping the sender.
    Flush(#[expect(dead_code, reason = "its end is the answer")] Sender<()>),
}

/// Lines that were dropped because standard output did not take them.
pub fn lines_dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Waits until all lines that were logged before are written, for a second at most. To be called before the process
/// ends.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        flush_within(queue, PATIENCE);
    }
}

fn flush_within(queue: &Sender<Order>, patience: Duration) {
    let (written, all) = bounded(0);
    if queue.send_timeout(Order::Flush(written), patience).is_ok() {
        // Nothing is ever sent: it ends when the other end is dropped.
        let _ = all.recv_timeout(patience);
    }
}

/// Starts the thread that writes to `out`; the queue to it.
pub(super) fn start(out: impl Write + Send + 'static) -> std::io::Result<Queue> {
    let (queue, orders) = bounded(LINES);
    std::thread::Builder::new().name("log".into()).spawn(move || write_all(out, &orders))?;
    Ok(Queue(queue))
}

fn write_all(mut out: impl Write, orders: &Receiver<Order>) {
    let mut told = 0;
    for order in orders {
        match order {
            // A reader that went away, or a full disk: there is nowhere to say so.
            Order::Write(line) => drop(out.write_all(&line)),
            Order::Flush(_) => drop(out.flush()),
        }
        let dropped = lines_dropped();
        if dropped > told && orders.is_empty() {
            tracing::warn!(
                lines = dropped - told,
                "log lines were dropped: standard output did not take them in time"
            );
            told = dropped;
        }
    }
}

/// Where lines wait for the thread.
#[derive(Clone)]
pub(super) struct Queue(Sender<Order>);

impl Queue {
    /// Has [`flush`] wait for this one. False if it waits for another already.
    pub fn make_global(&self) -> bool {
        QUEUE.set(self.0.clone()).is_ok()
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

/// One line: the subscriber writes each with one call.
pub(super) struct Line<'a>(&'a Sender<Order>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.try_send(Order::Write(bytes.into())).is_err() {
            DROPPED.fetch_add(1, Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Takes a line for each permit.
    struct Slow {
        permits: Receiver<()>,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.permits.recv();
            self.lines.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_takes_nothing_holds_nobody_and_lines_are_dropped_and_counted() {
        let (permit, permits) = bounded(0);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let queue = start(Slow { permits, lines: lines.clone() }).unwrap();
        let before = lines_dropped();
        // One is with the thread, or will be.
        for number in 0..LINES + 101 {
            queue.make_writer().write_all(number.to_string().as_bytes()).unwrap();
        }
        let dropped = lines_dropped() - before;
        assert!((100..=101).contains(&dropped), "{dropped}");
        flush_within(&queue.0, Duration::from_millis(1));
        assert_eq!(lines.lock().unwrap().len(), 0);
        // It goes on where it was, in order.
        drop(permit);
        flush_within(&queue.0, Duration::from_secs(30));
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len() as u64, LINES as u64 + 101 - dropped);
        assert!(lines.iter().enumerate().all(|(number, line)| *line == number.to_string()));
    }
}
