//! Flags, segments and removals as records of the cluster.
//!
//! Must not decide which of two is newer.

use std::collections::HashMap;

use crate::model::environment_id::EnvironmentId;
use crate::persist::redis::Record;
use crate::store::{ContentsDelta, Delta, EnvironmentDelta, ItemKind, ItemState, Snapshot, TombstoneState};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub environment: EnvironmentId,
    pub kind: ItemKind,
    pub id: &'a str,
}

impl<'a> Field<'a> {
    /// The field of an item: `<environment id>:f:<flag id>` or `…:s:<segment id>`.
    pub fn parse(field: &'a str) -> Option<Self> {
        let (environment, rest) = field.split_once(':')?;
        let (kind, id) = rest.split_once(':')?;
        let kind = match kind {
            "f" => ItemKind::Flag,
            "s" => ItemKind::Segment,
            _ => return None,
        };
        Some(Self { environment: EnvironmentId::parse(environment)?, kind, id })
    }

    /// The text of the field.
    pub fn text(self) -> Box<str> {
        let kind = match self.kind {
            ItemKind::Flag => 'f',
            ItemKind::Segment => 's',
        };
        format!("{}:{kind}:{}", self.environment, self.id).into()
    }
}

/// The records of everything that a delta changed. `snapshot` is in service since then.
pub(super) fn of_delta(delta: &Delta, snapshot: &Snapshot) -> Vec<Record> {
    let mut records = Vec::new();
    for environment in &delta.environments {
        match &environment.contents {
            ContentsDelta::Gone => {}
            ContentsDelta::All(all) => {
                add_items(environment, ItemKind::Flag, &all.flags, None, &mut records);
                add_items(environment, ItemKind::Segment, &all.segments, None, &mut records);
                add_removals(environment, &all.tombstones, &mut records);
            }
            ContentsDelta::Some(some) => {
                let places = Some(snapshot);
                add_items(environment, ItemKind::Flag, &some.flags, places, &mut records);
                add_items(environment, ItemKind::Segment, &some.segments, places, &mut records);
                add_removals(environment, &some.removed, &mut records);
            }
        }
    }
    records
}

/// `places`: where the places of the items are looked up; without it, `items` are all items in their order.
fn add_items(
    environment: &EnvironmentDelta,
    kind: ItemKind,
    items: &[ItemState],
    places: Option<&Snapshot>,
    records: &mut Vec<Record>,
) {
    if items.is_empty() {
        return;
    }
    let places: Option<HashMap<_, _>> =
        places.map(|snapshot| snapshot.places_of(environment.id, kind, items.iter().map(|item| &*item.id)));
    for (index, item) in items.iter().enumerate() {
        let Some(stamp_ms) = item.json.updated_at_ms() else { continue };
        let index = places.as_ref().map_or(Some(index), |places| places.get(&*item.id).copied());
        records.push(Record {
            field: Field { environment: environment.id, kind, id: &item.id }.text(),
            stamp_ms,
            removed: false,
            place: index.and_then(|index| u32::try_from(index).ok()).unwrap_or(u32::MAX),
            version_ms: item.version_ms,
            client_version_ms: item.client_version_ms,
            body: item.json.as_bytes().into(),
        });
    }
}

fn add_removals(environment: &EnvironmentDelta, removals: &[TombstoneState], records: &mut Vec<Record>) {
    records.extend(removals.iter().map(|removal| Record {
        field: Field { environment: environment.id, kind: removal.kind, id: &removal.id }.text(),
        stamp_ms: removal.updated_at_ms,
        removed: true,
        place: 0,
        version_ms: i64::MIN,
        client_version_ms: i64::MIN,
        body: removal.removed_at_ms.to_string().into_bytes().into(),
    }));
}
