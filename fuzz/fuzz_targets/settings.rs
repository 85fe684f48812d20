//! Settings: a file (TOML or appsettings.json) and environment variables. No file of this machine is read.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use featbit_agent::config::{Inputs, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // First byte: the form of the file. Then the file, then variables, each behind a NUL.
    let Some((form, data)) = data.split_first() else { return };
    let mut parts = data.split(|byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let name = match form % 3 {
        0 => "agent.toml",
        1 => "appsettings.json",
        _ => "agent.conf",
    };
    let mut environment: Vec<(OsString, OsString)> = parts
        .filter_map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            Some((text(&pair[..equals]), text(&pair[equals + 1..])))
        })
        .collect();
    let marker = "rp-0123456789abcdefghijklmnopqrstuvwxyzABCD";
    let relay = "rp-ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    environment.push(("ApiKey".into(), marker.into()));
    environment.push(("RelayKeys".into(), relay.into()));
    let read = |path: &Path| match path.to_str() {
        Some(path) if path == name => Ok(file.to_vec()),
        _ => Ok(b"rp-other".to_vec()),
    };
    let inputs =
        Inputs { command_line: Vec::new(), config_file: Some(PathBuf::from(name)), environment, read: &read };
    let told = match load(&inputs) {
        Ok(loaded) => loaded.settings.describe().join("\n") + &format!("{:?}", loaded.settings),
        Err(rejected) => rejected.to_string(),
    };
    assert!(!told.contains(marker) && !told.contains(relay), "a secret is shown");
});
