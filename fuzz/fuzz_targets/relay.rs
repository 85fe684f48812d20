//! A server's messages to a relay, through parser and writer: what they bring can be backed up and loaded again,
//! and the same message a second time changes nothing.
#![no_main]

use featbit_agent::model::dataset::Dataset;
use featbit_agent::model::parse::{Changes, DatasetText};
use featbit_agent::protocol::to_relay::ToRelay;
use featbit_agent::store::{Moment, Writer, WriterOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut writer = Writer::new(WriterOptions::default());
    // One message a line: a conversation.
    for line in data.split(|byte| *byte == b'\n').take(8) {
        let mut text = DatasetText::new(line.to_vec());
        let Ok(message) = ToRelay::parse(&mut text) else { continue };
        apply(&mut writer, &message);
        assert!(!apply(&mut writer, &message), "the same message is a change");
    }
    let backup = writer.current().backup().to_vec();
    let mut again = DatasetText::new(backup);
    again.parse().expect("a backup can be loaded");
});

/// Applies a message; says whether it changed anything.
fn apply(writer: &mut Writer, message: &ToRelay<'_>) -> bool {
    let published = match message {
        ToRelay::Full { dataset, .. } => writer.replace(dataset, Moment::default()),
        ToRelay::Patch(Dataset { environments, .. }) => {
            let flags: Vec<_> = environments.iter().flat_map(|one| one.flags.clone()).collect();
            let segments: Vec<_> = environments.iter().flat_map(|one| one.segments.clone()).collect();
            writer.upsert(&flags, &segments, Moment::default())
        }
        ToRelay::Change(Changes { flags, segments, .. }) => writer.upsert(flags, segments, Moment::default()),
        ToRelay::Environment(Dataset { environments, .. }) => {
            let mut changed = false;
            for environment in environments {
                changed |= writer.replace_items(environment, Moment::default()).change.is_some();
            }
            return changed;
        }
        ToRelay::Pong
        | ToRelay::Verified(_)
        | ToRelay::Path(_)
        | ToRelay::State(_)
        | ToRelay::UnknownSync(_)
        | ToRelay::Unknown(_) => return false,
    };
    published.change.is_some()
}
