//! Regular expressions of targeting rules, translated and run: never a panic, never for long, and the negation is
//! the negation unless the pattern cannot be used.
#![no_main]

use featbit_agent::eval::{Compiler, RegexLimits, Segments};
use featbit_agent::model::parse::with_flag;
use featbit_agent::model::user::User;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fn flag(op: &str, pattern: &str) -> String {
    json!({
        "id": "f", "key": "f", "envId": "ad99d259-1f50-4ed9-a002-7c65e25487df",
        "updatedAt": "2025-01-01T00:00:00Z", "variationType": "boolean", "isEnabled": true,
        "variations": [{"id": "t", "value": "true"}, {"id": "f", "value": "false"}],
        "rules": [{"id": "r", "name": "matches",
            "conditions": [{"property": "text", "op": op, "value": pattern}],
            "variations": [{"id": "t", "rollout": [0, 1]}]}],
        "fallthrough": {"variations": [{"id": "f", "rollout": [0, 1]}]}
    })
    .to_string()
}

/// Whether the rule holds for `text`, and whether the pattern was reported as one that cannot be used.
fn holds(op: &str, pattern: &str, text: &str) -> (bool, bool) {
    let properties = [("text", Some(text))];
    let user = User::new("anna", None, &properties).expect("a small user");
    let mut findings = Vec::new();
    with_flag(&flag(op, pattern), |def| {
        // Large programs take seconds under the sanitizer, and show nothing that small ones do not.
        let limits = RegexLimits { program_bytes: 256 << 10, ..RegexLimits::default() };
        let flag = Compiler::new(limits).flag(&def, &mut findings);
        flag.evaluate(&user, &Segments::default()).reason == "matches"
    })
    .map(|holds| (holds, !findings.is_empty()))
    .expect("the flag around the pattern is valid")
}

fuzz_target!(|data: &str| {
    let (pattern, text) = data.split_once('\0').unwrap_or((data, "abc 123"));
    if pattern.len() > 256 || text.len() > 1024 {
        return;
    }
    let (matches, unusable) = holds("MatchRegex", pattern, text);
    let (differs, _) = holds("NotMatchRegex", pattern, text);
    assert!(!(matches && differs), "a pattern and its negation both hold");
    assert!(!unusable || !matches && !differs, "an unusable pattern holds");
});
