//! A line of a local file: one event with when it came, from which environment, and by which kind of secret.
//!
//! Must not change what an event says. Pure.

use crate::insights::events::Batch;
use crate::model::timestamp::format_iso8601;
use crate::wire::json::append_string;

/// 9999-12-31T23:59:59.999Z: later times have a form that nobody reads.
const LAST_MS: i64 = 253_402_300_799_999;

/// `ms` as the files write it. Times outside the years 1970 to 9999 become the first or the last moment of these.
pub fn time(ms: i64) -> String {
    format_iso8601(ms.clamp(0, LAST_MS))
}

/// Appends a line for each event of `batch`.
pub fn append_lines(batch: &Batch, label: &str, lines: &mut Vec<u8>) {
    let mut head = Vec::with_capacity(128);
    head.extend_from_slice(b"{\"receivedAt\":\"");
    head.extend_from_slice(time(batch.received_ms).as_bytes());
    head.extend_from_slice(b"\",\"environment\":");
    append_string(label, &mut head);
    head.extend_from_slice(b",\"secret\":\"");
    head.extend_from_slice(batch.kind.as_str().as_bytes());
    head.extend_from_slice(b"\",\"event\":");
    lines.reserve(batch.events.text().len() + batch.events.len() * (head.len() + 2));
    for event in batch.events.iter() {
        lines.extend_from_slice(&head);
        append_on_one_line(event, lines);
        lines.extend_from_slice(b"}\n");
    }
}

/// Appends the JSON text of a value with spaces in place of line breaks. Within strings JSON has none, so the value stays the
/// same.
pub fn append_on_one_line(json: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(json);
    for byte in out.iter_mut().skip(start) {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::insights::events::{Events, Form};
    use crate::model::environment_id::EnvironmentId;
    use crate::model::secret::SecretKind;
    use crate::protocol::secret::Secret;

    /// Any value of JSON, with any text.
    pub(crate) fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\n\r\" \\\\a]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn batch(texts: &[String], received_ms: i64) -> Batch {
        let mut events = Events::builder(0);
        texts.iter().for_each(|text| events.add(text.as_bytes()));
        let environment = EnvironmentId::from_bytes([7; 16]);
        Batch {
            environment,
            secret: secret(),
            kind: SecretKind::Client,
            form: Form::Raw,
            received_ms,
            events: events.build(),
        }
    }

    fn secret() -> Secret {
        Secret::parse("v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w").unwrap()
    }

    proptest! {
        #[test]
        fn each_event_is_one_line_and_says_what_it_said(
            values in prop::collection::vec(value(), 1..4),
            pretty in any::<bool>(),
            carriage in any::<bool>(),
            label in any::<String>(),
        ) {
            let text = |value: &Value| {
                let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
                if carriage { text.unwrap().replace('\n', "\r\n") } else { text.unwrap() }
            };
            let texts: Vec<_> = values.iter().map(text).collect();
            let mut lines = Vec::new();
            append_lines(&batch(&texts, 1_796_042_096_789), &label, &mut lines);
            let lines = String::from_utf8(lines).unwrap();
            prop_assert!(lines.ends_with('\n') && !lines.contains('\r'));
            let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let expected: Vec<Value> = values.into_iter().map(|event| json!({
                "receivedAt": "2026-11-30T12:34:56.789Z", "environment": label, "secret": "client", "event": event,
            })).collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn an_event_is_kept_byte_for_byte() {
        let event = r#"{ "user" : {"keyId":"\u0061\n"}, "x":1.50e0 }"#.to_owned();
        let mut lines = Vec::new();
        append_lines(&batch(std::slice::from_ref(&event), 0), "shop:prod", &mut lines);
        let expected = format!(
            "{{\"receivedAt\":\"1970-01-01T00:00:00.000Z\",\"environment\":\"shop:prod\",\"secret\":\"client\",\"event\":{event}}}\n"
        );
        assert_eq!(Bytes::from(lines), expected);
    }

    #[test]
    fn no_time_breaks_the_form() {
        assert_eq!(time(i64::MIN), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
