//! The thread that writes log lines, so that logging never blocks on standard output.
//!
//! Otherwise a pipe that nobody reads, or a stopped terminal, would block a reactor for ever. Lines that do not fit into the
//! queue are dropped and counted. The crates for this purpose that were tried block on standard output when they shut down.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that fit into the queue: about a megabyte.
const LINES: usize = 4096;

/// How long [`flush`] waits at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lines that were dropped or could not be written since the process started.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The queue that [`super::log::init`] made.
static QUEUE: OnceLock<Sender<Order>> = OnceLock::new();

enum Order {
    Write(Box<[u8]>),
    /// Drops the sender once everything before it is written.
    Flush(#[expect(dead_code, reason = "its end is the answer")] Sender<()>),
}

/// The number of lost lines: standard output did not accept them in time, or not at all (full disk, closed pipe).
pub fn lines_dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Waits until all earlier lines are written, but at most a second. Must be called before the process ends.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        flush_within(queue, PATIENCE);
    }
}

fn flush_within(queue: &Sender<Order>, patience: Duration) {
    let (written, all) = bounded(0);
    if queue.send_timeout(Order::Flush(written), patience).is_ok() {
        // Nothing is sent: the wait ends when the other end is dropped.
        let _ = all.recv_timeout(patience);
    }
}

/// Starts the thread that writes to `out`. Returns the queue of lines.
pub(super) fn start(out: impl Write + Send + 'static) -> std::io::Result<Queue> {
    start_counting(out, &DROPPED)
}

/// As [`start`], with a counter of its own.
fn start_counting(out: impl Write + Send + 'static, dropped: &'static AtomicU64) -> std::io::Result<Queue> {
    let (sender, orders) = bounded(LINES);
    let report = |lines| {
        tracing::warn!(
            lines,
            "log lines were lost: standard output did not accept them in time, its disk was full, or its pipe was closed"
        );
    };
    let write = move || write_all(out, &orders, dropped, report);
    std::thread::Builder::new().name("log".into()).spawn(write)?;
    Ok(Queue { sender, dropped })
}

/// Writes until the queue ends. Lost lines are reported only when the queue is empty and the last write succeeded: as long
/// as nothing can be written, each report would be lost too.
fn write_all(mut out: impl Write, orders: &Receiver<Order>, dropped: &AtomicU64, report: impl Fn(u64)) {
    let mut reported = 0;
    for order in orders {
        let goes_through = match order {
            Order::Write(line) => {
                let written = out.write_all(&line).is_ok();
                if !written {
                    dropped.fetch_add(1, Relaxed);
                }
                written
            }
            Order::Flush(_) => {
                drop(out.flush());
                // It does not show whether writing works.
                false
            }
        };
        let lost = dropped.load(Relaxed);
        if lost > reported && goes_through && orders.is_empty() {
            report(lost - reported);
            reported = lost;
        }
    }
}

/// The queue of lines.
#[derive(Clone)]
pub(super) struct Queue {
    sender: Sender<Order>,
    dropped: &'static AtomicU64,
}

impl Queue {
    /// Makes [`flush`] wait for this queue. Returns false if it already waits for another one.
    pub fn make_global(&self) -> bool {
        QUEUE.set(self.sender.clone()).is_ok()
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Writes one line; the subscriber writes each line with one call.
pub(super) struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.sender.try_send(Order::Write(bytes.into())).is_err() {
            self.0.dropped.fetch_add(1, Relaxed);
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
        let counter: &'static AtomicU64 = Box::leak(Box::default());
        let queue = start_counting(Slow { permits, lines: lines.clone() }, counter).unwrap();
        // One is with the thread, or will be.
        for number in 0..LINES + 101 {
            queue.make_writer().write_all(number.to_string().as_bytes()).unwrap();
        }
        let dropped = counter.load(Relaxed);
        assert!((100..=101).contains(&dropped), "{dropped}");
        flush_within(&queue.sender, Duration::from_millis(1));
        assert_eq!(lines.lock().unwrap().len(), 0);
        // It goes on where it was, in order.
        drop(permit);
        flush_within(&queue.sender, Duration::from_secs(30));
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len() as u64, LINES as u64 + 101 - dropped);
        assert!(lines.iter().enumerate().all(|(number, line)| *line == number.to_string()));
    }

    /// Takes a line only while the disk is not full.
    struct Disk {
        full: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.full.load(Relaxed) {
                Err(std::io::ErrorKind::StorageFull.into())
            } else {
                Ok(bytes.len())
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What went wrong: lines for a full disk or a closed pipe were lost without being counted.
    #[test]
    fn lines_lost_to_a_full_disk_are_counted_and_told_only_once_there_is_room() {
        let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let counter: &'static AtomicU64 = Box::leak(Box::default());
        let (sender, orders) = bounded(LINES);
        let queue = Queue { sender, dropped: counter };
        let log = queue.clone();
        let reported = Arc::new(Mutex::new(Vec::new()));
        let lines = reported.clone();
        // As a log line would, the telling goes through the queue itself.
        let report = move |lost| {
            lines.lock().unwrap().push(lost);
            log.make_writer().write_all(b"lost").unwrap();
        };
        let disk = Disk { full: full.clone() };
        std::thread::spawn(move || write_all(disk, &orders, counter, report));
        for _ in 0..5 {
            queue.make_writer().write_all(b"line").unwrap();
            flush_within(&queue.sender, Duration::from_secs(30));
        }
        assert_eq!((counter.load(Relaxed), reported.lock().unwrap().len()), (5, 0));
        full.store(false, Relaxed);
        queue.make_writer().write_all(b"line").unwrap();
        // Nothing may wait behind the line for it to be reported.
        let mut looks = 0;
        while reported.lock().unwrap().is_empty() && looks < 30_000 {
            looks += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        flush_within(&queue.sender, Duration::from_secs(30));
        flush_within(&queue.sender, Duration::from_secs(30));
        assert_eq!((counter.load(Relaxed), reported.lock().unwrap().clone()), (5, vec![5]));
    }
}
