//! Reads a whole dump: its flags, segments and secrets, grouped by environment.
//!
//! Must not trust the nesting: as in FeatBit, a flag, segment or secret belongs to the environment that it names itself. The
//! enclosing item only decides for a secret that names none.

use std::collections::hash_map::Entry;

use crate::model::dataset::{Dataset, LeftOut, Lost};
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::{SecretDef, SecretKind, encoded_env_id};

use super::environments::{Environments, Map, Position, check_key, check_unique, keep_newer};
use super::findings::{DatasetError, Findings, Path};
use super::foreign;
use super::items;
use super::lint::SegmentIndex;
use super::secrets;
use super::tape::{Elements, Value, pick};
use super::text::Parsed;

/// How to handle two flags, or two segments, with the same id in an environment, and items that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// The dump is refused: it must be a mistake.
    Fault,
    /// For messages of a server, which may repeat items in any order: the one with the greater stamp is used. Items that
    /// cannot be read are left out, so that the others are still updated.
    NewerCounts,
}

/// Reads the dump.
pub(super) fn read<'a>(parsed: &Parsed<'a>) -> Result<Dataset<'a>, DatasetError> {
    let root = Path::Root("the dump");
    if let Some(what) = foreign::what_it_is(parsed.root()) {
        return Err(DatasetError::single(String::new(), what));
    }
    read_at(parsed, parsed.root(), &root, Findings::default(), Twice::Fault)
}

/// Reads `value`, at `root`, as a dump.
pub(super) fn read_at<'a>(
    parsed: &Parsed<'a>,
    value: Value<'_, 'a>,
    root: &Path<'_>,
    mut findings: Findings,
    twice: Twice,
) -> Result<Dataset<'a>, DatasetError> {
    let items = read_items(&mut findings, value, root);
    let mut reader = Reader::new(parsed, findings, twice, &items);
    for (index, item) in items.iter().enumerate() {
        reader.environments.named_by(item.env_id, index);
    }
    for (index, item) in items.into_iter().enumerate() {
        let path = root.item("items", index);
        reader.read_secrets(&path, index, &item);
        reader.read_flags(&path, index, &item);
        reader.read_segments(&path, index, &item);
    }
    reader.finish(root)
}

/// Reads the flags and segments in `value`, at `path`: all of the one environment that they name. Those that cannot be read
/// are left out.
pub(super) fn read_environment<'a>(
    parsed: &Parsed<'a>,
    value: Value<'_, 'a>,
    path: &Path<'_>,
    mut findings: Findings,
) -> Result<Dataset<'a>, DatasetError> {
    findings.quiet = true;
    pick!(findings.object(value, path) => flags: "featureFlags", segments: "segments");
    // A missing list must not count as an empty one: that would remove all items of its kind.
    let flags = findings.required_list(flags, path, "featureFlags");
    let segments = findings.required_list(segments, path, "segments");
    let mut named =
        flags.clone().chain(segments.clone()).filter_map(|element| lost(element, None, "id").env_id);
    let env_id = named.next();
    if env_id.is_none() && flags.len() + segments.len() > 0 {
        findings.fault(path, "contains flags or segments, but none of them names its environment");
    }
    let items: Vec<_> = env_id
        .into_iter()
        .map(|env_id| Item {
            env_id,
            secrets: Elements::default(),
            flags: flags.clone(),
            segments: segments.clone(),
        })
        .collect();
    let mut reader = Reader::new(parsed, findings, Twice::NewerCounts, &items);
    for item in &items {
        reader.read_flags(path, 0, item);
        reader.read_segments(path, 0, item);
    }
    reader.finish(path)
}

/// An element of `items`, its lists not yet read.
struct Item<'t, 'a> {
    env_id: EnvironmentId,
    secrets: Elements<'t, 'a>,
    flags: Elements<'t, 'a>,
    segments: Elements<'t, 'a>,
}

fn read_items<'t, 'a>(findings: &mut Findings, dump: Value<'t, 'a>, root: &Path<'_>) -> Vec<Item<'t, 'a>> {
    let Some(fields) = findings.required_object(dump, root) else {
        return Vec::new();
    };
    pick!(fields => event_type: "eventType", items: "items");
    // FeatBit requires a string here and ignores its value: `rp_full`, or `rp-full` in its documentation.
    findings.required_text(event_type, root, "eventType");
    let elements = findings.required_list(items, root, "items");
    let mut items = Vec::with_capacity(elements.len());
    for (index, element) in elements.enumerate() {
        let path = root.item("items", index);
        items.push(Item::read(findings, element, &path));
    }
    items
}

