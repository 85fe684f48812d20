//! Reads the data of a server's `data-sync` message, by its kind.
//!
//! Must not know the message around it. A flag, segment or secret that cannot be read is left out and listed, so that SDKs
//! still get the other changes.

use crate::model::dataset::{Dataset, LeftOut};
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;

use super::dump::{self, Twice};
use super::findings::{DatasetError, Findings, Path};
use super::items;
use super::lint::SegmentIndex;
use super::tape::{Value, pick};
use super::text::Parsed;

/// Flags and segments that changed.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    /// Flags, usually one or none.
    pub flags: Vec<FlagDef<'a>>,
    /// Segments, usually one or none.
    pub segments: Vec<SegmentDef<'a>>,
    /// Those that cannot be read.
    pub left_out: LeftOut<'a>,
}

/// Reads all environments with their flags, segments and secrets. `path` is the path of `data`.
///
/// # Errors
/// As [`super::DatasetText::parse`], and if an environment has no list of secrets.
pub fn read_full<'a>(
    parsed: &Parsed<'a>,
    data: Value<'_, 'a>,
    path: &Path<'_>,
) -> Result<Dataset<'a>, DatasetError> {
    let mut findings = Findings::default();
    require_secrets(&mut findings, data, path);
    dump::read_at(parsed, data, path, findings, Twice::NewerCounts)
}

/// Reads environments with their newer flags and segments.
///
/// # Errors
/// As [`super::DatasetText::parse`].
pub fn read_patch<'a>(
    parsed: &Parsed<'a>,
    data: Value<'_, 'a>,
    path: &Path<'_>,
) -> Result<Dataset<'a>, DatasetError> {
    dump::read_at(parsed, data, path, Findings::quiet(), Twice::NewerCounts)
}

/// Reads all flags and segments of one environment, which they name. No environment if there are none, and several if
/// they name several.
///
/// # Errors
/// If one of the two lists is missing, or none of the items names an environment.
pub fn read_environment<'a>(
    parsed: &Parsed<'a>,
    data: Value<'_, 'a>,
    path: &Path<'_>,
) -> Result<Dataset<'a>, DatasetError> {
    dump::read_environment(parsed, data, path, Findings::quiet())
}

/// Reads flags and segments that changed.
///
/// # Errors
/// If one of the two is no list.
pub fn read_changes<'a>(
    parsed: &Parsed<'a>,
    data: Value<'_, 'a>,
    path: &Path<'_>,
) -> Result<Changes<'a>, DatasetError> {
    let mut findings = Findings::quiet();
    pick!(findings.object(data, path) => flags: "featureFlags", segments: "segments");
    let unknown = SegmentIndex::default();
    let mut left_out = LeftOut::default();
    let mut elements = findings.list(flags, path, "featureFlags").enumerate().peekable();
    let mut flags = Vec::with_capacity(elements.len());
    while let Some((index, element)) = elements.next() {
        let raw = parsed.raw(element, elements.peek().map(|(_, next)| *next));
        let faults = findings.faults();
        let flag = items::flag(&mut findings, &path.item("featureFlags", index), element, raw, &unknown);
        if findings.leave_out(faults, &mut left_out) {
            left_out.flags.push(dump::lost(element, None, "id"));
        } else {
            flags.extend(flag);
        }
    }
    let mut elements = findings.list(segments, path, "segments").enumerate().peekable();
    let mut segments = Vec::with_capacity(elements.len());
    while let Some((index, element)) = elements.next() {
        let raw = parsed.raw(element, elements.peek().map(|(_, next)| *next));
        let faults = findings.faults();
        let segment = items::segment(&mut findings, &path.item("segments", index), element, raw);
        if findings.leave_out(faults, &mut left_out) {
            left_out.segments.push(dump::lost(element, None, "id"));
        } else {
            segments.extend(segment);
        }
    }
    findings.finish()?;
    Ok(Changes { flags, segments, left_out })
}

/// Reports an environment without a list of secrets as an error: a missing list must not be read as an empty one, which
/// would revoke all its secrets. Other errors are found when the items are read.
fn require_secrets(findings: &mut Findings, data: Value<'_, '_>, path: &Path<'_>) {
    let items = data.fields().and_then(|fields| {
        pick!(fields => items: "items");
        items?.elements()
    });
    for (index, item) in items.into_iter().flatten().enumerate() {
        let Some(fields) = item.fields() else { continue };
        pick!(fields => secrets: "secrets");
        if secrets.is_none_or(|secrets| secrets.is_null()) {
            findings.required_list(secrets, &path.item("items", index), "secrets");
        }
    }
}
