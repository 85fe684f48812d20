//! Records and the register that another program may have put into Redis: what cannot be read is left out, and the rest is a
//! message that the parser reads.
//!
//! The input is the register, a zero byte, and then fields and bodies with zero bytes between them.
#![no_main]

use featbit_agent::model::parse::DatasetText;
use featbit_agent::persist::redis::Record;
use featbit_agent::protocol::to_relay::ToRelay;
use featbit_agent::sync::redis::{Register, Sorted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0);
    let register = Register::parse(parts.next().unwrap_or_default());
    let mut records = Vec::new();
    while let (Some(field), Some(body)) = (parts.next(), parts.next()) {
        records.push(Record {
            field: String::from_utf8_lossy(field).into(),
            stamp_ms: body.len() as i64,
            removed: body.first().is_some_and(u8::is_ascii_digit),
            place: records.len() as u32 % 3,
            version_ms: 5,
            client_version_ms: 7,
            body: body.into(),
        });
    }
    let sorted = Sorted::of(&records);
    let mut patch = DatasetText::new(sorted.patch());
    match ToRelay::parse(&mut patch) {
        Ok(ToRelay::Patch(mut dataset)) => sorted.set_sent_versions(&mut dataset),
        other => panic!("the records do not make a patch: {other:?}"),
    }
    if let Ok(register) = register {
        let mut full = DatasetText::new(sorted.full(&register));
        // Secrets of the register may be refused; that is an error, not another message.
        if let Ok(message) = ToRelay::parse(&mut full) {
            assert!(matches!(message, ToRelay::Full { .. }), "{message:?}");
        }
    }
});
