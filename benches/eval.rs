//! What one evaluation costs beside a bare MD5 of its dispatch key, and a client payload beside its serialization.
//!
//! Read the ratios, not the figures, and those of `cargo bench --bench ratios` rather than these: it pairs the
//! two sides.

mod fixtures;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use featbit_agent::eval::Compiler;
use fixtures::flags;
use md5::{Digest, Md5};

fn one_evaluation(criterion: &mut Criterion) {
    let user = flags::user();
    let (kinds, segments) = flags::kinds(&user);
    let mut group = criterion.benchmark_group("md5");
    let text = format!("{}{}", flags::KEY, user.key_id());
    group.bench_function("one block", |bencher| bencher.iter(|| Md5::digest(black_box(&text))));
    group.finish();
    let mut group = criterion.benchmark_group("evaluate");
    for (name, flag) in &kinds {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| black_box(flag).evaluate(black_box(&user), black_box(&segments)));
        });
    }
    group.finish();
}

fn client_payload(criterion: &mut Criterion) {
    let user = flags::user();
    let (compiled, decided) = flags::thousand_compiled(&user);
    let mut group = criterion.benchmark_group("client payload");
    group.bench_function("evaluate and assemble", |bencher| {
        bencher.iter(|| flags::assemble(black_box(&compiled), black_box(&user)));
    });
    group.bench_function("serde_json of the decided", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&decided)));
    });
    group.finish();
}

fn compiling(criterion: &mut Criterion) {
    let keys = flags::thousand_keys();
    let defs = flags::thousand(&keys);
    criterion.bench_function("compile/1,000 flags", |bencher| {
        let mut compiler = Compiler::default();
        bencher.iter(|| defs.iter().map(|def| compiler.flag(def, &mut Vec::new())).collect::<Vec<_>>());
    });
}

criterion_group!(benches, one_evaluation, client_payload, compiling);
criterion_main!(benches);