impl<'t, 'a> Item<'t, 'a> {
    fn read(findings: &mut Findings, element: Value<'t, 'a>, path: &Path<'_>) -> Self {
        let Some(fields) = findings.required_object(element, path) else {
            let none = Elements::default();
            let env_id = EnvironmentId::from_bytes([0; 16]);
            return Self { env_id, secrets: none.clone(), flags: none.clone(), segments: none };
        };
        pick!(fields =>
            env_id: "envId",
            secrets: "secrets",
            flags: "featureFlags",
            segments: "segments",
        );
        Self {
            env_id: findings.environment(env_id, path, "envId"),
            secrets: findings.list(secrets, path, "secrets"),
            flags: findings.required_list(flags, path, "featureFlags"),
            segments: findings.required_list(segments, path, "segments"),
        }
    }
}

/// The ids of all segments, so that references from flags before them can be checked.
fn index_segments<'a>(items: &[Item<'_, 'a>]) -> SegmentIndex<'a> {
    let mut index = SegmentIndex::default();
    for segment in items.iter().flat_map(|item| item.segments.clone()) {
        let Some(fields) = segment.fields() else {
            continue;
        };
        pick!(fields => id: "id", env_id: "envId");
        let env_id = env_id.and_then(|value| value.as_str()).and_then(EnvironmentId::parse);
        if let (Some(id), Some(env_id)) = (id.and_then(|value| value.as_str()), env_id) {
            index.insert(env_id, id);
        }
    }
    index
}

struct Reader<'p, 'a> {
    parsed: &'p Parsed<'a>,
    findings: Findings,
    twice: Twice,
    segments: SegmentIndex<'a>,
    environments: Environments<'a>,
    /// By value: environment, kind and position.
    secrets: Map<&'a str, (EnvironmentId, SecretKind, Position)>,
    left_out: LeftOut<'a>,
}

impl<'p, 'a> Reader<'p, 'a> {
    fn new(parsed: &'p Parsed<'a>, findings: Findings, twice: Twice, items: &[Item<'_, 'a>]) -> Self {
        Self {
            parsed,
            findings,
            twice,
            segments: index_segments(items),
            environments: Environments::default(),
            secrets: Map::default(),
            left_out: LeftOut::default(),
        }
    }

    fn read_secrets(&mut self, item_path: &Path<'_>, item: usize, list: &Item<'_, 'a>) {
        for (index, element) in list.secrets.clone().enumerate() {
            let path = item_path.item("secrets", index);
            let faults = self.findings.faults();
            let secret = secrets::read(&mut self.findings, element, &path, list.env_id);
            if let Some(secret) = secret
                && self.findings.faults() == faults
                && self.is_new_secret(&secret, &path, (item, index))
            {
                self.environments.get(secret.env_id, item).0.secrets.push(secret);
            } else if self.leave_out(faults) {
                let mut lost = lost(element, Some(list.env_id), "value");
                lost.name = lost.name.filter(|value| encoded_env_id(value).is_some());
                let of = lost.env_id.unwrap_or(list.env_id);
                lost.at = self.environments.count(of, |environment| environment.secrets.len());
                self.left_out.secrets.push(lost);
            }
        }
    }

    /// Whether an item with errors is left out; `faults` is the number of errors before it.
    fn leave_out(&mut self, faults: usize) -> bool {
        self.twice == Twice::NewerCounts && self.findings.leave_out(faults, &mut self.left_out)
    }

