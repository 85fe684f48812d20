//! The binary as a shell sees it: output, exit codes, and nothing secret in either.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary with nothing but `environment` around it.
fn agent(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_featbit-agent"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn version_and_help_go_to_standard_output() {
    let output = agent(&["--version"], &[]);
    assert_eq!(code(&output), 0);
    assert_eq!(stdout(&output), concat!("featbit-agent ", env!("CARGO_PKG_VERSION"), "\n"));
    let output = agent(&["--help"], &[]);
    assert_eq!(code(&output), 0);
    for part in ["--limits-verdict-wait", "[env: Streaming__TokenExpirySeconds]", "Exit codes:", "Signals:"] {
        assert!(stdout(&output).contains(part), "{part}");
    }
    assert!(stdout(&agent(&["-h"], &[])).len() < stdout(&output).len() / 3);
}

#[test]
fn a_command_line_that_is_not_understood_ends_with_64() {
    let output = agent(&["--mod", "offline"], &[]);
    assert_eq!(code(&output), 64);
    assert!(stderr(&output).contains("--mode"));
    assert_eq!(stdout(&output), "");
}

#[test]
fn bad_settings_end_the_start_with_78_and_all_errors_at_once() {
    for command in [&[][..], &["run"], &["check"]] {
        let arguments: Vec<_> = command.iter().chain(&["--urls", "ftp://*:1"]).copied().collect();
        let output = agent(&arguments, &[("Mode", "manual"), ("Reactors", "many"), ("ApiKye", "x")]);
        assert_eq!(code(&output), 78, "{command:?}");
        assert_eq!(stdout(&output), "");
        let text = stderr(&output);
        for part in [
            "3 errors in the settings:",
            "Urls (command line --urls): \"ftp://*:1\" has the scheme",
            "Reactors (environment variable Reactors): \"many\" is not a whole number",
            "DataFile, ApiKey: offline mode needs one of them",
            "warning: ApiKye (environment variable ApiKye): ",
            "Did you mean ApiKey?",
        ] {
            assert!(text.contains(part), "{command:?}: {part} not in {text}");
        }
    }
}

#[test]
fn missing_settings_of_auto_mode_end_with_78() {
    let output = agent(&[], &[]);
    assert_eq!(code(&output), 78);
    for name in ["ApiKey", "AgentId", "StreamingUri"] {
        assert!(stderr(&output).contains(&format!("\n  {name}: is needed")), "{}", stderr(&output));
    }
}

#[test]
fn check_shows_the_settings_without_the_secret() {
    let environment = [("mode", "offline"), ("APIKEY", "sesame"), ("Limits__VerdictWait", "5s")];
    let output = agent(&["check", "--forward-events", "false"], &environment);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(!text.contains("sesame"));
    assert!(!text.contains("Warning"), "{text}");
    let line =
        |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_string();
    assert!(line("ApiKey ").contains("****") && line("ApiKey ").contains("(environment variable APIKEY)"));
    assert!(line("Limits__VerdictWait").contains(" 5s "));
    assert!(line("ForwardEvents").contains("(command line --forward-events)"));
    assert!(line("Urls").contains("http://*:6100") && line("Urls").contains("(default)"));
}

#[test]
fn check_reads_the_settings_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(
        directory.path(),
        "appsettings.json",
        "{\n // a comment\n \"Mode\": \"offline\",\n \"ApiKey\": \"k\",\n}",
    );
    let output = agent(&["check", "--config", &config], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains(&format!("({config}:3)")), "{}", stdout(&output));
    let output = agent(&["check"], &[("FEATBIT_AGENT_CONFIG", &config), ("DataFile", "/does/not/exist")]);
    assert_eq!(code(&output), 65);
}

const SECRET: &str = "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w";

