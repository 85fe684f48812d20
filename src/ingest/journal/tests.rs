//! What is written is read again; what cannot be read does no harm.

use proptest::prelude::*;

use super::{ReadError, Recovery, write};
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::model::stamp::{Edition, ListStamp};
use crate::protocol::secret::Secret;
use crate::store::{
    Access, Contents, ContentsDelta, ContentsPatch, Delta, EnvironmentDelta, EnvironmentState, FormerUse,
    Head, ItemJson, ItemKind, ItemState, ListedSecret, Removals, Replay, SecretState, State, TombstoneState,
    Versions,
};

type Records = Vec<(u8, Vec<u8>)>;

fn records(delta: &Delta, at_ms: i64) -> Records {
    let mut records = Vec::new();
    write(delta, at_ms, &mut |kind, body| records.push((kind, body.to_vec())));
    records
}

fn apply(recovery: &mut Recovery, records: &Records) -> Result<(), ReadError> {
    recovery.apply(records.iter().map(|(kind, body)| (*kind, body.clone())))
}

fn id(number: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([number; 16])
}

fn secret(number: u8) -> Secret {
    Secret::build([number; 16], id(1))
}

fn kind(is_server: bool) -> SecretKind {
    if is_server { SecretKind::Server } else { SecretKind::Client }
}

fn item() -> impl Strategy<Value = ItemState> {
    (0..5u8, "\\PC{0,12}", any::<i64>(), any::<i64>(), any::<bool>()).prop_map(
        |(id, json, version_ms, client_version_ms, is_served)| ItemState {
            id: format!("i{id}").into(),
            json: ItemJson::Read(json.into()),
            version_ms,
            client_version_ms,
            is_served,
        },
    )
}

fn items() -> impl Strategy<Value = Vec<ItemState>> {
    prop::collection::vec(item(), 0..4).prop_map(|mut items| {
        items.sort_by(|one, other| one.id.cmp(&other.id));
        items.dedup_by(|one, other| one.id == other.id);
        items
    })
}

fn tombstones() -> impl Strategy<Value = Vec<TombstoneState>> {
    let one = (any::<bool>(), 5..9u8, any::<i64>(), any::<i64>());
    let one = one.prop_map(|(is_flag, id, updated_at_ms, removed_at_ms)| TombstoneState {
        kind: if is_flag { ItemKind::Flag } else { ItemKind::Segment },
        id: format!("i{id}").into(),
        updated_at_ms,
        removed_at_ms,
    });
    prop::collection::vec(one, 0..3).prop_map(|mut list| {
        list.sort_by(|one, other| (one.kind, &one.id).cmp(&(other.kind, &other.id)));
        list.dedup_by(|one, other| (one.kind, &one.id) == (other.kind, &other.id));
        list
    })
}

fn removals() -> impl Strategy<Value = Removals> {
    any::<[i64; 3]>().prop_map(|[server_version_ms, client_version_ms, relay_watermark_ms]| Removals {
        server_version_ms,
        client_version_ms,
        relay_watermark_ms,
    })
}

fn listed() -> impl Strategy<Value = std::sync::Arc<[ListedSecret]>> {
    let one = (any::<bool>(), "\\PC{0,5}", 0..9u8).prop_map(|(is_server, key, number)| ListedSecret {
        kind: kind(is_server),
        project_key: key.clone().into(),
        env_key: key.into(),
        value: secret(number),
    });
    prop::collection::vec(one, 0..3).prop_map(Into::into)
}

fn access() -> impl Strategy<Value = Access> {
    let one = (0..9u8, any::<bool>(), 0..3u8, prop::option::of(0..99i64), prop::option::of(0..99i64));
    let secret = one.prop_map(|(number, is_server, environment, grace_ms, former)| SecretState {
        value: secret(number),
        kind: kind(is_server),
        environment: id(environment),
        grace_ms,
        former: former.map(|grace_ms| FormerUse {
            kind: kind(!is_server),
            environment: id(environment),
            grace_ms,
        }),
    });
    let numbers = prop::collection::vec(0..3u8, 0..3);
    (numbers, prop::collection::vec(secret, 0..3), prop::option::of(0..99i64)).prop_map(
        |(order, secrets, left_ms)| Access {
            order: order.into_iter().map(id).collect(),
            secrets,
            leaving: left_ms.map(|left_ms| (id(2), left_ms)).into_iter().collect(),
        },
    )
}

