//! What each mode requires and ignores, and that no secret is shown.

use super::super::*;
use super::{Given, error, offline, settings, warnings};

/// FeatBit's compose file, unchanged except for the mode.
const COMPOSE: [(&str, &str); 7] = [
    ("ASPNETCORE_ENVIRONMENT", "Production"),
    ("ASPNETCORE_URLS", "http://+:6100"),
    ("AgentId", "docker-agent-001"),
    ("StreamingUri", "ws://evaluation-server:5100"),
    ("ApiKey", "your-api-key-here"),
    ("ForwardEvents", "true"),
    ("EventUri", "http://evaluation-server:5100"),
];

#[test]
fn featbits_compose_file_starts_offline_mode() {
    let environment: Vec<_> =
        [("Mode", "manual"), ("AllowedHosts", "*")].into_iter().chain(COMPOSE).collect();
    let settings = Settings::from_pairs(&environment).unwrap();
    assert_eq!(settings.mode, Mode::Offline);
    assert!(settings.api_key.unwrap().matches(b"your-api-key-here"));
    assert_eq!(settings.events.mode, EventsMode::Forward);
    let uri = settings.events.uri.unwrap();
    assert_eq!((uri.scheme(), uri.host(), uri.port()), ("http", "evaluation-server", Some(5100)));
}

#[test]
fn featbits_compose_file_starts_agent_mode() {
    let environment: Vec<_> = [("Mode", "auto")].into_iter().chain(COMPOSE).collect();
    let settings = Settings::from_pairs(&environment).unwrap();
    let Mode::Agent(upstream) = &settings.mode else { panic!("{:?}", settings.mode) };
    assert_eq!(upstream.agent_id, "docker-agent-001");
    assert_eq!(upstream.streaming_uri.as_str(), "ws://evaluation-server:5100");
    assert_eq!((upstream.ping.as_secs(), upstream.silence.as_secs(), upstream.sync.as_secs()), (15, 45, 60));
    assert_eq!(upstream.resync.map(|resync| resync.as_secs()), Some(600));
    assert_eq!((upstream.retry.as_secs(), upstream.status.as_secs()), (60, 60));
    assert_eq!(upstream.unknown_secret_resync.as_secs(), 30);
    assert_eq!(upstream.read_min_bytes_per_second, 256);
}

#[test]
fn agent_mode_starts_with_its_three_settings_alone() {
    let environment = [("ApiKey", "rp-1"), ("AgentId", "a"), ("StreamingUri", "ws://els:5100")];
    let loaded = Given { environment: &environment, ..Given::default() }.load().unwrap();
    assert!(matches!(loaded.settings.mode, Mode::Agent(_)));
    assert_eq!(loaded.settings.events.mode, EventsMode::Drop);
    assert_eq!(
        loaded.warnings.iter().map(SettingError::to_string).collect::<Vec<_>>(),
        [
            "EventUri: is not set, so usage events are counted and dropped. Set it, or set Events__Mode=drop to turn this \
             warning off."
        ]
    );
    let said = [&environment[..], &[("ForwardEvents", "true")]].concat();
    assert_eq!(
        Given { environment: &said, ..Given::default() }.errors(),
        ["EventUri: is needed by ForwardEvents=true. Set it, or set ForwardEvents=false."]
    );
}

/// What went wrong: five settings were not checked while another one was wrong.
#[test]
fn what_is_wrong_beside_a_wrong_address_is_told_at_once() {
    let wrong = [
        "Upstream__SyncSeconds",
        "Upstream__RetrySeconds",
        "Upstream__StatusSeconds",
        "Upstream__UnknownSecretResyncSeconds",
        "Upstream__ReadMinBytesPerSecond",
        "Upstream__SilenceSeconds",
    ];
    for address in [("StreamingUri", "htp://x"), ("AgentId", "")] {
        let mut environment = vec![("Mode", "auto"), ("ApiKey", "rp-1")];
        environment
            .extend([("AgentId", "a"), ("StreamingUri", "ws://els")].iter().filter(|one| one.0 != address.0));
        environment.push(address);
        environment.extend(wrong.map(|name| (name, "x")));
        let errors = Given { environment: &environment, ..Given::default() }.errors();
        for name in wrong.into_iter().chain([address.0]) {
            assert_eq!(
                errors.iter().filter(|error| error.starts_with(name)).count(),
                1,
                "{name}: {errors:#?}"
            );
        }
    }
}

