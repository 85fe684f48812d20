//! Heads of requests: what is read from them, and what is refused.

mod twin;

use super::*;

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
fn of_two_errors_another_may_be_reported_with_more_input() {
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
fn reads_the_user_agents_of_sdks_that_cannot_set_user_agent() {
    let text =
        "GET / HTTP/1.1\r\nHost: h\r\nX-User-Agent: c\r\nX-FeatBit-User-Agent: b\r\nUser-Agent: a\r\n\r\n";
    assert_eq!(head(text).user_agents, [Some("a"), Some("b"), Some("c")]);
}

/// What went wrong: an upgrade request of which a proxy had removed parts was served as a plain GET, without a hint at the
/// proxy.
#[test]
fn an_upgrade_request_is_recognized_after_a_proxy_removed_parts() {
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
fn distinguishes_methods_and_targets() {
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
fn a_few_empty_lines_before_a_request_are_ignored() {
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
fn fields_that_are_not_used_may_contain_any_text() {
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
