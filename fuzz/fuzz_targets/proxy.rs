//! What a proxy answers, and which proxy the environment's variables name: the answer stays the same when more of it
//! has come; a password is never shown; `*` excepts every server.
#![no_main]

use std::ffi::OsString;

use featbit_agent::client::http::parse_head;
use featbit_agent::client::{Proxies, ProxyEnvironment};
use featbit_agent::config::ProxyChoice;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "correct-horse-battery-staple";

/// The status of the answer, and how many bytes are behind its head.
fn parse_answer(bytes: &[u8]) -> std::io::Result<Option<(u16, usize)>> {
    Ok(parse_head(bytes)?.map(|head| (head.status, head.bytes_behind())))
}

fn answer(bytes: &[u8]) {
    let whole = parse_answer(bytes);
    if let Ok(Some((status, rest))) = &whole {
        assert!(!(100..200).contains(status) && *rest < bytes.len());
        let head = bytes.len() - rest;
        assert_eq!(parse_answer(&bytes[..head]).ok(), Some(Some((*status, 0))));
    }
    for end in [bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        match (parse_answer(&bytes[..end]), &whole) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some((status, _))), Ok(Some((same, _)))) => assert_eq!(status, *same),
            (part, _) => panic!("{part:?} became {whole:?}"),
        }
    }
}

/// The value of a variable, its NO_PROXY, and a host, one a line.
fn variables(text: &str) {
    let mut lines = text.splitn(3, '\n').chain(std::iter::repeat(""));
    let (mut value, no_proxy, host) =
        (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let with_password = format!("http://me:{PASSWORD}@{value}");
    if value.contains('!') {
        value = &with_password;
    }
    let read = |no_proxy: &str| {
        let pairs = [("HTTPS_PROXY", value), ("no_proxy", no_proxy)];
        let pairs = pairs.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Proxies::new(&ProxyChoice::Environment, &ProxyEnvironment::from_variables(pairs))
    };
    match read(no_proxy) {
        Ok(proxies) => {
            let shown = format!("{proxies:?} {:?}", proxies.choose(true, host, 443).map(ToString::to_string));
            assert!(!shown.contains(PASSWORD), "{shown}");
            assert!(proxies.choose(false, host, 80).is_none(), "a proxy that nobody named");
            // More exceptions never bring a proxy.
            let more = read(&format!("{no_proxy},other")).expect("the proxy is the same");
            assert!(proxies.choose(true, host, 443).is_some() || more.choose(true, host, 443).is_none());
            assert!(read(&format!("*,{no_proxy}")).expect("the same").choose(true, host, 443).is_none());
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let told: Vec<_> = faults.iter().map(|fault| format!("{fault} {fault:?}")).collect();
            assert!(!told.concat().contains(PASSWORD), "{told:?}");
        }
    }
}

fuzz_target!(|data: &[u8]| match data.split_first() {
    Some((b'=', text)) => {
        if let Ok(text) = std::str::from_utf8(text) {
            variables(text);
        }
    }
    _ => answer(data),
});
