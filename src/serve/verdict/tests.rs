//! When an unknown secret is refused while a server is followed: only after a full sync that was requested after the secret
//! first came.

use std::time::Duration;

use crate::ingest::ResyncReason;
use crate::model::secret::SecretKind;
use crate::store::{Writer, WriterOptions};

use crate::serve::tests::Bench;

/// A bench that follows a server, and has what its first full sync brought.
fn following() -> Bench {
    let mut bench = Bench::new(|_| {});
    bench.writer =
        Writer::new(WriterOptions { revocation_grace_ms: 0, follows: true, ..WriterOptions::default() });
    full_sync(&mut bench, SecretKind::Server);
    bench
}

/// A full sync, from the request to the answer, that lists the secret of one kind.
fn full_sync(bench: &mut Bench, listed: SecretKind) {
    let number = bench.server.parts.shared.ingest.following().begin_full();
    bench.writer.set_answered(number);
    bench.load_with_secrets(&[listed], &[("flag", 1)], "v");
}

fn takes_resync_request(bench: &Bench) -> bool {
    bench.server.parts.shared.ingest.following().take_resync_reason(ResyncReason::UnknownSecret)
}

#[test]
fn an_unknown_secret_waits_for_a_full_sync_and_is_accepted_if_that_brings_it() {
    let mut bench = following();
    let (_, wire) = bench.connect(SecretKind::Client);
    assert_eq!(wire.close_code(), None);
    assert!(takes_resync_request(&bench));
    full_sync(&mut bench, SecretKind::Client);
    bench.later(Duration::from_secs(60));
    assert_eq!(wire.close_code(), None);
}

#[test]
fn an_unknown_secret_is_refused_by_the_full_sync_that_lacks_it_and_later_ones_at_once() {
    let mut bench = following();
    let (_, wire) = bench.connect(SecretKind::Client);
    let (_, other) = bench.connect(SecretKind::Client);
    assert!(takes_resync_request(&bench));
    full_sync(&mut bench, SecretKind::Server);
    assert_eq!(wire.close_code(), Some(4003));
    assert_eq!(other.close_code(), Some(4003));
    assert_eq!(bench.connect(SecretKind::Client).1.close_code(), Some(4003));
    assert!(!takes_resync_request(&bench), "no full sync is requested for a secret that is refused already");
}

#[test]
fn a_full_sync_under_way_when_the_secret_first_comes_does_not_refuse_it() {
    let mut bench = following();
    let number = bench.server.parts.shared.ingest.following().begin_full();
    let (_, wire) = bench.connect(SecretKind::Client);
    bench.writer.set_answered(number);
    bench.load_with_secrets(&[SecretKind::Server], &[("flag", 1)], "v");
    assert_eq!(wire.close_code(), None);
    full_sync(&mut bench, SecretKind::Client);
    bench.later(Duration::from_secs(60));
    assert_eq!(wire.close_code(), None);
}

#[test]
fn without_a_full_sync_in_time_it_is_closed_with_1011_and_remembered() {
    let mut bench = following();
    let (_, wire) = bench.connect(SecretKind::Client);
    bench.later(Duration::from_secs(6));
    // Other data does not prolong the wait.
    bench.load_with_secrets(&[SecretKind::Server], &[("flag", 1), ("other", 2)], "v");
    bench.later(Duration::from_secs(5));
    assert_eq!(wire.close_code(), Some(1011));
    full_sync(&mut bench, SecretKind::Server);
    assert_eq!(bench.connect(SecretKind::Client).1.close_code(), Some(4003));
}

#[test]
fn a_secret_created_after_its_refusal_is_accepted_once_the_refusal_is_old() {
    let mut bench = following();
    let (_, refused) = bench.connect(SecretKind::Client);
    full_sync(&mut bench, SecretKind::Server);
    assert_eq!(refused.close_code(), Some(4003));
    takes_resync_request(&bench);
    bench.later(Duration::from_secs(61));
    let (_, wire) = bench.connect(SecretKind::Client);
    assert!(takes_resync_request(&bench));
    full_sync(&mut bench, SecretKind::Client);
    bench.later(Duration::from_secs(60));
    assert_eq!(wire.close_code(), None);
}

#[test]
fn without_data_no_full_sync_is_requested_since_the_first_is_under_way() {
    let mut bench = Bench::new(|_| {});
    bench.writer = Writer::new(WriterOptions { follows: true, ..WriterOptions::default() });
    let (_, wire) = bench.connect(SecretKind::Client);
    assert!(!takes_resync_request(&bench));
    full_sync(&mut bench, SecretKind::Client);
    bench.later(Duration::from_secs(60));
    assert_eq!(wire.close_code(), None);
}
