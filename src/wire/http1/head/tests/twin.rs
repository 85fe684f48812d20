//! The parser compared with a plain twin, on generated and damaged requests.

use super::*;
use proptest::prelude::*;

/// The plain twin: whole texts split at CR LF. Says whether the head is fit to serve, and how its body is framed.
fn parse_plainly(text: &str) -> Option<(String, BodyLength, usize)> {
    let start = text.len() - text.trim_start_matches("\r\n").len();
    if start > 8 {
        return None;
    }
    let end = start + text[start..].find("\r\n\r\n")?;
    let lines: Vec<&str> = text[start..end].split("\r\n").collect();
    if lines.iter().any(|line| line.contains(|c: char| c.is_ascii_control() && c != '\t')) {
        return None;
    }
    let parts: Vec<&str> = lines[0].split(' ').collect();
    let &[method, target, version] = parts.as_slice() else { return None };
    let is_token = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    if !is_token(method) || !target.starts_with('/') || target.contains(['#', '\t']) {
        return None;
    }
    let minor_version = ["HTTP/1.0", "HTTP/1.1"].iter().position(|known| *known == version)?;
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let (name, value) = line.split_once(':')?;
        if !is_token(name) {
            return None;
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let all = |name: &str| -> Vec<&str> {
        fields.iter().filter(|field| field.0 == name).map(|field| field.1.as_str()).collect()
    };
    match *all("host").as_slice() {
        [] if minor_version == 0 => {}
        [host] if host.chars().all(|c| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:[]".contains(c)) => {}
        _ => return None,
    }
    let body = match (all("transfer-encoding").as_slice(), all("content-length").as_slice()) {
        ([], []) => BodyLength::None,
        ([], [length]) if length.chars().all(|c| c.is_ascii_digit()) => {
            BodyLength::Length(length.parse().ok()?)
        }
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") && minor_version == 1 => BodyLength::Chunked,
        _ => return None,
    };
    Some((target.split('?').next().unwrap_or_default().to_owned(), body, end + 4))
}

fn some_request() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        4 => "[A-Za-z-]{1,12}: ?[ -~\u{e9}]{0,20}",
        1 => Just("Host: h".to_owned()),
        1 => prop::sample::select(vec![
            "Content-Length: 5", "content-length:7", "Content-Length: 5 ", "Content-Length: 5,5",
            "Transfer-Encoding: chunked", "transfer-encoding:CHUNKED", "Transfer-Encoding: gzip",
        ]).prop_map(str::to_owned),
    ];
    let line = prop::sample::select(vec!["GET /a?b=c HTTP/1.1", "POST / HTTP/1.1", "GET /x HTTP/1.0"]);
    (line, prop::collection::vec(field, 0..5), any::<bool>()).prop_map(|(line, fields, has_host)| {
        let host = if has_host { "Host: example:80\r\n" } else { "" };
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        format!("{line}\r\n{host}{fields}\r\nBODY")
    })
}

proptest! {
    #[test]
    fn equals_the_plain_twin_on_damaged_requests(
        mut text in some_request(),
        damages in prop::collection::vec(
            (any::<prop::sample::Index>(), "[\r\n \t:,\0/A\u{e9}]|\r\n", any::<bool>()),
            0..3,
        ),
    ) {
        for (at, with, insert) in damages {
            let mut at = at.index(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
            text.replace_range(at..if insert { at } else { end }, &with);
        }
        let parsed = parse_text(&text);
        let fast = parsed.ok().flatten().map(|head| (head.path.to_owned(), head.body, head.len));
        prop_assert_eq!(fast, parse_plainly(&text), "{:?}: {:?}", text, parsed);
    }

    #[test]
    fn a_longer_buffer_never_changes_an_answer(
        mut text in some_request(),
        damage in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(vec!['\r', '\n', ' ', '\0']))),
    ) {
        if let Some((at, with)) = damage {
            let at = at.index(text.len());
            if text.is_char_boundary(at) {
                text.insert(at, with);
            }
        }
        let bytes = text.as_bytes();
        let mut answer: Result<Option<Head<'_>>, Refusal> = Ok(None);
        for len in 0..=bytes.len() {
            let now = parse(&bytes[..len], &LIMITS);
            match &answer {
                Ok(None) => answer = now,
                decided => prop_assert_eq!(&now.is_ok(), &decided.is_ok(), "at {}: {:?}", len, now),
            }
            if let (Ok(Some(before)), Ok(after)) = (&answer, &now) {
                prop_assert_eq!(Some(before), after.as_ref());
            }
        }
    }

    #[test]
    fn never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        text in "[GET /:A\r\n\0-9]{0,60}",
        max_bytes in 0usize..80,
        max_headers in 0usize..4,
    ) {
        let limits = HeadLimits { max_bytes, max_headers };
        let _ = parse(&bytes, &limits);
        let _ = parse(text.as_bytes(), &limits);
        let _ = parse(&[b"GET / HTTP/1.1\r\n", text.as_bytes()].concat(), &limits);
    }
}
