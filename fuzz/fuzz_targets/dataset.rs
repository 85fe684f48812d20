//! Relay dumps, through parser and writer: what is in service can be backed up, and the backup loaded again.
#![no_main]

use featbit_agent::model::parse::DatasetText;
use featbit_agent::store::{Moment, Writer, WriterOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut text = DatasetText::new(data.to_vec());
    let Ok(dataset) = text.parse() else { return };
    let mut writer = Writer::new(WriterOptions::default());
    writer.replace(&dataset, Moment::default());
    let later = Moment { steady_ms: 1, wall_ms: 1 };
    assert!(writer.replace(&dataset, later).change.is_none(), "the same data is a change");
    let backup = writer.current().backup().to_vec();
    let mut again = DatasetText::new(backup.clone());
    let again = again.parse().expect("a backup can be loaded");
    let mut second = Writer::new(WriterOptions::default());
    second.replace(&again, Moment::default());
    assert_eq!(second.current().backup().to_vec(), backup, "a backup of a backup differs");
});