fn dump(op: &str) -> String {
    let environment = "\"envId\": \"7c689106-35df-4d9f-b4d8-cb3d7342e4c3\"";
    format!(
        r#"{{"eventType": "rp_full", "items": [{{{environment},
            "secrets": [{{"type": "server", "projectKey": "webapp", {environment}, "envKey": "prod", "value": "{SECRET}"}}],
            "featureFlags": [{{"id": "f1", {environment}, "key": "flag-1", "name": "Flag", "variationType": "boolean",
                "variations": [{{"id": "on", "name": "", "value": "true"}}], "targetUsers": [],
                "rules": [{{"id": "r", "name": "Rule", "conditions": [{{"id": "c", "property": "p", "op": {op}, "value": "1"}}],
                    "variations": [{{"id": "on", "rollout": [0, 1], "exptRollout": 1}}]}}],
                "isEnabled": true, "isArchived": false, "disabledVariationId": "on",
                "fallthrough": {{"variations": [{{"id": "on", "rollout": [0, 1], "exptRollout": 1}}]}},
                "exptIncludeAllTargets": false, "updatedAt": "2025-01-01T00:00:00.123Z"}}],
            "segments": []}}]}}"#
    )
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn check_sums_up_a_good_data_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "data.json", &dump("\"Equal\""));
    let output = agent(&["check", "--mode", "offline", "--data-file", &file], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("environments 1, flags 1, segments 0, secrets 1, data version 1735689600123"),
        "{text}"
    );
    assert!(text.contains("webapp:prod: flags 1, segments 0, server secrets 1, client secrets 0"), "{text}");
    assert!(!text.contains(SECRET));
}

#[test]
fn check_reports_oddities_of_a_data_file_and_accepts_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "data.json", &dump("\"Resembles\""));
    let output = agent(&["check", "--mode", "offline", "--data-file", &file], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let warning = "warning: items[0].featureFlags[0].rules[0].conditions[0].op: ";
    assert!(stdout(&output).contains(warning), "{}", stdout(&output));
}

#[test]
fn check_warns_of_a_data_file_that_lost_its_environments_or_is_from_the_future() {
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file = write(directory.path(), "data.json", text);
        let output = agent(&["check", "--mode", "offline", "--data-file", &file], &[]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output)
    };
    let text = check(r#"{"eventType":"rp_full","items":[]}"#);
    assert!(text.contains("warning: items: is empty: no SDK can connect"), "{text}");
    let far = dump("\"Equal\"").replace("2025-01-01", "2199-01-01");
    let text = check(&far);
    assert!(text.contains("warning: webapp:prod/"), "{text}");
    assert!(text.contains(".updatedAt: is 2199-01-01"), "{text}");
}

#[test]
fn check_ends_with_65_for_a_bad_data_file_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "data.json", &dump("7"));
    let output = agent(&["check", "--mode", "offline", "--data-file", &file], &[]);
    assert_eq!(code(&output), 65);
    let text = stderr(&output);
    assert!(text.contains("error: items[0].featureFlags[0].rules[0].conditions[0].op: "), "{text}");
    assert!(!text.contains(SECRET));
    let output =
        agent(&["check", "--mode", "offline", "--data-file", &file, "--limits-bootstrap-bytes", "1KB"], &[]);
    assert_eq!(code(&output), 65);
    assert!(
        stderr(&output).contains("larger than Limits__BootstrapBytes, 1024 bytes"),
        "{}",
        stderr(&output)
    );
}

/// What went wrong: devices were read until memory was out, and named pipes were waited for.
#[test]
fn pipes_and_devices_are_refused_and_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    for path in ["/dev/zero", pipe.to_str().unwrap(), directory.path().to_str().unwrap()] {
        for (option, expected) in
            [("--data-file", 65), ("--api-key-file", 78), ("--relay-keys-file", 78), ("--config", 78)]
        {
            let output = agent(&["check", "--mode", "offline", option, path], &[]);
            assert_eq!(code(&output), expected, "{option} {path}: {}", stderr(&output));
            assert!(stderr(&output).contains("it is not a file"), "{option} {path}: {}", stderr(&output));
        }
    }
    let key = directory.path().join("key");
    std::fs::File::create(&key).unwrap().set_len(8 << 20).unwrap();
    let output = agent(&["check", "--mode", "offline", "--api-key-file", key.to_str().unwrap()], &[]);
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("it is larger than the agent's limit"), "{}", stderr(&output));
}

