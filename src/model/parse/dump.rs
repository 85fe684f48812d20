//! Reads a whole dump: its items, and what they hold, sorted into environments.
//!
//! Must not trust the nesting: a flag, segment or secret belongs to the environment that it names itself, as
//! FeatBit keeps them, and the enclosing item only decides where a secret without one belongs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use crate::model::dataset::{Dataset, EnvironmentDef, LeftOut, Lost};
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::secret::{SecretDef, SecretKind, encoded_env_id};
use crate::model::segment::SegmentDef;
use crate::model::stamp::Stamp;

use super::findings::{DatasetError, Findings, Path};
use super::foreign;
use super::items;
use super::lint::SegmentIndex;
use super::secrets;
use super::tape::{Elements, Value, pick};
use super::text::Parsed;

type Map<K, V> = HashMap<K, V, RandomState>;

/// What is done about two flags, or two segments, of one id in an environment, and about what cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// The dump is refused: nobody can mean that.
    Fault,
    /// It is a server's message. The one of the greater stamp counts: servers say things twice, in any order. What cannot be
    /// read is left out: it must not keep from all others what is new.
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

/// Reads the dump that `value`, at `root`, is.
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

/// Reads the flags and segments in `value`, at `path`, which a server says are all there are of the environment that they
/// name. Those that cannot be read are left out.
pub(super) fn read_environment<'a>(
    parsed: &Parsed<'a>,
    value: Value<'_, 'a>,
    path: &Path<'_>,
    mut findings: Findings,
) -> Result<Dataset<'a>, DatasetError> {
    findings.quiet = true;
    pick!(findings.object(value, path) => flags: "featureFlags", segments: "segments");
    // A list that is not there is not one that is empty: it would take everything of its kind out of service.
    let flags = findings.required_list(flags, path, "featureFlags");
    let segments = findings.required_list(segments, path, "segments");
    let mut named =
        flags.clone().chain(segments.clone()).filter_map(|element| lost(element, None, "id").env_id);
    let env_id = named.next();
    if env_id.is_none() && flags.len() + segments.len() > 0 {
        findings.fault(path, "holds flags or segments, none of which names its environment");
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
    // FeatBit wants a text here and does not look at it: `rp_full`, or `rp-full` as its documentation has it.
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

/// Which segments there are, so that references from flags that come before them can be looked up.
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

/// Where in the dump something stands: the item, and the place in its list.
type Place = (usize, usize);

/// A flag that counts among those of its key: where it is, and what ranks it.
struct Counting<'a> {
    place: Place,
    rank: (bool, i64, &'a str),
}

/// The environments so far, and what of each was seen where.
#[derive(Default)]
struct Environments<'a> {
    list: Vec<EnvironmentDef<'a>>,
    seen: Vec<Seen<'a>>,
    slots: Map<EnvironmentId, usize>,
    last: Option<(EnvironmentId, usize)>,
}

#[derive(Default)]
struct Seen<'a> {
    /// The item that first names the environment.
    item: usize,
    flag_ids: Map<&'a str, Place>,
    /// Of each key, the flag that counts.
    flag_keys: Map<&'a str, Counting<'a>>,
    segment_ids: Map<&'a str, Place>,
}

impl<'a> Environments<'a> {
    /// The slot of environment `id`, which something in `item` names.
    fn named_by(&mut self, id: EnvironmentId, item: usize) -> usize {
        if let Some((last, slot)) = self.last
            && last == id
        {
            return slot;
        }
        let slot = *self.slots.entry(id).or_insert_with(|| {
            self.list.push(EnvironmentDef {
                id,
                secrets: Vec::new(),
                flags: Vec::new(),
                segments: Vec::new(),
            });
            self.seen.push(Seen { item, ..Seen::default() });
            self.list.len() - 1
        });
        self.last = Some((id, slot));
        slot
    }

    /// How many of its things an environment has so far.
    fn count(&self, id: EnvironmentId, of: impl FnOnce(&EnvironmentDef<'a>) -> usize) -> usize {
        self.slots.get(&id).and_then(|slot| self.list.get(*slot)).map_or(0, of)
    }

    fn get(&mut self, id: EnvironmentId, item: usize) -> (&mut EnvironmentDef<'a>, &mut Seen<'a>) {
        let slot = self.named_by(id, item);
        (&mut self.list[slot], &mut self.seen[slot])
    }
}

struct Reader<'p, 'a> {
    parsed: &'p Parsed<'a>,
    findings: Findings,
    twice: Twice,
    segments: SegmentIndex<'a>,
    environments: Environments<'a>,
    /// By value: what it opens, and where it stands.
    secrets: Map<&'a str, (EnvironmentId, SecretKind, Place)>,
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

