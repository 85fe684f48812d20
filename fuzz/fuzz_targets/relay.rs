//! A server's messages to a relay, through parser and writer: what they bring can be backed up and loaded again,
//! and the same message a second time changes nothing.
#![no_main]

use featbit_agent::model::dataset::Dataset;
use featbit_agent::model::parse::{DatasetText, ServerMessage};
use featbit_agent::store::{Moment, Writer, WriterOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut writer = Writer::new(WriterOptions::default());
    // One message a line: a conversation.
    for line in data.split(|byte| *byte == b'\n').take(8) {
        let mut text = DatasetText::new(line.to_vec());
        let Ok(message) = text.parse_message() else { continue };
        apply(&mut writer, &message);
        assert!(!apply(&mut writer, &message), "the same message is a change");
    }
    let backup = writer.current().backup().to_vec();
    let mut again = DatasetText::new(backup);
    again.parse().expect("a backup can be loaded");
});

/// Applies a message; says whether it changed anything.
fn apply(writer: &mut Writer, message: &ServerMessage<'_>) -> bool {
    let published = match message {
        ServerMessage::Full { dataset, .. } => writer.replace(dataset, Moment::default()),
        ServerMessage::Patch(Dataset { environments, .. }) => {
            let flags: Vec<_> = environments.iter().flat_map(|one| one.flags.clone()).collect();
            let segments: Vec<_> = environments.iter().flat_map(|one| one.segments.clone()).collect();
            writer.upsert(&flags, &segments, Moment::default())
        }
        ServerMessage::Change { flags, segments, .. } => writer.upsert(flags, segments, Moment::default()),
        ServerMessage::Environment(Dataset { environments, .. }) => {
            let mut changed = false;
            for environment in environments {
                changed |= writer.replace_items(environment, Moment::default()).change.is_some();
            }
            return changed;
        }
        ServerMessage::Verified(_)
        | ServerMessage::Path(_)
        | ServerMessage::State(_)
        | ServerMessage::OtherSync(_)
        | ServerMessage::Other(_) => return false,
    };
    published.change.is_some()
}
