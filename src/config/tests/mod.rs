//! The settings as a whole: precedence, spellings, what a mode needs, the text of every error.

mod events;
mod modes;
mod tls;

use std::ffi::OsString;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::*;

/// Everything that settings can come from; `files` are the only ones that exist.
#[derive(Default)]
pub(super) struct Given<'a> {
    pub(super) command_line: &'a [(Key, &'a str)],
    pub(super) environment: &'a [(&'a str, &'a str)],
    pub(super) config: Option<&'a str>,
    pub(super) files: &'a [(&'a str, &'a str)],
}

impl Given<'_> {
    fn with<R>(&self, use_inputs: impl FnOnce(&Inputs<'_>) -> R) -> R {
        let read = |path: &Path| {
            let found = self.files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| text.as_bytes().to_vec()).ok_or(io::Error::from(io::ErrorKind::NotFound))
        };
        use_inputs(&Inputs {
            command_line: self.command_line.iter().map(|(key, value)| (*key, value.to_string())).collect(),
            config_file: self.config.map(PathBuf::from),
            environment: self.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            read: &read,
        })
    }

    pub(super) fn load(&self) -> Result<Loaded, RejectedSettings> {
        self.with(load)
    }

    pub(super) fn errors(&self) -> Vec<String> {
        self.load().unwrap_err().errors.iter().map(SettingError::to_string).collect()
    }
}

/// An environment on top of the least that offline mode needs.
pub(super) fn offline<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [("Mode", "offline"), ("DataFile", "data.json")].iter().chain(more).copied().collect()
}

pub(super) fn settings(more: &[(&str, &str)]) -> Settings {
    Settings::from_pairs(&offline(more)).unwrap()
}

/// The one error of offline mode with one more variable.
pub(super) fn error(name: &str, value: &str) -> String {
    let environment = offline(&[(name, value)]);
    let errors = Given { environment: &environment, ..Given::default() }.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].clone()
}

pub(super) fn warnings(environment: &[(&str, &str)]) -> Vec<String> {
    let loaded = Given { environment, ..Given::default() }.load().unwrap();
    loaded.warnings.iter().map(SettingError::to_string).collect()
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let settings = settings(&[]);
    assert_eq!(settings.mode, Mode::Offline);
    assert_eq!(settings.api_key, None);
    assert_eq!(
        settings.data_file,
        Some(DataFile { path: "data.json".into(), poll: Duration::from_millis(500) })
    );
    let backup = Backup { file: None, compact_factor: 4, tombstone_days: 30, wait: Duration::from_secs(10) };
    assert_eq!(settings.backup, backup);
    let events = Events {
        mode: EventsMode::Drop,
        overrides: Vec::new(),
        uri: None,
        directory: None,
        pseudonym_key: None,
        properties: Vec::new(),
        queue_bytes: 16 << 20,
        spool_bytes: 1 << 30,
        spool_age: Duration::from_secs(7 * 24 * 60 * 60),
        request_bytes: 1 << 20,
        request_events: 1000,
        flush: Duration::from_secs(1),
        gzip: false,
        timeout: Duration::from_secs(10),
        retry: Duration::from_secs(60),
        local_file_bytes: 64 << 20,
        local_bytes: 1 << 30,
        local_days: 30,
        dead_letter_bytes: 16 << 20,
    };
    assert_eq!(settings.events, events);
    let dial = Dial {
        ca_file: None,
        client_certificate: None,
        proxy: ProxyChoice::Environment,
        connect: Duration::from_secs(10),
    };
    assert_eq!(settings.dial, dial);
    assert_eq!(settings.listen.iter().map(Listen::to_string).collect::<Vec<_>>(), ["http://*:6100"]);
    assert_eq!(settings.backlog, 65_535);
    assert_eq!(settings.reactors, None);
    assert_eq!(settings.echo_path, None);
    assert_eq!(settings.revocation_grace, Duration::from_secs(60));
    let thirty = Duration::from_secs(30);
    assert_eq!(settings.streaming, Streaming { token_expiry: thirty, token_hold: thirty });
    assert_eq!(settings.polling, Polling { allow_client_secret_for_server: false });
    assert_eq!(settings.cors, Cors { origins: Origins::Any, max_age: Duration::from_secs(600) });
    assert_eq!(settings.shutdown_delay, Duration::ZERO);
    assert_eq!(settings.shutdown_drain, Duration::from_secs(10));
    assert_eq!(settings.metrics, None);
    assert_eq!(settings.log, Log { level: LevelFilter::INFO, format: LogFormat::Text });
    let expected = Limits {
        connections: None,
        verdict_wait: Duration::from_secs(10),
        head: Duration::from_secs(15),
        body: Duration::from_secs(30),
        keep_alive: Duration::from_secs(130),
        stream_idle: Some(Duration::from_secs(120)),
        write_stall: Duration::from_secs(30),
        write_min_bytes_per_second: 1024,
        close: Duration::from_secs(5),
        header_bytes: 32_768,
        headers: 100,
        body_bytes: 30_000_000,
        user_bytes: 1_048_576,
        user_properties: 1000,
        message_bytes: 65_536,
        bootstrap_bytes: 536_870_912,
        bootstraps: 1,
        pending_bytes: 268_435_456,
        send_buffer_bytes: 65_536,
        regex_program_bytes: 10_485_760,
        regex_total_bytes: 268_435_456,
        regex_steps: 100_000,
    };
    assert_eq!(settings.limits, expected);
}

