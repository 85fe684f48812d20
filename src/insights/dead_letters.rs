//! Events that will never be accepted: the server refused them for good, or one alone is too large.
//!
//! Must not be where events go that can still be sent. Bounded: what is older than two files goes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::events::Batch;
use super::line_file::{LineFile, at};
use super::local::line::{append_on_one_line, time};
use crate::persist::log::{Disk, RealDisk};
use crate::wire::json::append_string;

/// How many bytes the file has by default. The older one has as many.
pub const BYTES_DEFAULT: u64 = 16 << 20;

const NAME: &str = "dead-letters.ndjson";
const OLDER: &str = "dead-letters.ndjson.1";

/// Why events are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause<'r> {
    /// The status of the server's answer, if it was one.
    pub status: Option<u16>,
    /// In a few words, without anything of the event or of the answer's body.
    pub reason: &'r str,
}

/// The file `dead-letters.ndjson`.
#[derive(Debug)]
pub struct DeadLetters {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    bytes_max: u64,
    file: Option<LineFile>,
    has_new_name: bool,
    line: Vec<u8>,
}

impl DeadLetters {
    /// The dead letters in `directory`, which is created if need be. The file is created with the first one.
    pub fn open(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        Self::open_on(Arc::new(RealDisk::new()), directory, bytes_max)
    }

    fn open_on(disk: Arc<dyn Disk>, directory: &Path, bytes_max: u64) -> io::Result<Self> {
        disk.create_folder(directory).map_err(|error| at(directory, error))?;
        let file = LineFile::reopen(&disk, directory.join(NAME), None)?;
        let directory = directory.to_owned();
        Ok(Self { disk, directory, bytes_max, file, has_new_name: false, line: Vec::new() })
    }

    /// Appends a line for each event of `batch`. They are on the disk after [`DeadLetters::sync`].
    ///
    /// # Errors
    /// The events from the one on that could not be appended are not kept.
    pub fn append(&mut self, batch: &Batch, label: &str, cause: Cause<'_>) -> io::Result<()> {
        for event in batch.events.iter() {
            let mut line = std::mem::take(&mut self.line);
            line.clear();
            write_line(batch, label, cause, Some(event), &mut line);
            if line.len() as u64 > self.bytes_max {
                line.clear();
                write_line(batch, label, cause, None, &mut line);
            }
            let appended = self.append_line(&line);
            line.shrink_to(64 * 1024);
            self.line = line;
            appended?;
        }
        Ok(())
    }

    /// Makes everything durable that was appended.
    ///
    /// # Errors
    /// Nothing that was appended since the last sync is kept.
    pub fn sync(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if !file.is_dirty() {
            return Ok(());
        }
        let mut synced = file.sync();
        if synced.is_ok() && self.has_new_name {
            synced = self.disk.sync_folder(&self.directory).map_err(|error| at(&self.directory, error));
        }
        match synced {
            Ok(()) => {
                file.keep();
                self.has_new_name = false;
            }
            Err(_) if file.is_gone() => self.file = None,
            Err(_) => file.roll_back(),
        }
        synced
    }

    /// Takes back what was appended since the last sync.
    pub fn roll_back(&mut self) {
        if let Some(file) = &mut self.file {
            file.roll_back();
        }
    }

    /// How many bytes the newer file has.
    pub fn bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, LineFile::bytes)
    }

    fn append_line(&mut self, line: &[u8]) -> io::Result<()> {
        let bytes = self.bytes();
        if bytes > 0 && bytes + line.len() as u64 > self.bytes_max {
            self.rotate()?;
        }
        let path = self.directory.join(NAME);
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                self.has_new_name = true;
                let found = LineFile::reopen(&self.disk, path.clone(), None)?;
                let file = found.map_or_else(|| LineFile::create(&self.disk, path), Ok)?;
                self.file.insert(file)
            }
        };
        file.append(line)
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        self.file = None;
        self.has_new_name = true;
        let (newer, older) = (self.directory.join(NAME), self.directory.join(OLDER));
        match self.disk.rename(&newer, &older) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.map_err(|error| at(&older, error)),
        }
    }
}

