//! How long it takes until new data is in service, and until an SDK has its answer.
//!
//! The ratios that the store is measured by are those of `cargo bench --bench ratios`, which pairs the two sides.

#![allow(clippy::expect_used)]

mod fixtures;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use featbit_agent::model::user::User;
use featbit_agent::store::{EnvironmentSlot, Moment, PatchForm};
use fixtures::dump::{BORN_MS, FLAGS, build, dump, flag, load, tape, upsert};

fn benches(c: &mut Criterion) {
    let dump = dump();
    let mut group = c.benchmark_group("store");
    group.sample_size(10);
    group.bench_function("tape of 10,000 flags", |b| {
        b.iter_batched_ref(
            || dump.as_bytes().to_vec(),
            |bytes| black_box(tape(bytes)),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("dump of 10,000 flags to served snapshot", |b| {
        b.iter_batched(|| dump.as_bytes().to_vec(), load, BatchSize::LargeInput);
    });
    let (mut text, mut writer) = load(dump.as_bytes().to_vec());
    group.bench_function("the same dump again", |b| {
        b.iter(|| {
            let dataset = text.parse().expect("the dump is valid");
            assert!(writer.replace(&dataset, Moment::default()).change.is_none());
        });
    });
    group.sample_size(100);
    let slot = EnvironmentSlot(0);
    group.bench_function("first full of 10,000 flags", |b| {
        b.iter_batched_ref(
            || build(&mut text),
            |writer| {
                let environment = writer.current().environment(slot).expect("it was loaded");
                let mut out = Vec::new();
                environment.server_sync(0, PatchForm::Batch, &mut out);
                out
            },
            BatchSize::LargeInput,
        );
    });
    let mut version_ms = BORN_MS + 1_000_000_000;
    group.bench_function("patch of one flag among 10,000", |b| {
        b.iter_batched(
            || {
                version_ms += 1;
                flag(version_ms as usize % FLAGS, version_ms)
            },
            |raw| upsert(&mut writer, &raw),
            BatchSize::SmallInput,
        );
    });
    let snapshot = writer.current().clone();
    let environment = snapshot.environment(slot).expect("it was loaded");
    group.bench_function("sync by timestamp, one flag newer", |b| {
        b.iter(|| {
            let mut out = Vec::new();
            environment.server_sync(version_ms - 1, PatchForm::Batch, &mut out);
            out
        });
    });
    group.bench_function("push of the last change", |b| {
        b.iter(|| {
            let mut out = Vec::new();
            environment.server_since(snapshot.sequence() - 1, PatchForm::Batch, &mut out);
            out
        });
    });
    let user =
        User::new("user-42", Some("name"), &[("country", Some("de")), ("age", Some("20"))]).expect("small");
    group.bench_function("client payload of 10,000 flags", |b| {
        let mut out = Vec::new();
        b.iter(|| {
            out.clear();
            environment.client_sync(snapshot.segments(), &user, 0, &mut out)
        });
    });
    group.finish();
}

criterion_group!(store, benches);
criterion_main!(store);
