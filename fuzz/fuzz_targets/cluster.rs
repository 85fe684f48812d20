//! What a Redis may hold or publish: a record that is read is written the same again; anything else is left alone.
#![no_main]

use featbit_agent::persist::redis::record::{HEAD_BYTES, Head, Record};
use featbit_agent::persist::redis::text::Announcement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(record) = Record::parse("e:f:1", data) {
        // The hash in the head only finds differences, so it may be another one.
        let hash = HEAD_BYTES - 16..HEAD_BYTES;
        let written = record.value();
        assert_eq!(written[..hash.start], data[..hash.start]);
        assert_eq!(written[hash.end..], data[hash.end..]);
        assert!(Head::parse(&data[..HEAD_BYTES]).is_some());
    }
    if let Some(announcement) = Announcement::parse(data) {
        assert!(std::str::from_utf8(data).is_ok(), "{announcement:?}");
    }
});
