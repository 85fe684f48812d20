use super::*;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { max_bytes: 2000, max_headers: 20 };

fn parse_text(text: &str) -> Result<Option<Head<'_>>, Refusal> {
    parse(text.as_bytes(), &LIMITS)
}

fn head(text: &str) -> Head<'_> {
    match parse_text(text) {
        Ok(Some(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

/// A GET with further fields, each with its CR LF.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

fn status(text: &str) -> Option<u16> {
    parse_text(text).err().map(|refusal| refusal.status)
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn of_two_faults_another_may_be_named_once_more_has_come() {
    let text = "GET / HTTP/1.1\r\nHost: h\nConnection: a\0b\r\n\r\n";
    let bare_line_end =
        text.find('\n').and_then(|first| text[first + 1..].find('\n').map(|next| first + next + 2));
    let early = parse(&text.as_bytes()[..bare_line_end.unwrap()], &LIMITS);
    let late = parse_text(text);
    assert!(early.is_err() && late.is_err());
    assert_ne!(early.err(), late.err());
}

#[test]
fn reads_a_poll() {
    let text = "POST /api/public/sdk/client/latest-all?timestamp=0 HTTP/1.1\r\nHost: localhost:6100\r\n\
                Authorization: secret\r\ncontent-TYPE: application/json\r\nContent-Length: 12\r\n\
                Origin: https://example.com\r\nUser-Agent: Browser-Client-SDK/4\r\nAccept-Encoding: gzip, br\r\n\
                Content-Encoding: gzip\r\n\r\nbody";
    let head = head(text);
    assert_eq!(head.method, Method::Post);
    assert_eq!((head.path, head.query), ("/api/public/sdk/client/latest-all", "timestamp=0"));
    assert_eq!((head.minor_version, head.keep_alive), (1, true));
    assert_eq!(head.body, BodyLength::Length(12));
    assert_eq!(head.authorization, Some("secret"));
    assert_eq!(head.content_type, Some("application/json"));
    assert_eq!(head.content_encoding, ContentEncoding::Gzip);
    assert_eq!(head.origin, Some("https://example.com"));
    assert_eq!(head.user_agents, [Some("Browser-Client-SDK/4"), None, None]);
    assert!(head.accepts_gzip);
    assert_eq!((head.websocket, head.websocket_fault), (None, None));
    assert_eq!(&text[head.len..], "body");
}

#[test]
fn reads_who_asks_where_the_user_agent_is_not_theirs_to_set() {
    let text =
        "GET / HTTP/1.1\r\nHost: h\r\nX-User-Agent: c\r\nX-FeatBit-User-Agent: b\r\nUser-Agent: a\r\n\r\n";
    assert_eq!(head(text).user_agents, [Some("a"), Some("b"), Some("c")]);
}

/// What went wrong: what a proxy had left of the wish was taken for a plain GET, and nothing told of the proxy.
#[test]
fn a_wish_for_websocket_is_known_by_what_a_proxy_leaves_of_it() {
    let fault = |version: &str, fields: &str| {
        head(&format!("GET /streaming HTTP/{version}\r\nHost: h\r\n{fields}\r\n")).websocket_fault
    };
    let both = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let asked = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(fault("1.1", both), Some(WebSocketFault::NoUpgrade));
    assert_eq!(fault("1.1", "Sec-WebSocket-Version: 13\r\n"), Some(WebSocketFault::NoUpgrade));
    assert_eq!(fault("1.1", &format!("{both}Connection: Upgrade\r\n")), Some(WebSocketFault::NoUpgrade));
    assert_eq!(fault("1.1", &format!("{both}Upgrade: websocket\r\n")), Some(WebSocketFault::NoUpgrade));
    assert_eq!(fault("1.0", both), Some(WebSocketFault::Http10));
    assert_eq!(fault("1.0", &format!("{both}{asked}")), Some(WebSocketFault::Http10));
    assert_eq!(fault("1.1", ""), None);
    assert_eq!(fault("1.1", &format!("{both}{asked}")), None);
    let post = format!("POST / HTTP/1.1\r\nHost: h\r\n{both}\r\n");
    assert_eq!(head(&post).websocket_fault, None);
}

#[test]
fn reads_a_preflight() {
    let text = "OPTIONS * HTTP/1.1\r\nHost: h\r\nOrigin: null\r\nAccess-Control-Request-Method: POST\r\n\
                Access-Control-Request-Headers: authorization, x-user-agent\r\n\
                Access-Control-Request-Private-Network: true\r\n\r\n";
    let head = head(text);
    assert!(head.access_control_request_private_network);
    assert_eq!((head.method, head.path), (Method::Options, "*"));
    assert_eq!(head.access_control_request_method, Some("POST"));
    assert_eq!(head.access_control_request_headers, Some("authorization, x-user-agent"));
}

#[test]
fn tells_methods_and_targets_apart() {
    for (line, method, path, query) in [
        ("GET /a?b HTTP/1.1", Method::Get, "/a", "b"),
        ("HEAD / HTTP/1.0", Method::Head, "/", ""),
        ("PUT http://h/x?y=/ HTTP/1.1", Method::Put, "/x", "y=/"),
        ("DELETE http://h HTTP/1.1", Method::Delete, "/", ""),
        ("PATCH / HTTP/1.1", Method::Patch, "/", ""),
        ("get / HTTP/1.1", Method::Other, "/", ""),
        ("TRACE / HTTP/1.1", Method::Other, "/", ""),
        ("CONNECT h:80 HTTP/1.1", Method::Other, "h:80", ""),
        ("GET /\u{e9} HTTP/1.1", Method::Get, "/\u{e9}", ""),
    ] {
        let text = format!("{line}\r\nHost: h\r\n\r\n");
        let head = head(&text);
        assert_eq!((head.method, head.path, head.query), (method, path, query), "{line}");
    }
}

#[test]
fn malformed_request_lines_are_refused() {
    for (line, expected) in [
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET /  HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("GET / x HTTP/1.1", 400),
        ("GET /", 400),
        ("GET / HTTP/1.11", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTQ/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("G\u{e9}T / HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
        ("GET /\x7F HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET x HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET ftp://h/ HTTP/1.1", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/3", 505),
        ("PRI * HTTP/2.0", 505),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03", 400),
    ] {
        assert_eq!(status(&format!("{line}\r\nHost: h\r\n\r\n")), Some(expected), "{line:?}");
    }
    assert_eq!(parse(b"GET /\xFF HTTP/1.1\r\nHost: h\r\n\r\n", &LIMITS).unwrap_err().status, 400);
}

#[test]
fn http2_prior_knowledge_is_answered_before_its_settings_arrive() {
    assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(505));
}

#[test]
fn smuggling_of_requests_is_refused() {
    for (fields, expected) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5.0\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: \u{665}\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 413),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: chunked;a=b\r\n", 400),
        ("Transfer-Encoding: \"chunked\"\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
        ("Transfer-Encoding: \u{a0}chunked\r\n", 400),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        (" Transfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding:\r\n chunked\r\n", 400),
        ("X: a\r\n b\r\n", 400),
        ("X: a\r\n\tb\r\n", 400),
        ("X: a\nContent-Length: 5\r\n", 400),
        ("X: a\rContent-Length: 5\r\n", 400),
        ("X: a\r\r\n", 400),
        ("X: a\0b\r\n", 400),
        ("X\0: a\r\n", 400),
        ("X\r\n", 400),
        (": a\r\n", 400),
        ("X Y: a\r\n", 400),
        ("X\u{e9}: a\r\n", 400),
        ("\n", 400),
        ("Host: other\r\n", 400),
        ("Authorization: a\r\nAuthorization: b\r\n", 400),
        ("Content-Type: text/plain\r\nContent-Type: application/json\r\n", 400),
        ("Origin: a\r\nOrigin: b\r\n", 400),
        ("Origin: \u{e9}\r\n", 400),
        ("Access-Control-Request-Headers: \u{e9}\r\n", 400),
    ] {
        assert_eq!(status(&get(fields)), Some(expected), "{fields:?}");
    }
}

#[test]
fn every_line_ends_with_cr_lf() {
    for text in [
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n",
    ] {
        assert_eq!(status(text), Some(400), "{text:?}");
    }
}

#[test]
fn a_few_empty_lines_before_a_request_are_overlooked() {
    let text = format!("{}{}", "\r\n".repeat(4), get(""));
    assert_eq!(head(&text).len, text.len());
    assert_eq!(parse_text("\r\n\r"), Ok(None));
    assert_eq!(status(&"\r\n".repeat(5)), Some(400));
}

#[test]
fn http_1_1_has_exactly_one_valid_host() {
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), Some(400));
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), None);
    assert_eq!(status("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Some(400));
    for (host, expected) in [
        ("h", None),
        ("", None),
        ("[::1]:6100", None),
        ("a_b.example", None),
        ("a b", Some(400)),
        ("a/b", Some(400)),
        ("u@h", Some(400)),
        ("h\u{e9}", Some(400)),
    ] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), expected, "{host}");
    }
}