#[test]
fn a_backup_file_and_its_settings_are_read() {
    let settings = settings(&[
        ("BackupFile", "/var/lib/featbit-agent/backup"),
        ("Backup:CompactFactor", "2"),
        ("backup__tombstonedays", "3650"),
        ("Backup__WaitSeconds", "500ms"),
    ]);
    let file = Some("/var/lib/featbit-agent/backup".into());
    let wait = Duration::from_millis(500);
    assert_eq!(settings.backup, Backup { file, compact_factor: 2, tombstone_days: 3650, wait });
}

/// What could go wrong: the data file of an operator is renamed, because it is no backup.
#[test]
fn a_data_file_was_taken_for_the_backup_file() {
    let error = error("BackupFile", ".//data.json");
    assert!(error.contains("the same file as DataFile"), "{error}");
}

/// What went wrong: the agent moved the data file away and put a backup in its place, since the backup file was a link to
/// it.
#[test]
fn a_link_to_the_data_file_was_taken_for_the_backup_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("data"), "{}").unwrap();
    std::os::unix::fs::symlink("data", path("symbolic")).unwrap();
    std::fs::hard_link(path("data"), path("hard")).unwrap();
    std::fs::write(path("backup"), "{}").unwrap();
    let load = |backup| {
        let (data, backup) = (path("data"), path(backup));
        Settings::from_pairs(&[("Mode", "offline"), ("DataFile", &data), ("BackupFile", &backup)])
    };
    for link in ["symbolic", "hard"] {
        let error = load(link).unwrap_err().to_string();
        assert!(error.contains("the same file as DataFile"), "{error}");
    }
    load("backup").unwrap();
    load("none yet").unwrap();
}

#[test]
fn the_command_line_goes_over_the_environment_and_that_over_the_file() {
    let files =
        [("a.toml", "Mode = 'offline'\nDataFile = 'file.json'\nReactors = 1\n[Limits]\nHeaders = 20")];
    let environment =
        [("DataFile", "environment.json"), ("Reactors", "2"), ("FEATBIT_AGENT_CONFIG", "a.toml")];
    let given = Given {
        command_line: &[(Key::Reactors, "3")],
        environment: &environment,
        files: &files,
        config: None,
    };
    let settings = given.load().unwrap().settings;
    assert_eq!(settings.limits.headers, 20);
    assert_eq!(settings.data_file.as_ref().unwrap().path, Path::new("environment.json"));
    assert_eq!(settings.reactors, NonZeroUsize::new(3));
    let origin = |key: Key| settings.effective[key as usize].origin.clone();
    assert_eq!(origin(Key::LimitsHeaders), Origin::File("a.toml".into(), 5));
    assert_eq!(origin(Key::DataFile), Origin::Environment("DataFile".into()));
    assert_eq!(origin(Key::Reactors), Origin::CommandLine("--reactors".into()));
    assert_eq!(origin(Key::Urls), Origin::Default);
}

#[test]
fn a_file_of_the_command_line_goes_over_that_of_the_environment() {
    let files =
        [("a.toml", "Mode = 'offline'\nDataFile = 'a'"), ("b.toml", "Mode = 'offline'\nDataFile = 'b'")];
    let environment = [("featbit_agent_config", "a.toml")];
    let given = Given { environment: &environment, files: &files, ..Given::default() };
    assert_eq!(given.load().unwrap().settings.data_file.unwrap().path, Path::new("a"));
    let given = Given { config: Some("b.toml"), ..given };
    assert_eq!(given.load().unwrap().settings.data_file.unwrap().path, Path::new("b"));
}