/// `event` is `None` if it is too large even for this file.
fn write_line(batch: &Batch, label: &str, cause: Cause<'_>, event: Option<&[u8]>, line: &mut Vec<u8>) {
    line.extend_from_slice(b"{\"receivedAt\":\"");
    line.extend_from_slice(time(batch.received_ms).as_bytes());
    line.extend_from_slice(b"\",\"environment\":");
    append_string(label, line);
    line.extend_from_slice(b",\"secret\":\"");
    line.extend_from_slice(batch.kind.as_str().as_bytes());
    line.extend_from_slice(b"\",\"status\":");
    let status = cause.status.map_or_else(|| "null".to_owned(), |status| status.to_string());
    line.extend_from_slice(status.as_bytes());
    line.extend_from_slice(b",\"reason\":");
    append_string(cause.reason, line);
    line.extend_from_slice(b",\"event\":");
    match event {
        Some(event) => append_on_one_line(event, line),
        None => line.extend_from_slice(b"null"),
    }
    line.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::events::{Events, Form};
    use crate::model::environment_id::EnvironmentId;
    use crate::model::secret::SecretKind;
    use crate::persist::log::simulated::{Fault, SimulatedDisk};
    use crate::protocol::secret::Secret;

    const TOO_LARGE: Cause<'static> = Cause { status: Some(413), reason: "too large" };

    fn batch(texts: &[&str]) -> Batch {
        let environment = EnvironmentId::from_bytes([3; 16]);
        let mut events = Events::builder(0);
        texts.iter().for_each(|text| events.add(text.as_bytes()));
        Batch {
            environment,
            secret: Secret::build([0; 16], environment),
            kind: SecretKind::Client,
            form: Form::Raw,
            received_ms: 0,
            events: events.build(),
        }
    }

    fn open(disk: &SimulatedDisk, bytes_max: u64) -> io::Result<DeadLetters> {
        DeadLetters::open_on(disk.shared(), Path::new("/d"), bytes_max)
    }

    fn content(disk: &SimulatedDisk, name: &str) -> String {
        String::from_utf8(disk.content(&Path::new("/d").join(name)).unwrap_or_default()).unwrap()
    }

    #[test]
    fn a_line_for_each_event_says_why() {
        let disk = SimulatedDisk::default();
        let mut letters = open(&disk, BYTES_DEFAULT).unwrap();
        letters.append(&batch(&["{\"a\":\n1}", "{}"]), "shop:\"prod", TOO_LARGE).unwrap();
        letters.append(&batch(&["{}"]), "x", Cause { status: None, reason: "no" }).unwrap();
        letters.sync().unwrap();
        let expected = r#"{"receivedAt":"1970-01-01T00:00:00.000Z","environment":"shop:\"prod","secret":"client","status":413,"reason":"too large","event":{"a": 1}}
{"receivedAt":"1970-01-01T00:00:00.000Z","environment":"shop:\"prod","secret":"client","status":413,"reason":"too large","event":{}}
{"receivedAt":"1970-01-01T00:00:00.000Z","environment":"x","secret":"client","status":null,"reason":"no","event":{}}
"#;
        assert_eq!(content(&disk, NAME), expected);
    }

    #[test]
    fn two_files_of_a_bounded_size_are_kept() {
        let disk = SimulatedDisk::default();
        for number in 0..20 {
            // A restart each time.
            let mut letters = open(&disk, 300).unwrap();
            let event = format!("{{\"number\":{number}}}");
            letters.append(&batch(&[&event, &event]), "a:b", TOO_LARGE).unwrap();
            letters.sync().unwrap();
            assert!(content(&disk, NAME).len() <= 300 && content(&disk, OLDER).len() <= 300);
        }
        assert!(content(&disk, NAME).contains("{\"number\":19}"));
        assert!(content(&disk, OLDER).contains("{\"number\":18}"));
    }

    #[test]
    fn of_an_event_that_is_too_large_for_the_file_only_the_reason_is_kept() {
        let disk = SimulatedDisk::default();
        let mut letters = open(&disk, 300).unwrap();
        letters.append(&batch(&[&format!("\"{}\"", "x".repeat(300))]), "a:b", TOO_LARGE).unwrap();
        letters.sync().unwrap();
        assert!(content(&disk, NAME).ends_with("\"reason\":\"too large\",\"event\":null}\n"));
    }

    #[test]
    fn every_letter_that_was_acknowledged_is_there_whatever_fails() {
        for failing in 0..30 {
            let disk = SimulatedDisk::default();
            let mut letters = open(&disk, 450).unwrap();
            let fault = Fault::Error(io::ErrorKind::StorageFull);
            disk.plan(move |number, _| (number == failing).then_some(fault));
            let mut kept = Vec::new();
            for number in 0..5 {
                let event = format!("{{\"number\":{number}}}");
                let done = letters.append(&batch(&[&event]), "a:b", TOO_LARGE).and_then(|()| letters.sync());
                kept.extend(done.is_ok().then_some(event));
            }
            assert!(kept.len() >= 4, "{failing}");
            let found = content(&disk, OLDER) + &content(&disk, NAME);
            assert!(found.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
            assert!(kept.iter().all(|event| found.contains(event)), "{failing}: {found}");
        }
    }
}