#[test]
fn what_cannot_work_in_agent_mode_is_told() {
    let errors = |more: &[(&str, &str)]| {
        let given = |name: &str| more.iter().any(|(other, _)| *other == name);
        let rest = COMPOSE.into_iter().filter(|(name, _)| !given(name));
        let environment: Vec<_> =
            [("Mode", "auto")].into_iter().chain(rest).chain(more.iter().copied()).collect();
        Given { environment: &environment, ..Given::default() }.errors().join("\n")
    };
    assert!(
        errors(&[("Upstream__SilenceSeconds", "15")]).contains("is not longer than Upstream__PingSeconds")
    );
    assert!(errors(&[("Upstream__ResyncSeconds", "5ms")]).contains("is too short"));
    let key = errors(&[("ApiKey", "rp-a\r\nX-Evil: 1")]);
    assert!(key.contains("contains 2 lines") && !key.contains("Evil"), "{key}");
    let key = errors(&[("ApiKey", "rp-ä")]);
    assert!(key.contains("ApiKey: contains characters that no key of FeatBit has"), "{key}");
    let environment: Vec<_> = [("Mode", "auto"), ("DataFile", "d")].into_iter().chain(COMPOSE).collect();
    assert!(warnings(&environment).iter().any(|line| line.starts_with("DataFile: is ignored in auto mode")));
}

#[test]
fn asking_a_server_needs_its_address_and_a_key_whatever_the_mode() {
    let access = |environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let inputs =
            Inputs { command_line: Vec::new(), config_file: None, environment, read: &|_| Ok(Vec::new()) };
        super::super::access(&inputs).map(|(access, _)| access).map_err(|rejected| rejected.to_string())
    };
    let both = [("StreamingUri", "wss://els/x"), ("ApiKey", "rp-1"), ("Upstream__SyncSeconds", "7")];
    for mode in ["offline", "auto"] {
        let given: Vec<_> = both.into_iter().chain([("Mode", mode)]).collect();
        let access = access(&given).unwrap();
        assert_eq!((access.streaming_uri.path(), access.sync.as_secs()), ("/x", 7));
        assert_eq!((access.api_key.expose(), access.message_bytes_max), ("rp-1", 536_870_912));
    }
    let text = access(&[]).unwrap_err();
    assert!(text.contains("ApiKey: is needed") && text.contains("StreamingUri: is needed"), "{text}");
    let text = access(&[("StreamingUri", "els"), ("ApiKey", "a b")]).unwrap_err();
    assert!(text.contains("not an absolute URI") && text.contains("contains a space"), "{text}");
}

/// What went wrong: they were taken and never sent, so that a gateway refused the agent with what seemed to be given.
#[test]
fn a_user_or_password_in_the_servers_address_is_refused_where_a_server_is_asked() {
    for user in ["me:sesame@", "me@"] {
        let uri = format!("wss://{user}els/x");
        let given = [("StreamingUri", uri.as_str()), ("ApiKey", "rp-1"), ("AgentId", "a")];
        let [error] = &Given { environment: &given, ..Given::default() }.errors()[..] else {
            panic!("one error")
        };
        assert!(
            error.contains("StreamingUri (environment variable StreamingUri): contains a user"),
            "{error}"
        );
        assert!(!error.contains("sesame"), "{error}");
    }
}

#[test]
fn what_agent_mode_lacks_is_told_all_at_once() {
    assert_eq!(
        Given::default().errors(),
        [
            "ApiKey: is needed in auto mode. Set it, or set Mode=offline.",
            "AgentId: is needed in auto mode. Set it, or set Mode=offline.",
            "StreamingUri: is needed in auto mode. Set it, or set Mode=offline.",
        ]
    );
    let environment =
        [("ForwardEvents", "false"), ("StreamingUri", "els:5100"), ("Mode", "agent"), ("AgentId", "a")];
    assert_eq!(
        Given { environment: &environment, ..Given::default() }.errors(),
        [
            "StreamingUri (environment variable StreamingUri): \"els:5100\" is not an absolute URI. Write one such as \
             ws://evaluation-server:5100 (schemes: ws, wss, http, https).",
            "ApiKey: is needed in auto mode. Set it, or set Mode=offline.",
        ]
    );
}

