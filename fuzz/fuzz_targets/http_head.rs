//! Heads of requests. The result for a buffer must not change when more bytes arrive, and a simple reading of an accepted
//! head must show unambiguously where its body ends: if another parser could frame it differently, that is smuggling.
#![no_main]

use featbit_agent::wire::http1::head::{BodyLength, Head, HeadLimits, parse};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { max_bytes: 2048, max_headers: 32 };

/// Reads a head that was taken line by line, and compares what frames the body.
fn check_framing(bytes: &[u8], head: &Head<'_>) {
    let mut rest = &bytes[..head.len];
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after;
    }
    let lines = rest.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
    assert!(!lines.contains(&0), "NUL in a head");
    let lines: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
    let last = lines.len() - 1;
    let lines = lines.iter().enumerate().map(|(index, line)| match line.strip_suffix(b"\r") {
        Some(line) => line,
        None if index == last => line,
        None => panic!("a line ends with LF alone"),
    });
    let mut lines = lines.inspect(|line| assert!(!line.contains(&b'\r'), "CR within a line"));
    let request_line = lines.next().expect("a request line");
    assert_eq!(request_line.iter().filter(|&&byte| byte == b' ').count(), 2, "blanks in the request line");
    assert!(request_line.ends_with(if head.minor_version == 1 { b" HTTP/1.1" } else { b" HTTP/1.0" }));
    let (mut hosts, mut lengths, mut codings) = (Vec::new(), Vec::new(), Vec::new());
    let mut fields = 0;
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':').expect("a field has a colon");
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        assert!(!name.is_empty() && name.iter().all(is_token), "no name of a field");
        fields += 1;
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts.push(value),
            b"content-length" => lengths.push(value),
            b"transfer-encoding" => codings.push(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    assert!(fields <= LIMITS.max_headers);
    assert!(hosts.len() == 1 || hosts.is_empty() && head.minor_version == 0, "which host?");
    let target = request_line.split(|&byte| byte == b' ').nth(1).expect("a target").to_ascii_lowercase();
    if let (Some(rest), Some(host)) = (target.strip_prefix(b"http://"), hosts.first()) {
        let bare = |host: &[u8]| host.strip_suffix(b":80").unwrap_or(host).to_ascii_lowercase();
        let named = rest.split(|byte| matches!(byte, b'/' | b'?')).next().unwrap_or_default();
        let connects = request_line.starts_with(b"CONNECT ");
        assert!(connects || bare(named) == bare(host), "two hosts");
    }
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => assert_eq!(head.body, BodyLength::None),
        ([length], []) => {
            assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit));
            let length: u64 = std::str::from_utf8(length).expect("digits").parse().expect("64 bits");
            assert_eq!(head.body, BodyLength::Length(length));
        }
        ([], [coding]) => {
            assert_eq!((head.body, head.minor_version), (BodyLength::Chunked, 1));
            assert_eq!(coding.as_slice(), b"chunked");
        }
        _ => panic!("a body that is framed twice"),
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = parse(data, &LIMITS);
    if let Ok(Some(head)) = &whole {
        assert!(head.len <= data.len() && head.len <= LIMITS.max_bytes);
        assert!(!head.path.is_empty());
        assert!(head.websocket.is_none() || head.websocket_fault.is_none());
        assert!(head.websocket.is_none() || matches!(head.body, BodyLength::None | BodyLength::Length(0)));
        check_framing(data, head);
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
