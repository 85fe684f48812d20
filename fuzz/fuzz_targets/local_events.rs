//! Lines of the local files of usage events, of which the bytes may be anything after a failure: what is read as a line is JSON
//! that holds an event, and any event becomes a line that is read again.
#![no_main]

use featbit_agent::insights::local::line::append_on_one_line;
use featbit_agent::insights::local::stats::Line;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const HEAD: &[u8] = br#"{"receivedAt":"2026-11-30T12:34:56.789Z","environment":"shop:prod","secret":"client","event":"#;

fuzz_target!(|data: &[u8]| {
    let twin = serde_json::from_slice::<Value>(data);
    if let (Some(line), Ok(twin)) = (Line::parse(data), &twin) {
        let length = |name: &str| {
            let members = twin["event"].as_object().expect("an event is an object").iter();
            let lists = members.filter(|(found, _)| found.eq_ignore_ascii_case(name));
            lists.filter_map(|(_, list)| Some(list.as_array()?.len())).max().unwrap_or(0)
        };
        assert!(line.evaluations.len() <= length("variations"));
        assert!(line.metrics.len() <= length("metrics"));
        assert!(line.metrics.iter().all(|metric| metric.value.is_none_or(f64::is_finite)));
    }
    let shallow = data.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= 60;
    if let Ok(Value::Object(_)) = twin {
        let mut line = HEAD.to_vec();
        append_on_one_line(data, &mut line);
        line.push(b'}');
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        let read: Value = serde_json::from_slice(&line).expect("a line is JSON");
        assert_eq!(Ok(&read["event"]), twin.as_ref().map_err(|_| ()));
        assert!(!shallow || Line::parse(&line).is_some(), "a line of the agent is refused");
    }
});