#[test]
fn a_blank_value_means_the_default_and_hides_lower_sources() {
    let files =
        [("a.json", r#"{"Mode": "offline", "DataFile": "d", "Reactors": 4, "Limits": {"Headers": "  "}}"#)];
    let environment = [("Reactors", " ")];
    let given =
        Given { environment: &environment, config: Some("a.json"), files: &files, ..Given::default() };
    let settings = given.load().unwrap().settings;
    assert_eq!(settings.reactors, None);
    assert_eq!(settings.limits.headers, 100);
}

#[test]
fn environment_names_are_taken_in_any_case_and_with_either_separator() {
    for name in ["Limits__VerdictWait", "LIMITS__VERDICTWAIT", "limits:verdictwait", "Limits:VerdictWait"] {
        assert_eq!(settings(&[(name, "00:00:05")]).limits.verdict_wait, Duration::from_secs(5), "{name}");
    }
}

#[test]
fn two_spellings_of_one_variable_must_agree() {
    assert_eq!(settings(&[("Reactors", "2"), ("REACTORS", "2")]).reactors, NonZeroUsize::new(2));
    let environment = offline(&[("Reactors", "2"), ("REACTORS", "3")]);
    assert_eq!(
        Given { environment: &environment, ..Given::default() }.errors(),
        [
            "Reactors (environment variable Reactors): is also set, to another value, by the environment variable \
             REACTORS. Keep one of the two."
        ]
    );
}

#[test]
fn dotnets_variables_say_where_to_listen_the_nearest_first() {
    let listens = |environment: &[(&str, &str)]| {
        settings(environment).listen.iter().map(Listen::to_string).collect::<Vec<_>>()
    };
    let mut environment = vec![("DOTNET_HTTP_PORTS", "5"), ("HTTP_PORTS", "4;44")];
    assert_eq!(listens(&environment), ["http://*:4", "http://*:44"]);
    environment.push(("DOTNET_URLS", "http://+:3"));
    assert_eq!(listens(&environment), ["http://*:3"]);
    environment.push(("ASPNETCORE_URLS", "http://+:2"));
    assert_eq!(listens(&environment), ["http://*:2"]);
    environment.push(("URLS", ""));
    assert_eq!(listens(&environment), ["http://*:2"]);
    environment.push(("Urls", "http://+:1"));
    assert_eq!(listens(&environment), ["http://*:1"]);
}

#[test]
fn lists_are_taken_whole_or_by_index() {
    let expected = Origins::List(vec!["https://a.example".into(), "https://b.example:8443".into()]);
    for environment in [
        &[("Cors__Origins", "https://A.example, https://b.example:8443/")][..],
        &[("Cors__Origins__1", "https://b.example:8443"), ("CORS:ORIGINS:0", "https://a.example")],
    ] {
        assert_eq!(settings(environment).cors.origins, expected);
    }
    assert_eq!(settings(&[("Cors__Origins", "https://a.example,*")]).cors.origins, Origins::Any);
}

#[test]
fn every_error_says_where_it_came_from_and_what_to_do() {
    for (name, value, expected) in [
        ("Mode", "manuel", "is not a mode. Write auto (or agent), or manual (or offline)."),
        ("ForwardEvents", "yes", "is neither true nor false. Write true or false."),
        ("Streaming__TrackClientHostName", "2", "is neither true nor false. Write true or false."),
        ("Reactors", "4.5", "is not a whole number. Write a number from 0 to 1024."),
        ("Limits__Headers", "5", "is out of range. Write a number from 16 to 128."),
        (
            "Limits__HeadSeconds",
            "10 bananas",
            "has the unit \"bananas\", which is not a unit of time. Write ms, s, m, h or d after the number.",
        ),
        (
            "Limits__StreamIdleSeconds",
            "36",
            "is too short. Write seconds, or a number with ms, s, m, h or d, or hh:mm:ss, at least 37, or 0.",
        ),
        (
            "Limits__BodyBytes",
            "10s",
            "has the unit \"s\", which is not a unit of size. Write bytes, or a number with KB, MB or GB (by 1024), \
             from 1024 to 1073741824 bytes.",
        ),
        (
            "Cors__Origins",
            "shop.example",
            "contains something that is not an origin. Write `*`, or origins such as https://shop.example, separated by commas.",
        ),
        ("EchoPath", "echo", "is not a plain path. Write one such as /echo."),
        ("EchoPath", "/API/x", "is a path that the agent serves. Choose another one, such as /echo."),
        ("Logging__Level", "loud", "is not a log level. Write error, warn, info, debug, trace or off."),
        ("Logging__Format", "xml", "is not a log format. Write auto, text or json."),
        (
            "StreamingUri",
            "ws://",
            "has no host. Write one such as ws://evaluation-server:5100 (schemes: ws, wss, http, https).",
        ),
        (
            "EventUri",
            "http://e:0",
            "has a port that is not from 1 to 65535. Write one such as http://evaluation-server:5100 (schemes: \
             http, https).",
        ),
    ] {
        let environment: Vec<_> =
            offline(&[]).into_iter().filter(|(known, _)| *known != name).chain([(name, value)]).collect();
        let errors = Given { environment: &environment, ..Given::default() }.errors();
        assert_eq!(errors, [format!("{name} (environment variable {name}): {value:?} {expected}")]);
    }
}

#[test]
fn errors_of_all_sources_come_together() {
    let files = [("a.toml", "Mode = 'offline'\nBanana = 1\n[Limits]\nHeaders = 'x'\n")];
    let environment = [("Limits__Bootstraps", "0")];
    let command_line = [(Key::Urls, "6100")];
    let given = Given {
        command_line: &command_line,
        environment: &environment,
        config: Some("a.toml"),
        files: &files,
    };
    let errors = given.errors();
    for start in [
        "Banana (a.toml:2): ",
        "Limits__Headers (a.toml:4): \"x\" ",
        "Limits__Bootstraps (environment variable Limits__Bootstraps): \"0\" ",
        "Urls (command line --urls): \"6100\" ",
        "DataFile, ApiKey: ",
    ] {
        assert!(errors.iter().any(|error| error.starts_with(start)), "{start} not in {errors:#?}");
    }
    assert_eq!(errors.len(), 5, "{errors:#?}");
    let text = given.load().unwrap_err().to_string();
    assert!(text.starts_with("5 errors in the settings:\n  "), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let given = Given { config: Some("gone.toml"), environment: &offline(&[]), ..Given::default() };
    let errors = given.errors();
    assert!(errors[0].starts_with("--config (command line --config): cannot read gone.toml: "), "{errors:?}");
}

#[test]
fn variables_that_look_like_ours_get_a_warning_and_others_none() {
    let quiet = [
        ("ApiKey", "k"),
        ("ForwardEvents", "false"),
        ("PATH", "/bin"),
        ("Logging__LogLevel__Microsoft", "Warning"),
        ("Kestrel__Limits__MaxConcurrentConnections", "1"),
        ("ASPNETCORE_ENVIRONMENT", "Production"),
    ];
    for (name, expected) in [
        ("Limits__VerdictWiat", "Did you mean Limits__VerdictWait?"),
        ("Streaming:Bananas", "is not a setting of the agent and is ignored."),
        ("API_KEY", "Did you mean ApiKey?"),
        ("Logging__Levle", "Did you mean Logging__Level?"),
        ("Tls__CertFile", "Did you mean Tls__CertificateFile?"),
    ] {
        let mut environment = offline(&quiet);
        assert_eq!(warnings(&environment), [""; 0]);
        environment.push((name, "1"));
        let warnings = warnings(&environment);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(&format!("{name} (environment variable {name}): ")), "{warnings:?}");
        assert!(warnings[0].contains(expected), "{warnings:?}");
    }
    let short = |value| warnings(&[offline(&quiet), vec![("Mod", value)]].concat());
    assert!(short("offline")[0].ends_with("Did you mean Mode?"), "{:?}", short("offline"));
    assert_eq!(short("0755"), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_text_is_an_error_only_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let inputs = |name: &str| Inputs {
        command_line: vec![(Key::Mode, "offline".into()), (Key::ApiKey, "k".into())],
        config_file: None,
        environment: vec![(name.into(), odd.clone()), (odd.clone(), odd.clone())],
        read: &|_| Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    assert!(load(&inputs("LS_COLORS")).is_ok());
    let errors = load(&inputs("DataFile")).unwrap_err().errors;
    assert_eq!(
        errors[0].to_string(),
        "DataFile (environment variable DataFile): is not UTF-8. Write it in UTF-8."
    );
}

#[test]
fn zero_means_what_the_table_says() {
    let settings = settings(&[
        ("Limits__StreamIdleSeconds", "0"),
        ("Limits__Connections", "0"),
        ("Limits__VerdictWait", "0"),
        ("RevocationGraceSeconds", "0"),
    ]);
    assert_eq!(settings.limits.stream_idle, None);
    assert_eq!(settings.limits.connections, None);
    assert_eq!(settings.limits.verdict_wait, Duration::ZERO);
    assert_eq!(settings.revocation_grace, Duration::ZERO);
    assert!(error("Limits__CloseSeconds", "0").contains("is too short"));
}

#[test]
fn levels_have_their_own_names_and_dotnets() {
    for (value, level) in [
        ("off", LevelFilter::OFF),
        ("None", LevelFilter::OFF),
        ("Critical", LevelFilter::ERROR),
        ("Warning", LevelFilter::WARN),
        ("Information", LevelFilter::INFO),
        ("DEBUG", LevelFilter::DEBUG),
        ("Trace", LevelFilter::TRACE),
    ] {
        assert_eq!(settings(&[("Logging__LogLevel__Default", value)]).log.level, level, "{value}");
    }
    let both =
        [("Logging__LogLevel__Default", "Trace"), ("Logging__Level", "error"), ("Logging__Format", "JSON")];
    let log = settings(&both).log;
    assert_eq!(log, Log { level: LevelFilter::ERROR, format: LogFormat::Json });
}

#[test]
fn metrics_have_a_port_of_their_own_or_the_data_port() {
    let listen = settings(&[("Metrics__Url", "http://localhost:9100")]).metrics.unwrap();
    assert_eq!(
        listen.iter().map(Listen::to_string).collect::<Vec<_>>(),
        ["http://127.0.0.1:9100", "http://[::1]:9100"]
    );
    assert!(error("Metrics__Url", "http://localhost:6100").contains("has a port that is also in Urls"));
}

#[test]
fn a_host_name_to_listen_on_is_told() {
    let quiet = [("ApiKey", "k"), ("ForwardEvents", "false"), ("Urls", "http://agent:6100")];
    let warnings = warnings(&offline(&quiet));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("\"agent\" is not resolved"), "{warnings:?}");
}

#[test]
fn describe_has_one_line_for_every_setting_with_its_source() {
    let lines = settings(&[("Reactors", "3")]).describe();
    assert_eq!(lines.len(), DEFINITIONS.len());
    for (line, definition) in lines.iter().zip(DEFINITIONS) {
        assert!(line.starts_with(definition.name), "{line}");
    }
    let line = |name: &str| lines.iter().find(|line| line.starts_with(name)).unwrap();
    assert!(line("Reactors").ends_with("(environment variable Reactors)"));
    assert!(line("Limits__Connections").contains("0 (what the descriptor limit allows)"));
    // In columns, whatever the defaults are.
    let source = |line: &String| line.rfind('(').unwrap();
    let place = source(&lines[0]);
    assert!(lines.iter().all(|line| source(line) == place), "{lines:#?}");
}

#[test]
fn where_it_listens_is_known_whatever_else_is_wrong() {
    let given = Given { environment: &[("Urls", "http://*:7"), ("Mode", "x")], ..Given::default() };
    assert_eq!(given.with(listening).unwrap()[0].port, 7);
    let given = Given { environment: &[("Urls", "x")], ..Given::default() };
    assert_eq!(given.with(listening).unwrap_err().errors.len(), 1);
}

#[test]
fn where_usage_events_are_is_known_whatever_else_is_wrong() {
    let given = Given { environment: &[("Events__Directory", "/data"), ("Mode", "x")], ..Given::default() };
    assert_eq!(given.with(events_directory).unwrap(), Some("/data".into()));
    assert_eq!(Given::default().with(events_directory).unwrap(), None);
    let given = Given { environment: &[("FEATBIT_AGENT_CONFIG", "none.toml")], ..Given::default() };
    assert_eq!(given.with(events_directory).unwrap_err().errors.len(), 1);
}

/// What went wrong: Kubernetes sends connections for seconds to a container that it has told to end.
#[test]
fn in_kubernetes_the_shutdown_is_delayed_unless_it_is_said_otherwise() {
    let kubernetes = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let delay = |more: &[(&str, &str)]| settings(more).shutdown_delay.as_secs();
    assert_eq!(delay(&[]), 0);
    assert_eq!(delay(&[("KUBERNETES_SERVICE_HOST", "")]), 0);
    assert_eq!(delay(&[kubernetes]), 5);
    assert_eq!(delay(&[kubernetes, ("Shutdown__DelaySeconds", "8s")]), 8);
    assert_eq!(delay(&[kubernetes, ("SHUTDOWN__DELAYSECONDS", "0")]), 0);
}
