//! Reading a dump of 10,000 flags, beside what simd-json alone takes for the same bytes.
#![allow(clippy::unwrap_used, reason = "a bench that cannot prepare its input has to stop")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use featbit_agent::model::parse::{DatasetText, with_flag};
use featbit_agent::model::timestamp::parse_iso8601_ms;

const FLAGS: usize = 10_000;
const ENV: &str = "84e8a446-59bc-49f5-bd3a-12313237697e";
const SEGMENT: &str = "f05acdbd-c226-4a73-aec0-46c47ce3f21d";

/// A flag as in FeatBit's dumps: two variations, a target, a rule with two or three conditions, a rollout.
fn flag(index: usize) -> String {
    let id = format!("df81e704-e413-4d35-bdfc-{index:012x}");
    let (on, off) =
        (format!("ae947858-f09e-4c39-a77b-{index:012x}"), format!("4d8aa1f0-b1cd-43c0-9c60-{index:012x}"));
    let users = (0..index % 8).map(|user| format!("\"user-{index}-{user}\"")).collect::<Vec<_>>().join(",");
    let last = match index % 3 {
        0 => format!(r#",{{"id":"{on}","property":"User is in segment","op":"","value":"[\"{SEGMENT}\"]"}}"#),
        1 => format!(
            r#",{{"id":"{off}","property":"country","op":"IsOneOf","value":"[\"cn\",\"us\",\"de\"]"}}"#
        ),
        _ => String::new(),
    };
    let seconds = index % 60;
    format!(
        r#"{{"id":"{id}","envId":"{ENV}","name":"flag {index}","description":"turns feature {index} on","key":"flag-{index}","variationType":"boolean","variations":[{{"id":"{on}","name":"on","value":"true"}},{{"id":"{off}","name":"off","value":"false"}}],"targetUsers":[{{"keyIds":[{users}],"variationId":"{on}"}}],"rules":[{{"id":"{id}","name":"rule {index}","dispatchKey":null,"includedInExpt":false,"conditions":[{{"id":"{id}","property":"age","op":"BiggerThan","value":"18"}}{last}],"variations":[{{"id":"{on}","rollout":[0,0.35],"exptRollout":0}},{{"id":"{off}","rollout":[0.35,1],"exptRollout":0}}]}}],"isEnabled":true,"disabledVariationId":"{off}","fallthrough":{{"dispatchKey":null,"includedInExpt":true,"variations":[{{"id":"{on}","rollout":[0,1],"exptRollout":1}}]}},"exptIncludeAllTargets":true,"tags":["team-{}"],"createdAt":"2025-03-01T00:00:{seconds:02}.0782311Z","updatedAt":"2025-03-01T00:00:{seconds:02}.0782311Z","isArchived":false}}"#,
        index % 7
    )
}

fn dump() -> Vec<u8> {
    let mut text = format!(
        r#"{{"eventType":"rp_full","items":[{{"envId":"{ENV}","secrets":[{{"type":"server","projectKey":"webapp","envId":"{ENV}","envKey":"dev","value":"XarRURcPx0mp8-8VwuqjzQRqTohLxZ9Um9OhIxMjdpfg"}}],"featureFlags":["#
    );
    for index in 0..FLAGS {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}{}", flag(index)).unwrap();
    }
    write!(text, r#"],"segments":[{{"id":"{SEGMENT}","envId":"{ENV}","name":"adults","included":[],"excluded":[],"rules":[],"updatedAt":"2025-03-01T00:00:01.000Z","isArchived":false}}]}}]}}"#).unwrap();
    text.into_bytes()
}

fn parse(c: &mut Criterion) {
    let bytes = dump();
    let dataset = &mut DatasetText::new(bytes.clone());
    let dataset = dataset.parse().unwrap();
    assert_eq!((dataset.environments[0].flags.len(), dataset.warnings.len()), (FLAGS, 0));
    let mut group = c.benchmark_group("dataset");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(40);
    group.measurement_time(Duration::from_secs(8));
    group.bench_function("tape alone", |b| {
        b.iter_batched_ref(
            || bytes.clone(),
            |bytes| black_box(simd_json::to_tape(bytes).unwrap().0.len()),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("whole dataset", |b| {
        b.iter_batched_ref(
            || DatasetText::new(bytes.clone()),
            |text| black_box(text.parse().unwrap().environments.len()),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn items(c: &mut Criterion) {
    let raw = flag(0);
    c.bench_function("one flag", |b| {
        b.iter(|| with_flag(black_box(&raw), |flag| flag.updated_at_ms).unwrap());
    });
    c.bench_function("timestamp", |b| {
        b.iter(|| parse_iso8601_ms(black_box("2025-03-01T00:00:04.0782311Z")).unwrap());
    });
}

criterion_group!(benches, parse, items);
criterion_main!(benches);
