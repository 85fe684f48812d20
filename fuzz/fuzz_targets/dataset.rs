//! Relay dumps, through parser and writer: what is in service can be backed up, the backup loaded again, and what SDKs get
//! of it can be read.
#![no_main]

use featbit_agent::model::parse::DatasetText;
use featbit_agent::store::{Moment, Poll, Writer, WriterOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut text = DatasetText::new(data.to_vec());
    let Ok(dataset) = text.parse() else { return };
    let mut writer = Writer::new(WriterOptions::default());
    writer.replace(&dataset, Moment::default());
    let again = writer.replace(&dataset, Moment { steady_ms: 1, wall_ms: 1 });
    assert!(again.change.is_none(), "the same data is a change");
    // serde_json refuses numbers out of range and nesting that the agent's parser takes.
    let is_plain = serde_json::from_slice::<serde_json::Value>(data).is_ok();
    for environment in writer.current().environments().filter(|_| is_plain) {
        let Poll::Body(body) = environment.server_poll(0) else { panic!("a full is always sent") };
        let read = serde_json::from_slice::<serde_json::Value>(&body.to_vec());
        let full = read.expect("what SDKs get is JSON");
        let flags = full["data"]["featureFlags"].as_array().expect("a list of flags");
        assert!(flags.iter().all(|flag| flag.get("pending").is_none()), "a change that does not count yet");
    }
    let backup = writer.current().backup().to_vec();
    let mut again = DatasetText::new(backup.clone());
    let again = again.parse().expect("a backup can be loaded");
    let mut second = Writer::new(WriterOptions::default());
    second.replace(&again, Moment::default());
    assert_eq!(second.current().backup().to_vec(), backup, "a backup of a backup differs");
});