fn contents() -> impl Strategy<Value = ContentsDelta> {
    let all = (listed(), items(), items(), removals(), tombstones()).prop_map(
        |(secrets, flags, segments, removals, tombstones)| {
            ContentsDelta::All(Contents { secrets, flags, segments, removals, tombstones })
        },
    );
    let some = (prop::option::of(listed()), items(), items(), removals(), tombstones()).prop_map(
        |(secrets, flags, segments, removals, removed)| {
            ContentsDelta::Some(ContentsPatch { secrets, flags, segments, removals, removed })
        },
    );
    prop_oneof![Just(ContentsDelta::Gone), all, some]
}

fn delta() -> impl Strategy<Value = Delta> {
    let environment = (0..3u8, any::<[i64; 3]>(), contents()).prop_map(|(number, versions, contents)| {
        let [highest_ms, requested_ms, highest_updated_at_ms] = versions;
        let versions = Versions { highest_ms, requested_ms, highest_updated_at_ms };
        EnvironmentDelta { id: id(number), versions, contents }
    });
    let environments = prop::collection::vec(environment, 0..3);
    let head = (any::<[i64; 4]>(), "\\PC{0,5}", any::<bool>()).prop_map(|(numbers, text, loaded)| Head {
        edition: Edition { opened_at_ms: numbers[0], instance: text.clone() },
        highest_edition_ms: numbers[1],
        list: ListStamp { changed_at_ms: numbers[2], instance: text.clone() },
        data_file: loaded.then(|| text.into()),
        loaded,
        data_version: numbers[3],
    });
    (any::<bool>(), head, environments, prop::option::of(access())).prop_map(
        |(is_full_state, head, environments, access)| Delta { is_full_state, head, environments, access },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The twin: the same changes applied without being written.
    #[test]
    fn what_is_written_is_read_again(mut deltas in prop::collection::vec(delta(), 1..6)) {
        deltas[0].is_full_state = true;
        let (mut recovery, mut twin) = (Recovery::default(), Replay::default());
        for delta in deltas {
            apply(&mut recovery, &records(&delta, 1_000)).unwrap();
            twin.apply(delta);
        }
        prop_assert_eq!(recovery.finish(1_000), twin.finish());
    }

    #[test]
    fn a_group_that_cannot_be_read_changes_nothing(
        first in delta(), next in delta(), at: prop::sample::Index, byte: prop::sample::Index, bit in 0..8u8,
    ) {
        let whole = Delta { is_full_state: true, ..first };
        let mut recovery = Recovery::default();
        apply(&mut recovery, &records(&whole, 0)).unwrap();
        let mut damaged = records(&next, 0);
        let record = at.get(&damaged).1.len();
        let place = byte.index(record.max(1));
        let at = at.index(damaged.len());
        if let Some(byte) = damaged[at].1.get_mut(place) {
            *byte ^= 1 << bit;
        }
        // A checksum would find this; here it only must do no harm.
        if apply(&mut recovery, &damaged).is_err() {
            prop_assert_eq!(recovery.groups(), 1);
            let mut twin = Replay::default();
            twin.apply(whole);
            prop_assert_eq!(recovery.finish(0), twin.finish());
        }
    }
}

#[test]
fn a_file_has_to_begin_with_a_whole_state() {
    let part = Delta { is_full_state: false, head: Head::default(), environments: Vec::new(), access: None };
    let mut recovery = Recovery::default();
    assert_eq!(apply(&mut recovery, &records(&part, 0)), Err(ReadError::NoStart));
    assert_eq!(apply(&mut recovery, &vec![(99, vec![])]), Err(ReadError::UnknownKind(99)));
    assert_eq!(apply(&mut recovery, &vec![]), Err(ReadError::Misplaced(1)));
}

#[test]
fn items_are_cut_into_records_and_belong_to_an_environment() {
    let item = |number: usize| ItemState {
        id: number.to_string().into(),
        json: ItemJson::Read("x".repeat(1000).into()),
        version_ms: 0,
        client_version_ms: 0,
        is_served: true,
    };
    let contents = Contents {
        secrets: [].into(),
        flags: (0..1000).map(item).collect(),
        segments: vec![],
        removals: Removals { server_version_ms: 0, client_version_ms: 0, relay_watermark_ms: 0 },
        tombstones: vec![],
    };
    let versions = Versions { highest_ms: 0, requested_ms: 0, highest_updated_at_ms: 0 };
    let state = State {
        environments: vec![EnvironmentState { id: id(1), versions, contents: Some(contents) }],
        ..State::default()
    };
    let mut records = records(&Delta::from(state), 0);
    let largest = records.iter().map(|(_, body)| body.len()).max();
    assert!(records.len() > 5 && largest < Some(300_000), "{} {largest:?}", records.len());
    let mut recovery = Recovery::default();
    apply(&mut recovery, &records).unwrap();
    let state = recovery.finish(0);
    assert_eq!(state.environments[0].contents.as_ref().unwrap().flags.len(), 1000);
    records.remove(1);
    assert_eq!(apply(&mut Recovery::default(), &records), Err(ReadError::Misplaced(3)));
}

#[test]
fn grace_periods_go_on_while_the_agent_is_down_whatever_its_clock_says() {
    let secrets = vec![SecretState {
        value: secret(1),
        kind: SecretKind::Server,
        environment: id(1),
        grace_ms: Some(60),
        former: None,
    }];
    let state =
        State { access: Access { order: vec![], secrets, leaving: vec![(id(1), 50)] }, ..State::default() };
    let left = |now_ms: i64| {
        let mut recovery = Recovery::default();
        apply(&mut recovery, &records(&Delta::from(state.clone()), 1_000)).unwrap();
        let access = recovery.finish(now_ms).access;
        (access.secrets[0].grace_ms, access.leaving[0].1)
    };
    assert_eq!(left(1_020), (Some(40), 30));
    assert_eq!(left(9_999), (Some(0), 0));
    assert_eq!(left(5), (Some(60), 50));
}

/// With `WRITE_SEED` set it writes the seed anew.
#[test]
fn the_seed_of_the_fuzz_target_is_a_state() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/state/whole");
    let contents = Contents {
        secrets: [ListedSecret {
            kind: SecretKind::Server,
            project_key: "p".into(),
            env_key: "e".into(),
            value: secret(1),
        }]
        .into(),
        flags: vec![ItemState {
            id: "a".into(),
            json: ItemJson::Read(
                r#"{"id":"a","envId":"01010101-0101-0101-0101-010101010101","key":"k","variationType":"string","variations":[{"id":"v","value":"x"}],"targetUsers":[],"rules":[],"isEnabled":true,"disabledVariationId":"v","fallthrough":{"variations":[{"id":"v","rollout":[0,1]}]},"updatedAt":"2025-01-01T00:00:00Z"}"#
                    .into(),
            ),
            version_ms: 5,
            client_version_ms: 5,
            is_served: true,
        }],
        segments: vec![],
        removals: Removals { server_version_ms: 1, client_version_ms: 2, relay_watermark_ms: 3 },
        tombstones: vec![],
    };
    let versions = Versions { highest_ms: 5, requested_ms: 6, highest_updated_at_ms: 5 };
    let access = Access { order: vec![id(1)], secrets: vec![], leaving: vec![(id(1), 9)] };
    let state = State {
        head: Head { loaded: true, ..Head::default() },
        environments: vec![EnvironmentState { id: id(1), versions, contents: Some(contents) }],
        access,
    };
    let records = records(&Delta::from(state.clone()), 0);
    if std::env::var_os("WRITE_SEED").is_some() {
        let mut seed = Vec::new();
        for (index, (kind, body)) in records.iter().enumerate() {
            let last = u8::from(index + 1 == records.len());
            seed.extend([*kind, last]);
            seed.extend((body.len() as u16).to_le_bytes());
            seed.extend(body);
        }
        std::fs::write(path, seed).unwrap();
    }
    let mut rest = &std::fs::read(path).unwrap()[..];
    let mut group = Vec::new();
    while let [kind, _, first, second, after @ ..] = rest {
        let (body, next) = after.split_at(usize::from(u16::from_le_bytes([*first, *second])));
        group.push((*kind, body.to_vec()));
        rest = next;
    }
    let mut recovery = Recovery::default();
    apply(&mut recovery, &group).unwrap();
    assert_eq!(recovery.finish(0), state);
}