/// What went wrong: beside a file of settings that could not be read, everything was missing that may have been in it.
#[test]
fn a_file_of_settings_that_cannot_be_read_is_the_only_error() {
    let directory = tempfile::tempdir().unwrap();
    let broken = write(directory.path(), "agent.toml", "Mode = [");
    for config in [broken.as_str(), "/does/not/exist"] {
        for command in [&["run"][..], &["check"], &["check", "--mode", "offline"], &["pull", "--out", "-"]] {
            let arguments: Vec<_> = command.iter().chain(&["--config", config]).copied().collect();
            let output = agent(&arguments, &[]);
            assert_eq!(code(&output), 78, "{command:?}");
            let text = stderr(&output);
            assert!(text.contains("1 error in the settings:\n  --config ("), "{command:?}: {text}");
        }
    }
}

/// What went wrong: of several wrong URLs only the first was reported.
#[test]
fn every_wrong_url_is_an_error_of_its_own() {
    let output = agent(&["check", "--mode", "offline", "--api-key", "k", "--urls", "ftp://x;http://:x"], &[]);
    assert_eq!(code(&output), 78);
    for part in ["2 errors", "\"ftp://x\" has the scheme", "\"http://:x\" has"] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
}

/// What went wrong: an answer that could not be written was lost, and the exit code said that all was well.
#[test]
fn an_answer_that_is_lost_ends_with_74_and_a_reader_that_went_away_with_0() {
    for arguments in [&["--help"][..], &["--version"], &["check", "--mode", "offline", "--api-key", "k"]] {
        let run = |output: std::process::Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_featbit-agent"));
            command.args(arguments).env_clear().stdout(output).output().unwrap()
        };
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(full.into());
        assert_eq!(code(&output), 74, "{arguments:?}");
        assert!(stderr(&output).contains("standard output cannot be written"), "{}", stderr(&output));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(writer.into());
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{arguments:?}");
    }
}

/// Answers one request with `answer` and returns what was asked.
fn serve_once(listener: TcpListener, answer: &'static str) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        socket.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    })
}

#[test]
fn health_prints_the_agents_answer() {
    for (answer, expected, part) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nHealthy", 0, "200 Healthy"),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nUnhealthy", 1, "503 Unhealthy"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let urls = format!("http://*:{}", listener.local_addr().unwrap().port());
        let served = serve_once(listener, answer);
        // Other settings may be wrong, and a proxy must not be asked.
        let environment = [("Urls", urls.as_str()), ("Mode", "x"), ("http_proxy", "http://127.0.0.1:9")];
        let output = agent(&["health"], &environment);
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        assert!(stdout(&output).contains(part), "{}", stdout(&output));
        assert!(served.join().unwrap().starts_with("GET /health/readiness HTTP/1.1\r\n"));
    }
}

#[test]
fn health_ends_with_1_without_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    drop(listener);
    let output = agent(&["health", "--url", &url], &[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains(&url), "{}", stderr(&output));
    assert_eq!(code(&agent(&["health", "--urls", "http://*:0"], &[])), 78);
}

