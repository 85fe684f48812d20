//! How long it takes until new data is in service, and until an SDK has its answer.
//!
//! `cargo bench --bench store` prints, before criterion's figures, the two ratios that the store is held to. Each
//! is taken between two sides that run in turn, since machines differ by more than code does.

#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use featbit_agent::model::environment_id::EnvironmentId;
use featbit_agent::model::parse::{DatasetText, with_flag};
use featbit_agent::model::timestamp::format_iso8601;
use featbit_agent::model::user::User;
use featbit_agent::protocol::secret::Secret;
use featbit_agent::store::{EnvironmentSlot, PatchForm, Writer, WriterOptions};

const FLAGS: usize = 10_000;
const SEGMENTS: usize = 100;
const BORN_MS: i64 = 1_735_689_600_000;

fn environment() -> EnvironmentId {
    EnvironmentId::from_bytes([7; 16])
}

/// A flag of about one kilobyte: a target, two rules, one of them on a segment, and a percentage rollout.
fn flag(index: usize, updated_at_ms: i64) -> String {
    let guid = |part: usize| format!("{index:08x}-0000-4000-8000-{part:012x}");
    let (id, on, off) = (guid(0), guid(1), guid(2));
    let (env, updated, segment) =
        (environment(), format_iso8601(updated_at_ms), segment_id(index % SEGMENTS));
    format!(
        r#"{{"id":"{id}","envId":"{env}","name":"Flag {index}","description":"","key":"flag-{index}","variationType":"boolean","variations":[{{"id":"{on}","name":"on","value":"true"}},{{"id":"{off}","name":"off","value":"false"}}],"targetUsers":[{{"keyIds":["user-{index}","user-b"],"variationId":"{on}"}}],"rules":[{{"id":"r1","name":"beta","dispatchKey":null,"includedInExpt":false,"conditions":[{{"id":"c1","property":"User is in segment","op":null,"value":"[\"{segment}\"]"}}],"variations":[{{"id":"{on}","rollout":[0,1],"exptRollout":1}}]}},{{"id":"r2","name":"country","dispatchKey":null,"includedInExpt":false,"conditions":[{{"id":"c2","property":"country","op":"IsOneOf","value":"[\"de\",\"fr\"]"}},{{"id":"c3","property":"age","op":"BiggerEqualThan","value":"18"}}],"variations":[{{"id":"{on}","rollout":[0,0.3],"exptRollout":1}},{{"id":"{off}","rollout":[0.3,1],"exptRollout":1}}]}}],"isEnabled":true,"disabledVariationId":"{off}","fallthrough":{{"dispatchKey":null,"includedInExpt":true,"variations":[{{"id":"{on}","rollout":[0,0.5],"exptRollout":1}},{{"id":"{off}","rollout":[0.5,1],"exptRollout":1}}]}},"exptIncludeAllTargets":false,"tags":[],"createdAt":"{updated}","updatedAt":"{updated}","isArchived":false}}"#
    )
}

fn segment_id(index: usize) -> String {
    format!("{index:08x}-0000-4000-9000-000000000000")
}

fn dump() -> String {
    let env = environment();
    let flags: Vec<_> = (0..FLAGS).map(|index| flag(index, BORN_MS + index as i64)).collect();
    let segment = |index: usize| {
        let (id, updated) = (segment_id(index), format_iso8601(BORN_MS - 1));
        format!(
            r#"{{"id":"{id}","envId":"{env}","name":"s","description":"","included":["user-a"],"excluded":[],"rules":[],"updatedAt":"{updated}","isArchived":false}}"#
        )
    };
    let segments: Vec<_> = (0..SEGMENTS).map(segment).collect();
    let value = Secret::build([1; 16], env);
    format!(
        r#"{{"eventType":"rp_full","items":[{{"envId":"{env}","secrets":[{{"type":"server","projectKey":"p","envId":"{env}","envKey":"e","value":"{}"}}],"featureFlags":[{}],"segments":[{}]}}]}}"#,
        value.as_str(),
        flags.join(","),
        segments.join(",")
    )
}

fn tape(bytes: &mut [u8]) {
    black_box(simd_json::to_tape(bytes).expect("the dump is JSON").0.len());
}

/// From the dump's text to a served snapshot.
fn load(bytes: Vec<u8>) -> (DatasetText, Writer) {
    let mut text = DatasetText::new(bytes);
    let mut writer = Writer::new(WriterOptions::default());
    let published = writer.replace(&text.parse().expect("the dump is valid"), 0, false);
    assert!(published.change.is_some());
    (text, writer)
}

fn build(text: &mut DatasetText) -> Writer {
    let mut writer = Writer::new(WriterOptions::default());
    writer.replace(&text.parse().expect("the dump is valid"), 0, false);
    writer
}

fn upsert(writer: &mut Writer, raw: &str) {
    let change = with_flag(raw, |flag| writer.upsert(&[flag], &[], 0).change).expect("the flag is valid");
    black_box(change.expect("the flag is newer"));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn ratios(dump: &str) {
    let (mut tapes, mut loads, mut builds, mut patches) = (vec![], vec![], vec![], vec![]);
    let (mut text, mut writer) = load(dump.as_bytes().to_vec());
    // Somebody has asked for a full, as server SDKs do.
    let slot = EnvironmentSlot(0);
    if let Some(environment) = writer.current().environment(slot) {
        environment.server_sync(0, PatchForm::Batch, &mut Vec::new());
    }
    for round in 0..21 {
        let mut bytes = dump.as_bytes().to_vec();
        tapes.push(timed(|| tape(&mut bytes)));
        let bytes = dump.as_bytes().to_vec();
        let mut served = None;
        loads.push(timed(|| served = Some(load(bytes))));
        drop(served);
        let mut dataset = text.parse().expect("the dump is valid");
        let mut fresh = Writer::new(WriterOptions::default());
        builds.push(timed(|| drop(black_box(fresh.replace(&dataset, 0, false)))));
        dataset.warnings.clear();
        for index in 0..100 {
            let raw = flag(index * 97, BORN_MS + 1_000_000 + round * 1_000 + index as i64);
            patches.push(timed(|| upsert(&mut writer, &raw)));
        }
    }
    let (tape, load, build, patch) = (median(tapes), median(loads), median(builds), median(patches));
    let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
    println!("dump of {FLAGS} flags, {} bytes", dump.len());
    println!("served snapshot / tape: {load:?} / {tape:?} = {:.2} (at most 4)", ratio(load, tape));
    println!(
        "build from scratch / patch of one flag: {build:?} / {patch:?} = {:.0} (at least 300)",
        ratio(build, patch)
    );
}

fn benches(c: &mut Criterion) {
    let dump = dump();
    ratios(&dump);
    let mut group = c.benchmark_group("store");
    group.sample_size(10);
    group.bench_function("tape of 10,000 flags", |b| {
        b.iter_batched_ref(|| dump.as_bytes().to_vec(), |bytes| tape(bytes), BatchSize::LargeInput);
    });
    group.bench_function("dump of 10,000 flags to served snapshot", |b| {
        b.iter_batched(|| dump.as_bytes().to_vec(), load, BatchSize::LargeInput);
    });
    let (mut text, mut writer) = load(dump.as_bytes().to_vec());
    group.bench_function("the same dump again", |b| {
        b.iter(|| {
            let dataset = text.parse().expect("the dump is valid");
            assert!(writer.replace(&dataset, 0, false).change.is_none());
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
