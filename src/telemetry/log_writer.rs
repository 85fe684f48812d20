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

/// Lines that were dropped or could not be written since the process started.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The queue that [`super::log::init`] made.
static QUEUE: OnceLock<Sender<Order>> = OnceLock::new();

enum Order {
    Write(Box<[u8]>),
    /// Everything before it is written: says so by dropping the sender.
    Flush(#[expect(dead_code, reason = "its end is the answer")] Sender<()>),
}

/// Lines that are lost because standard output did not take them: not in time, or, on a full disk or with nobody at the
/// other end, not at all.
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
    start_counting(out, &DROPPED)
}

/// As [`start`], with a counter of its own.
fn start_counting(out: impl Write + Send + 'static, dropped: &'static AtomicU64) -> std::io::Result<Queue> {
    let (sender, orders) = bounded(LINES);
    let tell = |lines| {
        tracing::warn!(
            lines,
            "log lines are lost: standard output did not take them in time, or its disk was full or nobody at its end"
        );
    };
    let write = move || write_all(out, &orders, dropped, tell);
    std::thread::Builder::new().name("log".into()).spawn(write)?;
    Ok(Queue { sender, dropped })
}

/// Writes until the queue ends. Lost lines are told once there is room again, and once what was written last went through:
/// to tell them where nothing goes through would lose one more each time, for ever.
fn write_all(mut out: impl Write, orders: &Receiver<Order>, dropped: &AtomicU64, tell: impl Fn(u64)) {
    let mut told = 0;
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
                // Nothing may have been left to be written.
                false
            }
        };
        let lost = dropped.load(Relaxed);
        if lost > told && goes_through && orders.is_empty() {
            tell(lost - told);
            told = lost;
        }
    }
}

/// Where lines wait for the thread.
#[derive(Clone)]
pub(super) struct Queue {
    sender: Sender<Order>,
    dropped: &'static AtomicU64,
}

impl Queue {
    /// Has [`flush`] wait for this one. False if it waits for another already.
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

/// One line: the subscriber writes each with one call.
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
        let told = Arc::new(Mutex::new(Vec::new()));
        let lines = told.clone();
        // As a log line would, the telling goes through the queue itself.
        let tell = move |lost| {
            lines.lock().unwrap().push(lost);
            log.make_writer().write_all(b"lost").unwrap();
        };
        let disk = Disk { full: full.clone() };
        std::thread::spawn(move || write_all(disk, &orders, counter, tell));
        for _ in 0..5 {
            queue.make_writer().write_all(b"line").unwrap();
            flush_within(&queue.sender, Duration::from_secs(30));
        }
        assert_eq!((counter.load(Relaxed), told.lock().unwrap().len()), (5, 0));
        full.store(false, Relaxed);
        queue.make_writer().write_all(b"line").unwrap();
        // Nothing may wait behind the line for it to be told.
        let mut looks = 0;
        while told.lock().unwrap().is_empty() && looks < 30_000 {
            looks += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        flush_within(&queue.sender, Duration::from_secs(30));
        flush_within(&queue.sender, Duration::from_secs(30));
        assert_eq!((counter.load(Relaxed), told.lock().unwrap().clone()), (5, vec![5]));
    }
}