    /// Whether no earlier secret has the same value. If one has, it must have the same environment and kind.
    fn is_new_secret(&mut self, secret: &SecretDef<'a>, path: &Path<'_>, place: Position) -> bool {
        let (env_id, kind, (item, index)) = match self.secrets.entry(secret.value) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                entry.insert((secret.env_id, secret.kind, place));
                return true;
            }
        };
        let path = path.key("value");
        let first = format_args!("items[{item}].secrets[{index}]").to_string();
        if env_id != secret.env_id {
            self.findings.fault(
                &path,
                format_args!("is the value of {first} too, which is for another environment; remove one"),
            );
        } else if kind != secret.kind {
            self.findings.fault(
                &path,
                format_args!("is the value of {first} too, which is of another type; remove one"),
            );
        } else {
            self.findings.warn(
                &path,
                format_args!("is the value of {first} too: the agent leaves this one out; remove one"),
            );
        }
        false
    }

    fn read_flags(&mut self, item_path: &Path<'_>, item: usize, list: &Item<'_, 'a>) {
        self.environments.reserve(list.env_id, item, list.flags.len(), list.segments.len());
        let mut elements = list.flags.clone().peekable();
        let mut index = 0;
        while let Some(element) = elements.next() {
            let path = item_path.item("featureFlags", index);
            let (faults, mark) = (self.findings.faults(), self.findings.mark());
            let raw = self.parsed.raw(element, elements.peek().copied());
            let flag = items::flag(&mut self.findings, &path, element, raw, &self.segments);
            let key = flag.as_ref().map_or("", |flag| flag.key);
            self.findings.add_since(mark, "flag", key);
            if let Some(flag) = flag
                && self.findings.faults() == faults
            {
                check_home(&mut self.findings, &path, flag.env_id, list.env_id);
                let (environment, seen) = self.environments.get(flag.env_id, item);
                if self.twice == Twice::NewerCounts {
                    keep_newer(&mut seen.flag_ids, &mut environment.flags, flag);
                    index += 1;
                    continue;
                }
                check_unique(
                    &mut self.findings,
                    &path,
                    &mut seen.flag_ids,
                    flag.id,
                    "featureFlags",
                    (item, index),
                );
                check_key(&mut self.findings, &path, &mut seen.flag_keys, &flag, (item, index));
                environment.flags.push(flag);
            } else if self.leave_out(faults) {
                let mut lost = lost(element, Some(list.env_id), "id");
                let of = lost.env_id.unwrap_or(list.env_id);
                lost.at = self.environments.count(of, |environment| environment.flags.len());
                self.left_out.flags.push(lost);
            }
            index += 1;
        }
    }

    fn read_segments(&mut self, item_path: &Path<'_>, item: usize, list: &Item<'_, 'a>) {
        let mut elements = list.segments.clone().peekable();
        let mut index = 0;
        while let Some(element) = elements.next() {
            let path = item_path.item("segments", index);
            let (faults, mark) = (self.findings.faults(), self.findings.mark());
            let raw = self.parsed.raw(element, elements.peek().copied());
            let segment = items::segment(&mut self.findings, &path, element, raw);
            let id = segment.as_ref().map_or("", |segment| segment.id);
            self.findings.add_since(mark, "segment", id);
            if let Some(segment) = segment
                && self.findings.faults() == faults
            {
                check_home(&mut self.findings, &path, segment.env_id, list.env_id);
                let (environment, seen) = self.environments.get(segment.env_id, item);
                if self.twice == Twice::NewerCounts {
                    keep_newer(&mut seen.segment_ids, &mut environment.segments, segment);
                    index += 1;
                    continue;
                }
                let ids = &mut seen.segment_ids;
                check_unique(&mut self.findings, &path, ids, segment.id, "segments", (item, index));
                environment.segments.push(segment);
            } else if self.leave_out(faults) {
                let mut lost = lost(element, Some(list.env_id), "id");
                let of = lost.env_id.unwrap_or(list.env_id);
                lost.at = self.environments.count(of, |environment| environment.segments.len());
                self.left_out.segments.push(lost);
            }
            index += 1;
        }
    }

    fn finish(mut self, root: &Path<'_>) -> Result<Dataset<'a>, DatasetError> {
        let Environments { list, seen, .. } = self.environments;
        if list.is_empty() {
            self.findings.warn(
                &root.key("items"),
                "is empty: no SDK can connect, and connected SDKs are stopped for good when \
                 RevocationGraceSeconds are over; export the dump again unless that is intended",
            );
        }
        for (environment, seen) in list.iter().zip(&seen) {
            if environment.secrets.is_empty() {
                self.findings.warn(
                    &root.item("items", seen.item),
                    format_args!(
                        "environment {} has no secret: no SDK can connect to it; add one to \"secrets\"",
                        environment.id
                    ),
                );
            }
        }
        let (warnings, harmful) = self.findings.finish()?;
        Ok(Dataset { environments: list, warnings, harmful, left_out: self.left_out })
    }
}

/// Identifies an item that cannot be read, as far as possible: its environment, or else the enclosing one, and its name.
pub(super) fn lost<'a>(element: Value<'_, 'a>, enclosing: Option<EnvironmentId>, name: &str) -> Lost<'a> {
    let mut lost = Lost { env_id: enclosing, name: None, at: 0 };
    for (key, value) in element.fields().into_iter().flatten() {
        if key == "envId" {
            lost.env_id = value.as_str().and_then(EnvironmentId::parse).or(enclosing);
        } else if key == name {
            lost.name = value.as_str().filter(|name| !name.is_empty());
        }
    }
    lost
}

fn check_home(findings: &mut Findings, path: &Path<'_>, own: EnvironmentId, enclosing: EnvironmentId) {
    if own != enclosing {
        findings.warn(
            &path.key("envId"),
            format_args!(
                "is {own}, but the item that contains it has {enclosing}: it is served in the former only"
            ),
        );
    }
}
