//! How graces end where a server is followed: by what it says, never by the clock alone.

use super::support::*;
use crate::model::secret::SecretKind;
use crate::store::{AwaitingSync, Writer, WriterOptions};

const GONE: (u8, u8) = (1, 1);

fn whole() -> World {
    world(1, vec![thing("a", 10, "A")], vec![])
}

fn without_secret() -> World {
    let mut world = whole();
    world.secrets.remove(0);
    world
}

/// Takes in the answer to the full sync of this number.
fn answer(writer: &mut Writer, number: u64, worlds: &[World], now_ms: i64) {
    writer.set_answered(number);
    load_at(writer, worlds, now_ms);
}

/// A writer that follows a server, with a secret whose grace of 100 ms became due when two full syncs had been requested.
fn due() -> Writer {
    let options = WriterOptions { revocation_grace_ms: 100, follows: true, ..WriterOptions::default() };
    let mut writer = Writer::new(options);
    answer(&mut writer, 1, &[whole()], 0);
    answer(&mut writer, 2, &[without_secret()], 1_000);
    assert_eq!(writer.next_expiry_ms(), Some(1_100));
    assert!(writer.expire(at(1_100)).is_none(), "the clock ends nothing");
    assert_eq!(writer.await_full_sync(1_099, 2), AwaitingSync::default());
    assert_eq!(writer.await_full_sync(1_100, 2), AwaitingSync { all: 1, new: 1 });
    assert_eq!(
        writer.await_full_sync(9_999, 7),
        AwaitingSync { all: 1, new: 0 },
        "said once, and waits for no later one"
    );
    assert_eq!(writer.next_expiry_ms(), None, "nothing to wake up for");
    writer
}

fn is_known(writer: &Writer) -> bool {
    writer.current().secret(&secret(GONE.0, GONE.1)).is_some()
}

#[test]
fn a_due_grace_ends_only_by_a_full_sync_requested_after_that() {
    let mut writer = due();
    // An item, and a full sync that was under way.
    upsert(&mut writer, 1, &[thing("a", 20, "B")], &[]);
    answer(&mut writer, 2, &[without_secret()], 5_000);
    assert!(writer.expire(at(5_000)).is_none() && is_known(&writer));
    answer(&mut writer, 3, &[without_secret()], 5_000);
    let change = writer.expire(at(5_000)).unwrap();
    assert!(change.secrets_changed && !is_known(&writer));
    assert_eq!(writer.await_full_sync(9_999, 3), AwaitingSync::default());
}

#[test]
fn a_secret_that_is_listed_again_is_no_longer_in_its_grace() {
    let mut writer = due();
    answer(&mut writer, 3, &[whole()], 5_000);
    assert!(writer.expire(at(5_000)).is_none());
    assert_eq!(writer.await_full_sync(9_999, 3), AwaitingSync::default());
    // Gone once more: everything begins anew.
    answer(&mut writer, 4, &[without_secret()], 6_000);
    assert!(writer.expire(at(6_000)).is_none() && is_known(&writer));
    assert_eq!(writer.next_expiry_ms(), Some(6_100));
}

#[test]
fn a_provisional_full_sync_ends_a_grace_only_when_it_is_verified() {
    let mut writer = due();
    load_at(&mut writer, &[without_secret()], 5_000);
    assert!(writer.expire(at(5_000)).is_none() && is_known(&writer));
    writer.confirm(3).unwrap();
    assert!(writer.expire(at(5_000)).is_some() && !is_known(&writer));
}

#[test]
fn a_secret_of_another_type_serves_the_former_one_until_a_full_sync() {
    let options = WriterOptions { revocation_grace_ms: 100, follows: true, ..WriterOptions::default() };
    let mut writer = Writer::new(options);
    let mut other_type = whole();
    other_type.secrets[0].0 = SecretKind::Client;
    answer(&mut writer, 1, &[whole()], 0);
    answer(&mut writer, 2, std::slice::from_ref(&other_type), 0);
    assert_eq!(writer.await_full_sync(100, 2), AwaitingSync { all: 1, new: 1 });
    let former = |writer: &Writer| writer.current().secret(&secret(GONE.0, GONE.1)).unwrap().former;
    assert!(writer.expire(at(5_000)).is_none() && former(&writer).is_some());
    answer(&mut writer, 3, &[other_type], 5_000);
    assert!(writer.expire(at(5_000)).is_some() && former(&writer).is_none());
    assert_eq!(writer.await_full_sync(9_999, 3), AwaitingSync::default());
}

#[test]
fn a_removed_environment_waits_for_a_full_sync_too() {
    let options = WriterOptions { revocation_grace_ms: 0, follows: true, ..WriterOptions::default() };
    let mut writer = Writer::new(options);
    let other = world(2, vec![thing("c", 5, "C")], vec![]);
    answer(&mut writer, 1, &[whole(), other.clone()], 0);
    answer(&mut writer, 2, std::slice::from_ref(&other), 0);
    // Its two secrets, and itself.
    assert_eq!(writer.await_full_sync(0, 2), AwaitingSync { all: 3, new: 3 });
    assert!(writer.expire(at(1)).is_none() && is_known(&writer));
    let removed = slot(writer.current(), 1);
    answer(&mut writer, 3, &[other], 2);
    writer.expire(at(2)).unwrap();
    assert!(writer.current().environment(removed).is_none() && !is_known(&writer));
}