#[test]
fn check_validates_files_and_proxies() {
    let output = agent(
        &[
            "check",
            "--api-key",
            "rp-key",
            "--agent-id",
            "a",
            "--upstream-ca-file",
            "/nowhere/ca.pem",
            "--backup-file",
            "/nowhere/backup",
        ],
        &[
            ("StreamingUri", "wss://els.example"),
            ("ForwardEvents", "false"),
            ("https_proxy", "socks5://me:secret@proxy"),
        ],
    );
    assert_eq!(code(&output), 78);
    let text = stderr(&output);
    for part in [
        "3 errors in the settings",
        "Upstream__CaFile: cannot read /nowhere/ca.pem",
        "BackupFile: files cannot be created in the folder /nowhere",
        "https_proxy: ",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn a_preview_of_pseudonyms_needs_no_other_setting_and_shows_no_key() {
    let key = ("Events__PseudonymKey", "0123456789abcdef0123456789abcdef");
    let output = agent(&["events", "preview"], &[]);
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    assert!(stdout(&output).contains("random key") && stdout(&output).contains("As it leaves this machine"));
    let arguments = ["events", "preview", "--json", "--events-properties", "plan;age=range:10"];
    let output = agent(&arguments, &[key]);
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    let text = stdout(&output);
    assert!(text.contains(r#"{"name":"age","value":"30-39"}"#) && !text.contains("0123456789"), "{text}");
    assert_eq!(stdout(&agent(&arguments, &[key])), text, "pseudonyms are stable");
    assert_eq!(code(&agent(&["events", "preview", "--events-properties", "plan=mask"], &[])), 78);
    assert_eq!(code(&agent(&["events", "preview", "/nonexistent/events.json"], &[])), 66);
    assert_eq!(code(&agent(&["events", "preview", "Cargo.toml"], &[])), 65);
}

const SENDING: [(&str, &str); 3] = [("Mode", "offline"), ("ApiKey", "k"), ("EventUri", "http://els:5100")];

#[test]
fn check_shows_what_leaves_the_machine_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("new/events");
    let directory = directory.to_str().unwrap();
    let more = [
        ("Events__Mode", "pseudonymize"),
        ("Events__Directory", directory),
        ("Events__Overrides", "shop:dev=local"),
    ];
    let output = agent(&["check"], &[&SENDING[..], &more].concat());
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    for part in [
        "\nUsage events are sent to http://els:5100 without what identifies a user; 1 environment has another mode\n",
        "\n  shop:dev: local\n",
        &format!("\n  The pseudonym key will be made: {directory}/pseudonym.key\n"),
    ] {
        assert!(stdout(&output).contains(part), "{part} in {}", stdout(&output));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // The key that is there is told by its id, and who can read it matters.
    let file = folder.path().join("key");
    std::fs::write(&file, "0123456789abcdefghijklmnopqrstuv").unwrap();
    let key = [("Events__PseudonymKey__File", file.to_str().unwrap())];
    let output = agent(&["check"], &[&SENDING[..], &more[..1], &key].concat());
    let text = stdout(&output);
    assert!(
        text.contains("The id of the pseudonym key is 9635bb2b") && text.contains("Warning: the file of the"),
        "{text}"
    );
    assert!(!text.contains("0123456789abcdef"));
}

#[test]
fn check_and_run_refuse_the_same_folders_and_keys_of_usage_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let in_the_way = path("file");
    std::fs::write(&in_the_way, "short").unwrap();
    let (below, beside) = (path("file/events"), path("none/key"));
    std::fs::create_dir(path("events")).unwrap();
    std::fs::write(path("events/spool"), "").unwrap();
    let mode = ("Events__Mode", "pseudonymize");
    let key = ("Events__PseudonymKey", "0123456789abcdefghijklmnopqrstuv");
    for (given, setting) in [
        ([mode, ("Events__Directory", below.as_str()), key], "Events__Directory: "),
        ([mode, ("Events__Directory", in_the_way.as_str()), key], "Events__Directory: "),
        ([mode, ("Events__Directory", &path("events")), key], "Events__Directory: "),
        ([mode, mode, ("Events__PseudonymKey__File", &beside)], "Events__PseudonymKey__File: "),
        ([mode, mode, ("Events__PseudonymKey__File", &in_the_way)], "Events__PseudonymKey__File: "),
        (
            [mode, mode, ("Events__PseudonymKey", "abababababababababababababababababababab")],
            "Events__PseudonymKey (",
        ),
    ] {
        for command in ["check", "run"] {
            let output = agent(&[command, "--urls", "http://127.0.0.1:0"], &[&SENDING[..], &given].concat());
            let text = format!("{}{}", stdout(&output), stderr(&output));
            assert_eq!(code(&output), 78, "{command} {given:?}: {text}");
            assert!(text.contains(setting), "{command} {given:?}: {text}");
        }
    }
}
