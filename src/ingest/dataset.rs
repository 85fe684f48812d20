//! Datasets that replace all data: from bootstrap calls and from the data file.
//!
//! Must not use a part of a dataset: one with errors is rejected as a whole, and the data in service stays.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::handle::Submission;
use super::report::{LOGGED_MAX, Loaded, report_findings, report_loaded, report_not_newer, warn_of_dataset};
use super::writer::Ingest;
use crate::fanout::mailbox::{InService, Mail, Reply};
use crate::model::parse::{DatasetError, DatasetText};
use crate::payload::Payload;
use crate::protocol::status;
use crate::store::Change;
use crate::telemetry::metrics::Source;
use crate::wire::gzip::{self, GzipError};

impl Ingest {
    /// Loads the dataset of a bootstrap call. The answer is sent when every reactor serves the data.
    pub fn load_submission(&mut self, submission: Submission) {
        let Submission { bytes, gzip, bytes_max, mailbox, key, permit } = submission;
        let answer = move |reply| {
            // Before the answer is posted: a client that has it may send the next dataset at once.
            drop(permit);
            mailbox.post(Mail::Reply { key, reply });
        };
        let bytes = match if gzip { gzip::decompress(&bytes, bytes_max) } else { Ok(bytes) } {
            Ok(bytes) => bytes,
            Err(error @ GzipError::Broken) => return answer(Reply::Invalid(error.to_string())),
            Err(error @ GzipError::TooLarge) => return answer(Reply::TooLarge(error.to_string())),
        };
        let arrived = Instant::now();
        match self.load(bytes, Source::Bootstrap, None, arrived) {
            Ok((loaded, change)) => {
                let text = status::bootstrap_json(&loaded.serves, loaded.data_version, &loaded.harms);
                let done = Reply::Done(Payload::private(text.into_bytes()));
                match change {
                    // The last reactor to serve from the new data sends the answer.
                    Some(change) => {
                        let answer = std::sync::Mutex::new(Some((answer, done)));
                        let in_service = InService::new(move || {
                            let taken = answer.lock().ok().and_then(|mut answer| answer.take());
                            if let Some((answer, done)) = taken {
                                answer(done);
                            }
                        });
                        self.announce(&change, arrived, Some(in_service));
                    }
                    None => answer(done),
                }
            }
            Err(error) => answer(Reply::Invalid(error.to_string())),
        }
    }

    /// Loads the content of the data file at `path`, which is named in the log.
    pub fn load_file(&mut self, bytes: Vec<u8>, path: &Path) -> Result<Loaded, DatasetError> {
        let arrived = Instant::now();
        let (loaded, change) = self.load(bytes, Source::File, Some(path), arrived)?;
        if let Some(change) = change {
            self.announce(&change, arrived, None);
        }
        Ok(loaded)
    }

    /// Parses a dataset and gives it to the writer. Returns the change, which the caller has to announce.
    fn load(
        &mut self,
        bytes: Vec<u8>,
        source: Source,
        path: Option<&Path>,
        arrived: Instant,
    ) -> Result<(Loaded, Option<Arc<Change>>), DatasetError> {
        let mut text = DatasetText::new(bytes);
        let dataset = match text.parse() {
            Ok(dataset) => dataset,
            Err(error) => {
                self.metrics.rejected(source);
                let meanwhile = if self.writer.current().loaded() {
                    "the data in service stays"
                } else {
                    "there is no data yet: SDKs wait, and are then asked to reconnect"
                };
                tracing::error!(
                    source = source.as_str(),
                    path = path.map(|path| path.display().to_string()),
                    "a dataset was refused, and {meanwhile}: {error}"
                );
                return Err(error);
            }
        };
        let before = self.writer.current().clone();
        let published = self.writer.replace(&dataset, self.now());
        let now_ms = (self.wall_ms)();
        self.following.update(|status| status.last_synced_ms = Some(now_ms));
        let snapshot = self.writer.current();
        let harms = dataset.harms().take(LOGGED_MAX).map(ToString::to_string).collect();
        let loaded = Loaded { serves: snapshot.serves(), data_version: snapshot.data_version(), harms };
        self.metrics.loaded(u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.count(snapshot);
        report_loaded(&published, &before, source, &loaded, dataset.warnings.len(), arrived);
        if published.change.is_some() {
            warn_of_dataset(&dataset, now_ms);
        }
        report_not_newer(&published.report);
        report_findings(&published);
        Ok((loaded, published.change))
    }
}
