//! `featbit-agent backup show|export|verify FILE`: looks into a backup file, also while an agent writes it.
//!
//! Must not change the file. `show` and `verify` print no secret; `export` writes a dump, which contains them.

use std::path::{Path, PathBuf};

use super::exit;
use super::output::{Answer, complain};
use super::write_dump;
use crate::app::wall_ms;
use crate::config::files;
use crate::eval::RegexLimits;
use crate::ingest::journal::Recovery;
use crate::model::timestamp::format_iso8601;
use crate::persist::log::{End, LogKind, RealDisk, Recovered, inspect};
use crate::protocol::dump;
use crate::store::{Moment, State, Writer, WriterOptions};

/// What to do with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Describe its data.
    Show,
    /// Write a dump of its data.
    Export { out: PathBuf, canonical: bool },
    /// Tell whether it can be used.
    Verify,
}

/// Looks into the file.
pub(super) fn backup(file: &Path, action: &Action) -> u8 {
    let recovered = match inspect(&RealDisk::new(), file, LogKind::Journal) {
        Ok(recovered) => recovered,
        Err(error) => {
            complain(&format!("featbit-agent: {error}"));
            return exit::NO_INPUT;
        }
    };
    let read = read(&recovered);
    match action {
        Action::Show => show(file, &recovered, &read),
        Action::Verify => verify(file, &recovered, &read),
        Action::Export { out, canonical } => export(file, &read, out, *canonical),
    }
}

/// The state that the file holds.
struct Read {
    state: State,
    groups: u64,
    /// Why not all of it could be used.
    error: Option<String>,
}

fn read(recovered: &Recovered) -> Read {
    let mut recovery = Recovery::default();
    let mut error = None;
    for group in recovered.groups() {
        if let Err(unreadable) =
            recovery.apply(group.map(|record| (record.kind, recovered.share(record.body))))
        {
            error = Some(unreadable.to_string());
            break;
        }
    }
    let groups = recovery.groups();
    Read { state: recovery.finish(wall_ms()), groups, error }
}

/// A writer with the state, as the agent would restore it.
fn restore(read: &Read) -> Result<Writer, String> {
    let now = Moment { steady_ms: 0, wall_ms: wall_ms() };
    let options = WriterOptions { regex_limits: RegexLimits::default(), ..WriterOptions::default() };
    Writer::restore(options, read.state.clone(), now).map_err(|error| error.to_string())
}

/// How the file ends, as a sentence, and whether an agent could continue it.
fn end_of(recovered: &Recovered, read: &Read) -> (String, bool) {
    if let Some(error) = &read.error {
        return (format!("it cannot be read to its end: {error}"), false);
    }
    match recovered.end {
        End::Clean if read.groups == 0 => ("it holds no data yet".to_owned(), true),
        End::Clean => ("it is complete".to_owned(), true),
        End::Torn { at } => (
            format!(
                "it is complete, except for an unfinished write at byte {at}, which the agent cuts off at its next start"
            ),
            true,
        ),
        End::Damaged { at } if read.groups == 0 => {
            (format!("it is damaged at byte {at}, in its first change, so nothing of it can be used"), false)
        }
        End::Damaged { at } => {
            (format!("it is damaged at byte {at}; what comes before that can be exported"), false)
        }
        End::Empty => ("it is empty, so the agent begins anew".to_owned(), true),
        End::HeaderBroken => ("it is no backup file, or its beginning is damaged".to_owned(), false),
        End::OtherKind => ("it is another file of featbit-agent, not a backup file".to_owned(), false),
        End::OtherFingerprint => ("it belongs to another ApiKey".to_owned(), false),
        End::FutureVersion { version } => {
            (format!("a newer version of featbit-agent wrote it (format {version})"), false)
        }
    }
}

fn verify(file: &Path, recovered: &Recovered, read: &Read) -> u8 {
    let (end, is_usable) = end_of(recovered, read);
    let restored = if is_usable { restore(read).err() } else { None };
    let mut answer = Answer::default();
    match &restored {
        None => answer.say(&format!("{}: {end}", file.display())),
        Some(error) => answer.say(&format!("{}: its data cannot be used: {error}", file.display())),
    }
    answer.say(&format!(
        "  {} changes, {} records, {} bytes",
        recovered.groups, recovered.records, recovered.bytes
    ));
    answer.end(if is_usable && restored.is_none() { exit::OK } else { exit::DATA })
}

fn show(file: &Path, recovered: &Recovered, read: &Read) -> u8 {
    let mut answer = Answer::default();
    let (end, is_usable) = end_of(recovered, read);
    answer.say(&format!("{}: {end}", file.display()));
    answer.say(&format!(
        "  {} changes, {} records, {} bytes",
        recovered.groups, recovered.records, recovered.bytes
    ));
    let head = &read.state.head;
    if head.edition.opened_at_ms > 0 {
        answer.say(&format!("  edition of {}", format_iso8601(head.edition.opened_at_ms)));
    }
    if head.data_version > 0 {
        answer.say(&format!("  newest change of {}", format_iso8601(head.data_version)));
    }
    let access = &read.state.access;
    let leaving = access.secrets.iter().filter(|secret| secret.grace_ms.is_some()).count();
    answer.say(&format!(
        "  {} environments, {} secrets, of which {leaving} in their grace period",
        access.order.len(),
        access.secrets.len(),
    ));
    for environment in &read.state.environments {
        let Some(contents) = &environment.contents else { continue };
        let label = contents.secrets.first().map_or_else(
            || environment.id.to_string(),
            |secret| format!("{}:{}", secret.project_key, secret.env_key),
        );
        let state = if access.order.contains(&environment.id) { "" } else { ", in its grace period" };
        answer.say(&format!(
            "  {label}: {} flags, {} segments, {} removals remembered{state}",
            contents.flags.len(),
            contents.segments.len(),
            contents.tombstones.len(),
        ));
    }
    answer.end(if is_usable { exit::OK } else { exit::DATA })
}

fn export(file: &Path, read: &Read, out: &Path, canonical: bool) -> u8 {
    let refused = |why: &str| {
        complain(&format!("featbit-agent: {} cannot be exported: {why}", file.display()));
        exit::DATA
    };
    // The dump would be no backup file for the agent, which would begin without data.
    if files::is_same(file, out) {
        complain(&format!(
            "featbit-agent: --out {} is the backup file itself. Choose another path",
            out.display()
        ));
        return exit::USAGE;
    }
    if read.groups == 0 {
        return refused(read.error.as_deref().unwrap_or("it holds no data"));
    }
    if let Some(error) = &read.error {
        complain(&format!(
            "featbit-agent: warning: {} was not read to its end: {error}; what comes before is exported",
            file.display()
        ));
    }
    let writer = match restore(read) {
        Ok(writer) => writer,
        Err(error) => return refused(&error),
    };
    let dump = writer.current().backup().to_vec();
    let dump = match canonical.then(|| dump::canonical(dump.clone())) {
        None => dump,
        Some(Ok(canonical)) => canonical,
        Some(Err(error)) => return refused(&error.to_string()),
    };
    write_dump::write(&dump, out)
}