#[test]
fn offline_mode_needs_a_source_of_data() {
    let given = Given { environment: &[("Mode", "manual")], ..Given::default() };
    assert_eq!(
        given.errors(),
        [
            "DataFile, ApiKey: offline mode needs one of them, or the agent could never get data. Set DataFile to a dump, or \
             ApiKey to the key with which FeatBit sends one."
        ]
    );
    for source in [("ApiKey", "rp-1"), ("DataFile", "d")] {
        assert_eq!(Settings::from_pairs(&[("MODE", "Offline"), source]).unwrap().mode, Mode::Offline);
    }
}

#[test]
fn offline_mode_tells_once_what_will_not_work() {
    let quiet = offline(&[("ApiKey", "k"), ("ForwardEvents", "false")]);
    assert_eq!(warnings(&quiet), [""; 0]);
    assert_eq!(
        warnings(&offline(&[])),
        [
            "EventUri: is not set, so usage events are counted and dropped. Set it, or set Events__Mode=drop to turn this \
             warning off.",
            "ApiKey: is not set, so the management calls (bootstrap, backup, status) answer 401. Set it if you need \
             them.",
        ]
    );
}

#[test]
fn events_that_must_be_forwarded_need_to_know_where() {
    assert_eq!(
        error("ForwardEvents", "true"),
        "EventUri: is needed by ForwardEvents=true. Set it, or set ForwardEvents=false."
    );
    let dropping = settings(&[("ForwardEvents", "false"), ("EventUri", "http://e")]).events;
    assert_eq!((dropping.mode, dropping.sends()), (EventsMode::Drop, false));
    assert_eq!(warnings(&offline(&[("EventUri", "http://e"), ("ApiKey", "k")])), [""; 0]);
    assert!(error("EventUri", "ws://e").contains("has the scheme \"ws\""));
}

#[test]
fn no_secret_is_ever_shown() {
    let secrets = [
        ("ApiKey", "sesame-1"),
        ("EventUri", "http://user:sesame-2@host/?key=sesame-3"),
        ("StreamingUri", "ws://sesame-4@host"),
    ];
    let loaded = Given { environment: &offline(&secrets), ..Given::default() }.load().unwrap();
    let shown = format!("{loaded:#?}\n{}", loaded.settings.describe().join("\n"));
    assert!(!shown.contains("sesame"), "{shown}");
    assert!(
        loaded.settings.describe().iter().any(|line| line.starts_with("ApiKey ") && line.contains("****"))
    );
    for (name, value) in [
        ("EventUri", "ws://user:sesame@host"),
        ("EventUri", "http://user:sesame@host:99999"),
        ("Urls", "ftp://user:sesame@host"),
    ] {
        let error = error(name, value);
        assert!(!error.contains("sesame"), "{error}");
    }
    let twice = [("ApiKey", "sesame"), ("APIKEY", "sesame-5"), ("Mode", "offline"), ("ApiKey__File", "key")];
    let given = Given { environment: &twice, files: &[("key", "sesame-6")], ..Given::default() };
    let shown = format!("{:?} {:?}", given.errors(), given.load());
    assert!(!shown.contains("sesame"), "{shown}");
}

#[test]
fn the_api_key_may_come_from_a_file() {
    let environment = [("Mode", "offline"), ("ApiKey__File", "/run/key")];
    let with = |files| Given { environment: &environment, files, ..Given::default() };
    let settings = with(&[("/run/key", " rp-123\r\n")]).load().unwrap().settings;
    assert!(settings.api_key.unwrap().matches(b"rp-123"));
    let start = "ApiKey__File (environment variable ApiKey__File): ";
    assert!(with(&[]).errors()[0].starts_with(&format!("{start}cannot read /run/key: ")));
    assert!(with(&[("/run/key", "\n")]).errors()[0].starts_with(&format!("{start}the file is empty.")));
    let both = [("Mode", "offline"), ("ApiKey", "a"), ("ApiKey__File", "/run/key")];
    let errors = Given { environment: &both, files: &[("/run/key", "b")], ..Given::default() }.errors();
    assert_eq!(errors, [format!("{start}is given together with ApiKey. Keep one of the two.")]);
}