#[test]
fn bodies_are_framed() {
    assert_eq!(head(&get("")).body, BodyLength::None);
    assert_eq!(head(&get("Content-Length: 0\r\n")).body, BodyLength::Length(0));
    assert_eq!(head(&get("Content-Length:  0012\t\r\n")).body, BodyLength::Length(12));
    let largest = get("Content-Length: 18446744073709551615\r\n");
    assert_eq!(head(&largest).body, BodyLength::Length(u64::MAX));
    assert_eq!(head(&get("Transfer-Encoding: Chunked\r\n")).body, BodyLength::Chunked);
    assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(400));
}

#[test]
fn connections_stay_open_as_the_version_says() {
    let keeps = |version: &str, fields: &str| {
        head(&format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n")).keep_alive
    };
    assert!(keeps("1.1", ""));
    assert!(keeps("1.1", "Connection: upgrade\r\n"));
    assert!(!keeps("1.1", "Connection: Close\r\n"));
    assert!(!keeps("1.1", "Connection: keep-alive, close\r\n"));
    assert!(!keeps("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
    assert!(!keeps("1.0", ""));
    assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keeps("1.0", "Connection: keep-alive\r\nConnection: close\r\n"));
}

#[test]
fn continue_is_expected_only_with_a_body_to_come() {
    let expects = |fields: &str| head(&get(fields)).expect_continue;
    assert!(expects("Expect: 100-Continue\r\nContent-Length: 1\r\n"));
    assert!(expects("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"));
    assert!(!expects("Expect: 100-continue\r\n"));
    assert!(!expects("Expect: 100-continue\r\nContent-Length: 0\r\n"));
    assert!(!expects("Expect: something\r\nContent-Length: 1\r\n"));
    let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert!(!head(old).expect_continue);
}

#[test]
fn gzip_is_accepted_by_name_or_star_unless_its_weight_is_zero() {
    let accepts = |value: &str| head(&get(&format!("Accept-Encoding: {value}\r\n"))).accepts_gzip;
    for value in [
        "gzip",
        "GZIP",
        "x-gzip",
        "br, gzip;q=0.001",
        "*",
        "gzip ; q=1",
        "gzip;x=y",
        "*;q=0, gzip",
        "gzip;q=0.5",
    ] {
        assert!(accepts(value), "{value}");
    }
    for value in
        ["", "br", "identity", "gzip;q=0", "gzip; Q=0.000", "gzip;q=0, *", "*;q=0", "gzipx", "gzip;x=1;q=0."]
    {
        assert!(!accepts(value), "{value}");
    }
    assert!(!head(&get("")).accepts_gzip);
    assert!(head(&get("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n")).accepts_gzip);
}

#[test]
fn content_encodings_are_identity_gzip_or_other() {
    for (value, expected) in [
        ("", ContentEncoding::Identity),
        ("identity", ContentEncoding::Identity),
        ("GZip", ContentEncoding::Gzip),
        ("x-gzip", ContentEncoding::Gzip),
        ("identity, gzip", ContentEncoding::Gzip),
        ("gzip, gzip", ContentEncoding::Other),
        ("br", ContentEncoding::Other),
        ("deflate, gzip", ContentEncoding::Other),
        ("gzip, deflate", ContentEncoding::Other),
    ] {
        let text = get(&format!("Content-Encoding: {value}\r\n"));
        assert_eq!(head(&text).content_encoding, expected, "{value}");
    }
}

#[test]
fn an_upgrade_fulfils_every_condition() {
    let upgrade = |text: &str| {
        let head = head(text);
        (head.websocket.map(|upgrade| upgrade.key.to_owned()), head.websocket_fault)
    };
    let key = Some("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
    assert_eq!(upgrade(&get(UPGRADE)), (key.clone(), None));
    let firefox = UPGRADE.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade");
    assert_eq!(upgrade(&get(&firefox)), (key.clone(), None));
    let in_other_case = UPGRADE.replace("websocket\r", "WebSocket\r").replace("Upgrade\r", "upgrade\r");
    assert_eq!(upgrade(&get(&in_other_case)), (key, None));

    let without = |line: &str| -> String {
        UPGRADE.split_inclusive("\r\n").filter(|field| !field.starts_with(line)).collect()
    };
    assert_eq!(upgrade(&get(&without("Upgrade"))), (None, Some(WebSocketFault::NoUpgrade)));
    assert_eq!(upgrade(&get(&without("Connection"))), (None, Some(WebSocketFault::NoUpgrade)));
    assert_eq!(upgrade(&get(UPGRADE).replace("GET", "POST")), (None, None));
    let fault = |fields: &str| upgrade(&get(fields)).1;
    assert_eq!(fault(&without("Sec-WebSocket-Key")), Some(WebSocketFault::Key));
    assert_eq!(fault(&UPGRADE.replace("dGhl", "dGh")), Some(WebSocketFault::Key));
    let twice = format!("{UPGRADE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    assert_eq!(fault(&twice), Some(WebSocketFault::Key));
    assert_eq!(fault(&without("Sec-WebSocket-Version")), Some(WebSocketFault::Version));
    assert_eq!(fault(&UPGRADE.replace("13", "8")), Some(WebSocketFault::Version));
    assert_eq!(fault(&format!("{UPGRADE}Sec-WebSocket-Version: 13\r\n")), Some(WebSocketFault::Version));
    assert_eq!(fault(&format!("{UPGRADE}Content-Length: 1\r\n")), Some(WebSocketFault::Body));
    assert_eq!(fault(&format!("{UPGRADE}Content-Length: 0\r\n")), None);
    assert_eq!(fault(&format!("{UPGRADE}Transfer-Encoding: chunked\r\n")), Some(WebSocketFault::Body));
    assert_eq!(upgrade(&get(UPGRADE).replace("HTTP/1.1", "HTTP/1.0")).1, Some(WebSocketFault::Http10));
    assert_eq!((WebSocketFault::Version.status(), WebSocketFault::Key.status()), (426, 400));
}

#[test]
fn limits_are_answered_with_431() {
    let fields = "X: y\r\n".repeat(19);
    assert!(head(&get(&fields)).len > 0);
    assert_eq!(status(&get(&(fields + "X: y\r\n"))), Some(431));
    let fits = get(&format!("X: {}\r\n", "y".repeat(2000 - get("X: \r\n").len())));
    assert_eq!((fits.len(), head(&fits).len), (2000, 2000));
    let too_long = get(&format!("X: {}\r\n", "y".repeat(2001 - get("X: \r\n").len())));
    assert_eq!(status(&too_long), Some(431));
    assert_eq!(parse_text(&too_long[..1999]), Ok(None));
    assert_eq!(status(&too_long[..2000]), Some(431), "no need to wait for the end");
    let generous = HeadLimits { max_bytes: 100_000, max_headers: 10_000 };
    let many = get(&"X: y\r\n".repeat(MAX_HEADERS));
    assert_eq!(parse(many.as_bytes(), &generous).unwrap_err().status, 431);
}

#[test]
fn fields_that_nobody_reads_may_hold_any_text() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nX-Name: \xE9\r\nUser-Agent: \xFF\r\n\r\n";
    let head = parse(bytes, &LIMITS).unwrap().unwrap();
    assert_eq!(head.user_agents, [None; 3]);
    assert_eq!(
        parse(b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: \xE9\r\n\r\n", &LIMITS).unwrap_err().status,
        400
    );
}

#[test]
fn debug_output_of_a_head_hides_token_and_secret() {
    let text = "GET /streaming?token=TTT HTTP/1.1\r\nHost: h\r\nAuthorization: SSS\r\n\r\n";
    let shown = format!("{:?}", head(text));
    assert!(!shown.contains("TTT") && !shown.contains("SSS"), "{shown}");
}

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
