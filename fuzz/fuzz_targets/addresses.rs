//! Addresses in settings: where to listen (`Urls`), origins of pages (`Cors__Origins`), the URI of a server
//! (`EventUri`); one a line. What was taken can be written down and taken again, and a password is never shown.
#![no_main]

use std::path::Path;

use featbit_agent::config::{AbsoluteUri, Inputs, Listen, Loaded, Origins, RejectedSettings, listen, load};
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "correct-horse-battery-staple";

fn load_with(pairs: &[(&str, &str)]) -> Result<Loaded, RejectedSettings> {
    let environment = [&[("Mode", "offline"), ("DataFile", "data.json")], pairs]
        .concat()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    load(&Inputs { command_line: Vec::new(), config_file: None, environment, read: &read })
}

fn urls(text: &str) {
    let Ok((addresses, names)) = listen::parse(text) else { return };
    assert!(!addresses.is_empty());
    assert!(names.iter().all(|name| !name.is_empty() && name.is_ascii()));
    let written = addresses.iter().map(Listen::to_string).collect::<Vec<_>>().join(";");
    let again = listen::parse(&written).expect("what is listened on can be given").0;
    let places = |list: &[Listen]| list.iter().map(|one| (one.address, one.port)).collect::<Vec<_>>();
    assert_eq!(places(&again), places(&addresses), "{written}");
}

fn origins(text: &str) {
    let list_of = |text: &str| match load_with(&[("Cors__Origins", text)]) {
        Ok(Loaded { settings, .. }) => Some(settings.cors.origins),
        Err(_) => None,
    };
    let Some(Origins::List(list)) = list_of(text) else { return };
    for origin in &list {
        assert!(!origin.is_empty() && !origin.contains([',', '*', '@']), "{origin:?}");
        assert!(!origin.bytes().any(|byte| byte.is_ascii_uppercase()), "{origin:?}");
        assert!(origin == "null" || origin.matches('/').count() == 2, "{origin:?} has a path");
    }
    assert_eq!(list_of(&list.join(",")), Some(Origins::List(list)));
}

fn uri(rest: &str) {
    if rest.contains('\0') {
        return;
    }
    let text = format!("http://user:{PASSWORD}@{rest}");
    let told = match load_with(&[("EventUri", &text)]) {
        Ok(loaded) => {
            if let Some(uri) = &loaded.settings.events.uri {
                check(uri, rest);
            }
            loaded.settings.describe().join("\n") + &format!("{:?} {:?}", loaded.settings, loaded.warnings)
        }
        Err(rejected) => rejected.to_string(),
    };
    assert!(!told.contains(PASSWORD), "{told}");
}

fn check(uri: &AbsoluteUri, rest: &str) {
    assert!(!uri.host().is_empty() && uri.port() != Some(0));
    assert!(!uri.host().contains(['/', '?', '#', '@']), "{:?} is no host", uri.host());
    assert!(rest.contains(uri.host()), "a host from nowhere");
}

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    urls(lines.next().unwrap_or_default());
    if let Some(text) = lines.next() {
        origins(text);
    }
    if let Some(text) = lines.next() {
        uri(text);
    }
});