    /// Whether something with faults, before which there were `faults`, is left out for them.
    fn leave_out(&mut self, faults: usize) -> bool {
        self.twice == Twice::NewerCounts && self.findings.leave_out(faults, &mut self.left_out)
    }

    /// Whether no earlier secret has the same value; if one has, it must open the same door.
    fn is_new_secret(&mut self, secret: &SecretDef<'a>, path: &Path<'_>, place: Place) -> bool {
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
                "is empty: no SDK can connect, and those that are connected are stopped for good once \
                 RevocationGraceSeconds are over; export the dump again unless that is meant",
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

impl Environments<'_> {
    /// Makes room for what an item holds.
    fn reserve(&mut self, id: EnvironmentId, item: usize, flags: usize, segments: usize) {
        let (environment, seen) = self.get(id, item);
        environment.flags.reserve(flags);
        environment.segments.reserve(segments);
        seen.flag_ids.reserve(flags);
        seen.flag_keys.reserve(flags);
        seen.segment_ids.reserve(segments);
    }
}

/// What decides between two items of one id. Their [`Place`] is then the index among those kept.
trait Stamped<'a> {
    fn id(&self) -> &'a str;
    fn stamp(&self) -> Stamp<'a>;
}

impl<'a> Stamped<'a> for FlagDef<'a> {
    fn id(&self) -> &'a str {
        self.id
    }

    fn stamp(&self) -> Stamp<'a> {
        self.stamp()
    }
}

impl<'a> Stamped<'a> for SegmentDef<'a> {
    fn id(&self) -> &'a str {
        self.id
    }

    fn stamp(&self) -> Stamp<'a> {
        self.stamp()
    }
}

/// Adds `item`, or puts it in the place of an older one of its id.
fn keep_newer<'a, T: Stamped<'a>>(ids: &mut Map<&'a str, Place>, kept: &mut Vec<T>, item: T) {
    match ids.entry(item.id()) {
        Entry::Vacant(entry) => {
            entry.insert((0, kept.len()));
            kept.push(item);
        }
        Entry::Occupied(entry) => {
            if let Some(old) = kept.get_mut(entry.get().1)
                && old.stamp() < item.stamp()
            {
                *old = item;
            }
        }
    }
}

/// What can be told of something that cannot be read: its environment, or else the one around it, and its name.
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
                "is {own}, the item that holds it is of {enclosing}: it is served in the former only"
            ),
        );
    }
}

/// FeatBit keeps items by environment and id: of two with the same, one would silently vanish.
fn check_unique<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    ids: &mut Map<&'a str, Place>,
    id: &'a str,
    list: &str,
    place: Place,
) {
    match ids.entry(id) {
        Entry::Vacant(entry) => {
            entry.insert(place);
        }
        Entry::Occupied(entry) => {
            let (item, index) = *entry.get();
            findings.fault(
                &path.key("id"),
                format_args!(
                    "is the id of items[{item}].{list}[{index}] too, in the same environment; change one"
                ),
            );
        }
    }
}

/// SDKs are given one flag of each key: the newest that is not archived, of equally new ones that of
/// the greater id.
fn check_key<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    keys: &mut Map<&'a str, Counting<'a>>,
    flag: &FlagDef<'a>,
    place: Place,
) {
    let rank = (!flag.is_archived, flag.updated_at_ms, flag.id);
    match keys.entry(flag.key) {
        Entry::Vacant(entry) => {
            entry.insert(Counting { place, rank });
        }
        Entry::Occupied(mut entry) => {
            let (item, index) = entry.get().place;
            let left_out = if rank >= entry.get().rank {
                entry.insert(Counting { place, rank });
                "that one is left out"
            } else {
                "this one is left out"
            };
            // Not noted as harm: whoever serves one of them says so itself.
            findings.warn(
                &path.key("key"),
                format_args!(
                    "is the key of items[{item}].featureFlags[{index}] too, and SDKs are given only the newest that is \
                     not archived: {left_out}. With both, the Java SDK would never be ready, and the Android SDK would \
                     drop the message; remove one, or change its key"
                ),
            );
        }
    }
}
