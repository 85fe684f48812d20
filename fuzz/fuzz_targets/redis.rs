//! What is read of Redis: connection strings and URLs in the settings, and error answers of servers. What was taken can be
//! written and taken again; a password is never shown; an error is one line.
#![no_main]

use std::path::Path;

use featbit_agent::config::redis::connection_string::{masked, parse};
use featbit_agent::config::{Inputs, load};
use featbit_agent::persist::redis::connect::RedisError;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "correct-horse-battery-staple";

/// All that the settings say about this text.
fn told(text: &str) -> String {
    let pairs = [
        ("Mode", "offline"),
        ("DataFile", "data.json"),
        ("ApiKey", "k"),
        ("Redis__ConnectionString", text),
    ];
    let environment = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    match load(&Inputs { command_line: Vec::new(), config_file: None, environment, read: &read }) {
        Ok(loaded) => {
            format!("{:?} {:?} {:?}", loaded.settings, loaded.settings.describe(), loaded.warnings)
        }
        Err(rejected) => rejected.to_string(),
    }
}

fn string(text: &str) {
    if let Ok(read) = parse(text) {
        assert!(!read.hosts.is_empty());
        for host in &read.hosts {
            assert!(!host.name.is_empty() && host.port > 0);
            assert!(!host.name.contains(['@', '/', ',', '=', ' ', '[', ']']), "{:?} is no host", host.name);
        }
        let hosts = read.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(parse(&hosts).expect("addresses can be given again").hosts, read.hosts, "{hosts}");
        assert!(masked(text).starts_with(&hosts));
    }
    if !text.contains('\0') {
        for text in [
            format!("redis://user:{PASSWORD}@{text}"),
            format!("{text},password={PASSWORD}"),
            format!("password={PASSWORD},{text}"),
            format!("h,password={text},{PASSWORD}"),
        ] {
            let told = told(&text);
            assert!(!told.contains(PASSWORD), "{told}");
        }
    }
}

fn answer(bytes: &[u8]) {
    let error = match redis::parse_redis_value(bytes).and_then(redis::Value::extract_error) {
        Ok(_) => return,
        Err(error) => RedisError::of(&error, "GET", "redis.example:6379"),
    };
    assert!(error.text.starts_with("Redis at redis.example:6379: "), "{error}");
    assert!(!error.text.contains(char::is_control), "{error:?}");
    assert!(error.text.len() < 2000, "{error}");
}

fuzz_target!(|data: &[u8]| {
    // The first byte says which.
    match data.split_first() {
        Some((b'-' | b'*' | b'$' | b'!' | b'%', _)) => answer(data),
        Some(_) => {
            if let Ok(text) = std::str::from_utf8(data) {
                string(text);
            }
        }
        None => {}
    }
});
