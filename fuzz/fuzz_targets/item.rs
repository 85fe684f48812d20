//! Single flags and segments: parsed, compiled, evaluated; the client payload is JSON whatever they hold.
#![no_main]

use featbit_agent::eval::{Compiler, Segments};
use featbit_agent::model::parse::{with_flag, with_segment};
use featbit_agent::model::user::User;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (key, json) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&b"anna"[..], data),
    };
    let (Ok(key), Ok(json)) = (std::str::from_utf8(key), std::str::from_utf8(json)) else { return };
    let properties = [("country", Some("CH")), ("age", Some("1,234.5")), ("plan", None), (key, Some(key))];
    let Some(user) = User::new(key, Some("Anna"), &properties) else { return };
    let mut compiler = Compiler::default();
    let mut findings = Vec::new();
    let compiled = with_segment(json, |def| {
        let slot = compiler.slots.slot(def.id);
        let segment = compiler.segment(&def, &mut findings);
        let _ = segment.contains(&user);
        (slot, Some(std::sync::Arc::new(segment)))
    });
    let segments = Segments::default().with(compiled.ok());
    let _ = with_flag(json, |def| {
        let flag = compiler.flag(&def, &mut findings);
        let mut out = Vec::new();
        flag.append_client_json(&user, &segments, &mut out);
        let written: serde_json::Value = serde_json::from_slice(&out).expect("the payload is JSON");
        let decision = flag.evaluate(&user, &segments);
        assert_eq!(written["id"].as_str(), Some(def.key));
        assert_eq!(written["variation"].as_str(), decision.variation.map(|(_, value)| value));
        assert_eq!(written["matchReason"].as_str(), Some(decision.reason));
    });
});
