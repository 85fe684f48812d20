//! Heads of requests. What was parsed of a buffer must stay true when more of it has come.
#![no_main]

use featbit_agent::wire::http1::head::{HeadLimits, parse};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { max_bytes: 2048, max_headers: 32 };

fuzz_target!(|data: &[u8]| {
    let whole = parse(data, &LIMITS);
    if let Ok(Some(head)) = &whole {
        assert!(head.len <= data.len() && head.len <= LIMITS.max_bytes);
        assert!(!head.path.is_empty());
        assert!(head.websocket.is_none() || head.websocket_fault.is_none());
    }
    for end in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
        match parse(&data[..end], &LIMITS) {
            Ok(None) => {}
            // Which of two faults is named may depend on what has come.
            Err(_) => assert!(whole.is_err(), "what was refused is taken when more has come"),
            head => assert_eq!(head, whole, "a head changed with what came later"),
        }
    }
});
