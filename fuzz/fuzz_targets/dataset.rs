//! Relay dumps, through parser and writer: what is in service can be backed up, and the backup loaded again.
#![no_main]

use featbit_agent::model::parse::DatasetText;
use featbit_agent::store::{Writer, WriterOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (stamp, data) = match data.split_last() {
        Some((b'!', data)) => (true, data),
        _ => (false, data),
    };
    let mut text = DatasetText::new(data.to_vec());
    let Ok(dataset) = text.parse() else { return };
    let mut writer = Writer::new(WriterOptions::default());
    writer.replace(&dataset, 0, stamp);
    assert!(writer.replace(&dataset, 1, stamp).change.is_none(), "the same data is a change");
    let backup = writer.current().backup().to_vec();
    let mut again = DatasetText::new(backup.clone());
    let again = again.parse().expect("a backup can be loaded");
    let mut second = Writer::new(WriterOptions::default());
    second.replace(&again, 0, false);
    assert_eq!(second.current().backup().to_vec(), backup, "a backup of a backup differs");
});
