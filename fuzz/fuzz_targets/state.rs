//! The contents of a backup file's records: whatever they are, they give a state or an error, and a state can be restored or
//! is refused.
//!
//! The input is one group of records after another: a byte of its kind, a byte that is odd for the last of its group, two
//! bytes of its length, its body.
#![no_main]

use featbit_agent::ingest::journal::Recovery;
use featbit_agent::store::{Moment, Writer, WriterOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut recovery = Recovery::default();
    let mut group: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut rest = data;
    while let [kind, last, first, second, after @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*first, *second])).min(after.len());
        let (body, next) = after.split_at(len);
        group.push((*kind, body.to_vec()));
        rest = next;
        if last % 2 == 1 && recovery.apply(std::mem::take(&mut group).into_iter()).is_err() {
            break;
        }
    }
    let state = recovery.finish(1_000);
    let now = Moment { steady_ms: 0, wall_ms: 1_000 };
    if let Ok(writer) = Writer::restore(WriterOptions::default(), state, now) {
        let _ = writer.current().backup();
        let _ = Writer::restore(WriterOptions::default(), writer.state(now), now).expect("its own state");
    }
});