/// What went wrong: offline, the agent started with such a key and answered 401 for ever.
#[test]
fn a_key_that_no_client_can_send_is_refused_in_every_mode() {
    let agent =
        [("Mode", "auto"), ("AgentId", "a"), ("StreamingUri", "ws://els"), ("ForwardEvents", "false")];
    let offline = [("Mode", "offline"), ("DataFile", "d.json")];
    for mode in [&agent[..], &offline[..]] {
        let from_file = [mode, &[("ApiKey__File", "/run/key")]].concat();
        let with =
            |text| Given { environment: &from_file, files: &[("/run/key", text)], ..Given::default() }.load();
        assert!(with("\u{feff}rp-sesame\r\n").unwrap().settings.api_key.unwrap().matches(b"rp-sesame"));
        for (text, says) in [("rp-sesame\nrp-sesame", "contains 2 lines"), ("rp sesame", "contains a space")]
        {
            let errors: Vec<_> = with(text).unwrap_err().errors.iter().map(SettingError::to_string).collect();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(
                errors[0].starts_with("ApiKey__File (environment variable ApiKey__File): "),
                "{errors:?}"
            );
            assert!(errors[0].contains(says) && !errors[0].contains("sesame"), "{errors:?}");
        }
        let direct = [mode, &[("ApiKey", "rp sesame")]].concat();
        let errors = Given { environment: &direct, ..Given::default() }.errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("contains a space") && !errors[0].contains("sesame"), "{errors:?}");
    }
}

/// What went wrong: "ApiKey is not set" and "usage events are dropped" were reported together with a file that could not be
/// read, although the file sets both.
#[test]
fn a_settings_file_that_cannot_be_read_brings_no_warning_on_what_may_be_in_it() {
    let environment = [("Mode", "offline"), ("DataFile", "d.json")];
    for (files, is) in [(&[][..], "cannot read"), (&[("a.toml", "ApiKey = ")][..], "not valid TOML")] {
        let given = Given { environment: &environment, config: Some("a.toml"), files, ..Given::default() };
        let rejected = given.load().unwrap_err();
        assert!(rejected.errors.len() == 1 && rejected.errors[0].problem.contains(is), "{rejected:?}");
        assert_eq!(rejected.warnings, []);
    }
    assert_eq!(warnings(&environment).len(), 2);
}

/// What went wrong: `check` showed `Limits__BodySeconds  30` and `DataFilePollMilliseconds  500`, and byte counts of nine
/// digits.
#[test]
fn numbers_are_described_with_their_units() {
    let settings = settings(&[
        ("Limits__HeadSeconds", "7"),
        ("Limits__BodySeconds", "1m"),
        ("Limits__KeepAliveSeconds", "00:02:00"),
        ("Limits__UserBytes", "100000"),
        ("Limits__MessageBytes", "64KB"),
        ("Limits__BodyBytes", "2097152"),
    ]);
    let value = |name: &str| settings.effective.iter().find(|line| line.name == name).unwrap().value.clone();
    assert_eq!(value("Limits__HeadSeconds"), "7 s");
    assert_eq!(value("Limits__BodySeconds"), "1m");
    assert_eq!(value("Limits__KeepAliveSeconds"), "00:02:00");
    assert_eq!(value("Limits__UserBytes"), "100000 B");
    assert_eq!(value("Limits__MessageBytes"), "64KB");
    assert_eq!(value("Limits__BodyBytes"), "2 MB");
    assert_eq!(value("DataFilePollMilliseconds"), "500 ms");
    // None is left out, and all can be read as they are shown.
    for line in &settings.effective {
        let kind = DEFINITIONS.iter().find(|definition| definition.name == line.name).unwrap().kind;
        let (number, _) = line.value.split_once(" (").unwrap_or((&line.value, ""));
        match kind {
            Kind::Duration { unit, .. } => {
                assert!(number.parse::<u64>().is_err(), "{line:?}");
                assert!(value::duration(number, unit, 0, true).is_ok(), "{line:?}");
            }
            Kind::Bytes { .. } => {
                assert!(number.parse::<u64>().is_err(), "{line:?}");
                assert!(value::bytes(number, 0, u64::MAX).is_ok(), "{line:?}");
            }
            _ => {}
        }
    }
}
