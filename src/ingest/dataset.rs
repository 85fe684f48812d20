//! Datasets that replace all data: from bootstrap calls and from the data file.
//!
//! Must not use a part of a dataset: one with errors is rejected as a whole, and the data in service stays.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::handle::Submission;
use super::report::{LOGGED_MAX, Loaded, report_findings, report_loaded, report_not_newer, warn_of_dataset};
use super::sink::{Answer, Origin};
use super::writer::Ingest;
use crate::fanout::mailbox::{Mail, Reply};
use crate::model::parse::{DatasetError, DatasetText};
use crate::model::stamp::Edition;
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
                self.put_in_service(change, arrived, Some(Answer::new(done, answer)));
            }
            Err(error) => answer(Reply::Invalid(error.to_string())),
        }
    }

    /// Loads the content of the data file at `path`, which is named in the log. At the start, a file that was loaded before
    /// the restart is no new data.
    pub fn load_file(&mut self, bytes: Vec<u8>, path: &Path) -> Result<(), DatasetError> {
        let arrived = Instant::now();
        let digest: Box<str> = digest_of(&bytes).into();
        let was_loaded = std::mem::take(&mut self.restored_file);
        if was_loaded.as_ref() == Some(&digest) {
            tracing::info!(
                source = Source::File.as_str(),
                path = path.display().to_string(),
                "the data file is the one that was loaded before the restart, so the saved data, which may be newer, stays"
            );
            return Ok(());
        }
        let is_first = !self.writer.current().loaded();
        let (_, change) = self.load(bytes, Source::File, Some(path), arrived)?;
        self.writer.history_mut().data_file = Some(digest.clone());
        if is_first && self.membership.is_member {
            // The cluster may have loaded this file before, and newer data after it.
            self.writer.history_mut().edition = Edition::default();
            self.membership.pending_data_file = Some(digest);
        }
        self.put_in_service(change, arrived, None);
        Ok(())
    }

    /// Announces a loaded dataset and has it kept; also if nothing in it is new, since it begins an edition.
    fn put_in_service(&mut self, change: Option<Arc<Change>>, arrived: Instant, answer: Option<Arc<Answer>>) {
        match change {
            Some(change) => self.announce(&change, arrived, Origin::Own, answer),
            None => {
                let snapshot = self.writer.current().clone();
                self.keep(&snapshot, None, Origin::Own, answer.as_ref());
            }
        }
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
        self.open_edition();
        let published = self.writer.replace(&dataset, self.now());
        self.membership.list_is_complete = true;
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

/// What identifies the content of a data file.
fn digest_of(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
