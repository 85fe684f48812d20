//! Operating the agent: its data file, health and metrics, addresses, signals, logs and the other commands.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use common::agent::{API_KEY, Agent, Builder, run_to_end};
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, flag, iso, segment, serve, touch, user,
    write_atomically,
};
use common::http;
use common::raw::{
    BOOTSTRAP, CLIENT_POLL, SERVER_POLL, TRACK, assert_closed, assert_error, chunked, connect, request, send,
};
use common::ws::{Stream, token};
use common::{SOON, now_ms, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const KEY: (&str, &str) = ("Authorization", API_KEY);

fn one_flag() -> Environment {
    Environment::new(1).flag(boolean_flag("flag"))
}

fn serving(more: impl FnOnce(Builder) -> Builder) -> (Agent, Environment) {
    let environment = one_flag();
    let data = Dataset::of([environment.clone()]);
    (more(Builder::offline().api_key().data_file(&data)).start(), environment)
}

/// The lines of the log at a level.
fn lines(agent: &Agent, level: &str) -> Vec<String> {
    agent.lines(&format!(" {level} "))
}

fn signal(agent: &Agent, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn ended_well(status: ExitStatus) {
    assert_eq!(status.code(), Some(0), "{status}");
}

// ---- health and metrics ----

#[test]
fn health_is_what_load_balancers_expect() {
    let agent = Builder::offline().api_key().start();
    for (path, status, word) in
        [("/health/liveness", 200, "Healthy"), ("/health/readiness", 503, "Unhealthy")]
    {
        let answer = agent.get(path, &[]).expect(status);
        assert_eq!(answer.text(), word);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    agent.bootstrap(&Dataset::default());
    assert_eq!(agent.get("/health/readiness", &[]).expect(200).text(), "Healthy");
}

type Labels = Vec<(String, String)>;

/// Name, labels and value of a sample, if the line is one by the exposition format's grammar.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        None => (series, Vec::new()),
        Some((name, rest)) => {
            let mut labels = Vec::new();
            let mut rest = rest.strip_suffix('}')?;
            while !rest.is_empty() {
                let (label, after) = rest.split_once("=\"")?;
                let end = after.find('"')?;
                labels.push((label.to_owned(), after[..end].to_owned()));
                rest = after[end + 1..].trim_start_matches(',');
            }
            (name, labels)
        }
    };
    let good = is_name(name) && labels.iter().all(|(label, _)| is_name(label));
    Some((name.to_owned(), labels, value.parse().ok()?)).filter(|_| good)
}

#[test]
fn every_line_of_the_metrics_is_valid() {
    let (agent, environment) = serving(|agent| agent);
    // Something in every family.
    let mut stream = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    stream.request_data(0);
    stream.next_data();
    agent.get(SERVER_POLL, &[("Authorization", &environment.secret(Kind::Client))]).expect(401);
    let labelled = wait_until("the connection is counted", SOON, || {
        let page = agent.get("/metrics", &[]).expect(200);
        page.text().contains("environment_connections{").then_some(page)
    });
    let content_type = labelled.header("content-type").unwrap();
    assert!(
        content_type.starts_with("application/openmetrics-text") || content_type.starts_with("text/plain")
    );
    let page = labelled.text();
    assert!(page.ends_with("# EOF\n"));
    let (mut types, mut series) = (std::collections::HashMap::new(), std::collections::HashSet::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line} twice");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.split_once(' ').is_some_and(|(_, help)| help.ends_with('.')), "{line}");
        } else if line != "# EOF" {
            let (name, labels, value) = sample(line).unwrap_or_else(|| panic!("{line:?} is no sample"));
            assert!(value >= 0.0, "{line}");
            assert!(series.insert((name.clone(), labels.clone())), "{line} twice");
            let family =
                types.keys().filter(|family| name.starts_with(*family)).max_by_key(|family| family.len());
            let family = family.unwrap_or_else(|| panic!("{line} has no type"));
            let suffix = &name[family.len()..];
            let suffixes: &[&str] = match types[family].as_str() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line} is no {}", types[family]);
            let secret = environment.secret(Kind::Server);
            assert!(!line.contains(&secret[..22]) && !line.contains(API_KEY));
        }
    }
    for (name, labels, value) in [
        ("featbit_agent_environment_connections", "kind=\"server\"", 1.0),
        ("featbit_agent_connections", "kind=\"server\"", 1.0),
        ("featbit_agent_flags", "", 1.0),
        ("featbit_agent_environments", "", 1.0),
        ("featbit_agent_data_version", "", START_MS as f64),
        ("featbit_agent_refusals_total", "wrong_type", 1.0),
        ("featbit_agent_syncs_total", "full", 1.0),
    ] {
        agent.wait_metric(name, labels, value);
    }
    let received = agent.metric("featbit_agent_received_bytes_total", "");
    agent.wait_metric_at_least("featbit_agent_sent_bytes_total", "", received + 1.0);
}

/// A reactor that had lost its last connection slept, and its count by environment stayed what it had been.
#[test]
fn environment_connections_are_none_once_the_last_one_is_gone() {
    let (agent, environment) =
        serving(|agent| agent.env("Reactors", "4").env("Metrics__Url", "http://127.0.0.1:0"));
    let metrics = port_of(&agent, " (metrics)");
    let connections = || {
        let page = http::get(metrics, "/metrics", &[]).unwrap().expect(200);
        let mine =
            page.text().lines().filter(|line| line.starts_with("featbit_agent_environment_connections"));
        mine.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    let streams: Vec<Stream> =
        (0..12).map(|_| Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server))).collect();
    wait_until("all are counted", SOON, || (connections() == 12.0).then_some(()));
    drop(streams);
    wait_until("none is counted", SOON, || (connections() == 0.0).then_some(()));
}

/// The port before `mark` in the start-up summary.
fn port_of(agent: &Agent, mark: &str) -> u16 {
    let log = agent.log();
    let (before, _) = log.split_once(mark).unwrap_or_else(|| agent.fail("the summary lacks an address"));
    before.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn metrics_have_a_port_of_their_own_if_wanted() {
    let (agent, environment) = serving(|agent| agent.env("Metrics__Url", "http://127.0.0.1:0"));
    let metrics = port_of(&agent, " (metrics)");
    assert_error(&agent.get("/metrics", &[]), 404);
    let page = http::get(metrics, "/metrics", &[]).unwrap().expect(200);
    assert!(page.text().contains("featbit_agent_build_info{version=\""));
    for path in ["/health/liveness", "/health/readiness"] {
        http::get(metrics, path, &[]).unwrap().expect(200);
        agent.get(path, &[]).expect(200);
    }
    let secret = environment.secret(Kind::Server);
    for (path, key) in [
        (SERVER_POLL, secret.as_str()),
        ("/api/public/proxy/backup", API_KEY),
        ("/api/proxy/status", API_KEY),
        ("/streaming", ""),
    ] {
        assert_error(&http::get(metrics, path, &[("Authorization", key)]).unwrap(), 404);
    }
    assert_error(&http::post_json(metrics, BOOTSTRAP, &[KEY], "{}").unwrap(), 404);
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let path = format!("/streaming?type=server&token={}", token(&secret, now_ms(), 5));
    assert_error(&http::get(metrics, &path, &upgrade).unwrap(), 404);
}

// ---- the data file ----

fn from_file(path: &Path, more: impl FnOnce(Builder) -> Builder) -> Agent {
    let agent = Builder::offline()
        .env("DataFile", path.to_str().unwrap())
        .env("DataFilePollMilliseconds", "20")
        .env("ForwardEvents", "false")
        .api_key();
    more(agent).start()
}

fn ready(agent: &Agent) {
    wait_until("the agent is ready", SOON, || {
        (agent.get("/health/readiness", &[]).status == 200).then_some(())
    });
}

#[test]
fn a_file_that_is_missing_at_the_start_is_loaded_when_it_appears() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    let agent = from_file(&path, |agent| agent);
    agent.get("/health/readiness", &[]).expect(503);
    // It is looked at many times, and logged once.
    agent.wait_line(" ERROR ");
    let errors = lines(&agent, "ERROR");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("data.json") && errors[0].contains("No such file"), "{errors:?}");
    // What went wrong: "what is in service stays" was said, where nothing was.
    assert!(errors[0].contains("there is no data yet") && !errors[0].contains("stays"), "{errors:?}");
    write_atomically(&path, &Dataset::of([one_flag()]).to_text());
    ready(&agent);
    assert_eq!(lines(&agent, "ERROR").len(), 1);
    // Gone again: what is in service stays.
    std::fs::remove_file(&path).unwrap();
    wait_until("the loss is told", SOON, || (lines(&agent, "ERROR").len() == 2).then_some(()));
    assert!(lines(&agent, "ERROR")[1].contains("what is in service stays"), "{}", agent.log());
    agent.get("/health/readiness", &[]).expect(200);
    agent.get(SERVER_POLL, &[("Authorization", &one_flag().secret(Kind::Server))]).expect(200);
}

/// What went wrong: a file that was mounted into a container alone was replaced outside, and the agent served the old one for
/// ever without a log line.
#[test]
fn a_data_file_mounted_without_its_folder_is_logged_with_what_to_do() {
    use std::os::fd::AsRawFd;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    write_atomically(&path, &Dataset::of([one_flag()]).to_text());
    let open = std::fs::File::open(&path).unwrap();
    // A path that leads to the file itself, as a mount does.
    let alone = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
    let agent = from_file(std::path::Path::new(&alone), |agent| agent);
    ready(&agent);
    assert!(!agent.log().contains("Mount the folder"), "{}", agent.log());
    write_atomically(&path, &Dataset::of([one_flag()]).to_text());
    agent.wait_line("Mount the folder");
    agent.get("/health/readiness", &[]).expect(200);
    assert_eq!(lines(&agent, "WARN").iter().filter(|line| line.contains("Mount the folder")).count(), 1);
}

/// Opening a named pipe waits for who writes into it: the agent neither served nor took a bootstrap meanwhile.
#[test]
fn a_data_file_that_is_a_pipe_or_folder_does_not_block_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("data.json");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for path in [pipe.as_path(), dir.path()] {
        let agent = from_file(path, |agent| agent);
        assert!(agent.wait_line(" ERROR ").contains("it is not a file"), "{}", agent.log());
        agent.bootstrap(&Dataset::of([one_flag()]));
        agent.get("/health/readiness", &[]).expect(200);
    }
}

#[test]
fn a_broken_file_is_rejected_with_a_path_and_the_last_good_one_stays() {
    let mut environment = one_flag();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    write_atomically(&path, &Dataset::of([environment.clone()]).to_text());
    let agent = from_file(&path, |agent| agent);
    let secret = environment.secret(Kind::Server);
    let poll = || agent.get(SERVER_POLL, &[("Authorization", &secret)]).expect(200).body;
    let good = poll();
    let mut bad = environment.clone();
    bad.flag_mut("flag")["isEnabled"] = json!("yes");
    serve(bad.flag_mut("flag"), "v1");
    write_atomically(&path, &Dataset::of([bad]).to_text());
    agent.wait_line("items[0].featureFlags[0].isEnabled");
    assert!(poll() == good);
    agent.get("/health/readiness", &[]).expect(200);
    agent.wait_metric("featbit_agent_datasets_rejected_total", "\"file\"", 1.0);
    write_atomically(&path, "{\"eventType\":");
    agent.wait_line("the JSON is broken");
    assert!(poll() == good);
    touch(environment.flag_mut("flag"), 5);
    write_atomically(&path, &Dataset::of([environment]).to_text());
    wait_until("the mended file is taken", SOON, || (poll() != good).then_some(()));
}

#[test]
fn every_way_of_replacing_the_file_is_noticed() {
    let mut environment = one_flag();
    let secret = environment.secret(Kind::Server);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    let first = dir.path().join("first");
    std::fs::write(&first, Dataset::of([environment.clone()]).to_text()).unwrap();
    std::os::unix::fs::symlink(&first, &path).unwrap();
    let agent = from_file(&path, |agent| agent);
    let mut change = |later_ms: i64, write: &dyn Fn(&str)| {
        touch(environment.flag_mut("flag"), later_ms);
        write(&Dataset::of([environment.clone()]).to_text());
        wait_until(&format!("change {later_ms} is in service"), SOON, || {
            let target = format!("{SERVER_POLL}?timestamp={}", START_MS + later_ms - 1);
            let answer = agent.get(&target, &[("Authorization", &secret)]).expect(200);
            (!answer.body.is_empty()).then_some(())
        });
    };
    // Written in place, behind the link.
    change(1, &|text| std::fs::write(&first, text).unwrap());
    // The link is swapped, as Kubernetes does it.
    change(2, &|text| {
        let second = dir.path().join("second");
        std::fs::write(&second, text).unwrap();
        std::os::unix::fs::symlink(&second, dir.path().join("link")).unwrap();
        std::fs::rename(dir.path().join("link"), &path).unwrap();
    });
    // Renamed over.
    change(3, &|text| write_atomically(&path, text));
    // Removed, and written anew.
    change(4, &|text| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, text).unwrap();
    });
    // The same size within the same moment.
    change(5, &|text| std::fs::write(&path, text).unwrap());
}

#[test]
fn a_forgotten_updated_at_is_logged_once_and_raised_for_sdks() {
    let mut environment = one_flag().segment(segment("people"));
    let secret = environment.secret(Kind::Server);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    write_atomically(&path, &Dataset::of([environment.clone()]).to_text());
    let agent = from_file(&path, |agent| agent);
    serve(environment.flag_mut("flag"), "v1");
    write_atomically(&path, &Dataset::of([environment.clone()]).to_text());
    let line = agent.wait_line("`updatedAt` is not newer");
    assert!(line.contains("key=\"flag\"") && line.contains("project-1:production"), "{line}");
    let given = wait_until("the change is in service", SOON, || {
        let flag = agent.poll_newer(&secret, 0)["featureFlags"][0].take();
        (flag["fallthrough"]["variations"][0]["id"] == "v1").then_some(flag)
    });
    assert!(given["updatedAt"].as_str().unwrap() > iso(START_MS).as_str(), "{given}");
    assert_eq!(agent.poll_newer(&secret, START_MS)["featureFlags"], json!([given]));
    // The highest date that the data itself had.
    agent.wait_metric("featbit_agent_data_version", "", START_MS as f64);
    assert_eq!(lines(&agent, "WARN").iter().filter(|line| line.contains("updatedAt")).count(), 1);
}

// ---- commands ----

fn demo() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo.json").to_owned()
}

#[test]
fn check_sums_up_the_demo() {
    let (code, text) = run_to_end(&["check", "--mode", "offline", "--data-file", &demo()], &[], SOON);
    assert_eq!(code, Some(0), "{text}");
    for part in
        ["environments 3, ", "webshop:dev: flags ", "webshop:prod: flags ", "mobile:prod: flags ", "Urls"]
    {
        assert!(text.contains(part), "{part} not in {text}");
    }
    assert!(!text.contains("warning:"), "{text}");
}

/// What went wrong: `check` did not report what the agent logs once the file is in service.
#[test]
fn check_did_not_report_an_unusable_regular_expression() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    let dump = std::fs::read_to_string(demo()).unwrap();
    let broken = dump.replacen(r"^(", "(((", 1);
    assert_ne!(dump, broken);
    std::fs::write(&path, broken).unwrap();
    let (code, text) =
        run_to_end(&["check", "--mode", "offline", "--data-file", path.to_str().unwrap()], &[], SOON);
    assert_eq!(code, Some(0), "{text}");
    let says =
        "warning: webshop:dev/search-settings.rules[0].conditions[1].value: not a usable regular expression";
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_newcomer_needs_nothing_but_a_mode_and_a_file() {
    let agent = Builder::bare().arg("--mode").arg("offline").arg("--data-file").arg(&demo()).start();
    agent.get("/health/readiness", &[]).expect(200);
    let demo: Value = serde_json::from_slice(&std::fs::read(demo()).unwrap()).unwrap();
    for item in demo["items"].as_array().unwrap() {
        for secret in item["secrets"].as_array().unwrap() {
            let value = secret["value"].as_str().unwrap();
            if secret["type"] == "server" {
                let answer = agent.get(SERVER_POLL, &[("Authorization", value)]).expect(200);
                assert_eq!(answer.json()["data"]["featureFlags"], item["featureFlags"]);
                assert_eq!(answer.json()["data"]["segments"], item["segments"]);
            } else {
                let flags = agent.evaluate(value, &user("somebody", &[]));
                assert_eq!(flags.len(), item["featureFlags"].as_array().unwrap().len());
            }
        }
    }
    assert_error(&agent.get("/api/public/proxy/status", &[KEY]), 401);
    let summary = agent.wait_line("featbit-agent is running");
    for part in [
        "mode=\"offline\"",
        "addresses=\"http://127.0.0.1:",
        "webshop:dev,webshop:prod,mobile:prod",
        "data_version=",
    ] {
        assert!(summary.contains(part), "{part} not in {summary}");
    }
    assert!(lines(&agent, "ERROR").is_empty());
}

#[test]
fn health_asks_a_running_agent() {
    let agent = Builder::offline().api_key().start();
    let health = || run_to_end(&["health", "--url", &agent.url()], &[], SOON);
    let by_settings =
        || run_to_end(&["health"], &[("ASPNETCORE_URLS", &format!("http://+:{}", agent.port()))], SOON);
    assert_eq!(health().0, Some(1));
    assert!(health().1.contains("503 Unhealthy"));
    assert_eq!(by_settings().0, Some(1));
    agent.bootstrap(&Dataset::of([one_flag()]));
    let (code, text) = health();
    assert_eq!((code, text.contains("200 Healthy")), (Some(0), true), "{text}");
    assert_eq!(by_settings().0, Some(0));
    let url = agent.url();
    drop(agent);
    assert_eq!(run_to_end(&["health", "--url", &url], &[], SOON).0, Some(1));
}

/// What went wrong: an agent on all addresses was asked at one loopback alone, and a machine may lack either.
#[test]
fn health_asks_at_both_loopbacks() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return common::left_out("health_asks_at_both_loopbacks", "this machine has no IPv6");
    };
    let port = listener.local_addr().unwrap().port();
    let health = |url: &str| run_to_end(&["health", "--urls", &format!("{url}:{port}")], &[], SOON);
    let answering = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut asked = http::Connection::accepted(listener.accept().unwrap().0).unwrap();
            asked.read_request().unwrap();
            asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nHealthy").unwrap();
        }
    });
    for url in ["http://*", "http://[::]"] {
        let (code, text) = health(url);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(&format!("http://[::1]:{port}/health/readiness: 200 Healthy")), "{text}");
    }
    answering.join().unwrap();
    // There is no answer any more: both addresses are reported.
    let (code, text) = health("http://*");
    assert_eq!(code, Some(1));
    for loopback in ["127.0.0.1", "[::1]"] {
        assert!(text.contains(&format!("http://{loopback}:{port}")), "{text}");
    }
}

#[test]
fn a_port_in_use_ends_the_start_and_says_so() {
    let (agent, _) = serving(|agent| agent);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let stranger = taken.local_addr().unwrap().port();
    for urls in [
        // An agent's port could be shared, and each would get half of the connections.
        format!("http://127.0.0.1:{}", agent.port()),
        format!("http://*:{}", agent.port()),
        format!("http://localhost:{}", agent.port()),
        format!("http://127.0.0.1:{stranger}"),
        format!("http://+:{stranger}"),
        // Of both loopbacks one is free.
        format!("http://localhost:{stranger}"),
        format!("http://127.0.0.1:0;http://127.0.0.1:{stranger}"),
    ] {
        let (code, text) = run_to_end(&["--mode", "offline", "--urls", &urls], &[("ApiKey", API_KEY)], SOON);
        assert_eq!(code, Some(71), "{urls}: {text}");
        let error =
            text.lines().find(|line| line.starts_with("featbit-agent: ")).unwrap_or_else(|| panic!("{text}"));
        assert!(
            error.contains("cannot be listened on") && error.contains("another program uses the port"),
            "{error}"
        );
        assert!(!text.contains("is running"), "{text}");
    }
    agent.get("/health/liveness", &[]).expect(200);
}

#[test]
fn the_names_of_dotnet_configuration_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    write_atomically(&path, &Dataset::of([one_flag()]).to_text());
    // As FeatBit's compose file writes them, and with other ways that .NET takes too.
    let agent = Builder::bare()
        .env("MODE", "Manual")
        .env("ApiKey", API_KEY)
        .env("AgentId", "agent-1")
        .env("StreamingUri", "ws://evaluation-server:5100")
        .env("ForwardEvents", "False")
        .env("EventUri", "http://evaluation-server:5100")
        .env("Streaming__TrackClientHostName", "true")
        .env("STREAMING:TOKENEXPIRYSECONDS", "5")
        .env("Logging__LogLevel__Default", "Information")
        .env("DOTNET_RUNNING_IN_CONTAINER", "true")
        .env("datafile", path.to_str().unwrap())
        .start();
    agent.get("/health/readiness", &[]).expect(200);
    agent.get("/api/public/proxy/status", &[KEY]).expect(200);
}

// ---- addresses ----

fn at(ip: impl Into<IpAddr>, port: u16) -> Option<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::new(ip.into(), port), SOON).ok()
}

fn is_served_at(ip: impl Into<IpAddr>, port: u16) -> bool {
    use std::io::{Read, Write};
    let Some(mut stream) = at(ip, port) else { return false };
    stream.write_all(b"GET /health/liveness HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer.ends_with("Healthy")
}

#[test]
fn a_wildcard_is_every_address_of_both_families() {
    for host in ["+", "*", "[::]"] {
        let (agent, _) = serving(|agent| agent.env("ASPNETCORE_URLS", &format!("http://{host}:0")));
        assert!(is_served_at(Ipv4Addr::LOCALHOST, agent.port()), "{host}");
        assert!(is_served_at(Ipv6Addr::LOCALHOST, agent.port()), "{host}");
    }
    let (agent, _) = serving(|agent| agent.env("ASPNETCORE_URLS", "http://127.0.0.1:0"));
    assert!(at(Ipv6Addr::LOCALHOST, agent.port()).is_none());
}

#[test]
fn several_addresses_serve_the_same() {
    let (agent, _) = serving(|agent| agent.env("ASPNETCORE_URLS", "http://127.0.0.1:0;http://[::1]:0"));
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("is running")).unwrap();
    let ports: Vec<SocketAddr> = line
        .split("http://")
        .skip(1)
        .map(|rest| rest.split([',', '"']).next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(ports.len(), 2, "{line}");
    for address in ports {
        assert!(is_served_at(address.ip(), address.port()), "{address}");
    }
}

// ---- the end ----

/// A bootstrap call of which a part has come.
fn half_a_bootstrap(agent: &Agent) -> (http::Connection, Vec<u8>) {
    let mut connection = connect(agent);
    let headers = [KEY, JSON, ("Transfer-Encoding", "chunked"), ("Expect", "100-continue")];
    connection.send(&request("POST", BOOTSTRAP, &headers, None)).unwrap();
    assert_eq!(connection.read_response(false).unwrap().status, 100);
    let mut data = one_flag();
    touch(data.flag_mut("flag"), 77);
    let mut rest = chunked(Dataset::of([data]).to_text().as_bytes(), 100);
    let begun: Vec<u8> = rest.drain(..250).collect();
    connection.send(&begun).unwrap();
    (connection, rest)
}

#[test]
fn requests_under_way_are_answered_before_the_end() {
    for (which, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::QUIT, "SIGQUIT")] {
        let (mut agent, environment) = serving(|agent| agent.env("Reactors", "1"));
        let mut idle = connect(&agent);
        idle.send(&request("GET", "/health/liveness", &[], None)).unwrap();
        idle.read_response(false).unwrap().expect(200);
        let mut stream = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
        stream.request_data(0);
        stream.next_data();
        let (mut slow, rest) = half_a_bootstrap(&agent);
        signal(&agent, which);
        assert_eq!(stream.expect_close(SOON), Some(1001));
        assert_closed(&mut idle, "the signal");
        agent.wait_line("shutting down");
        wait_until("nobody is let in any more", SOON, || {
            at(Ipv4Addr::LOCALHOST, agent.port()).is_none().then_some(())
        });
        slow.send(&rest).unwrap();
        let answer = slow.read_response(false).unwrap().expect(200);
        assert_eq!(answer.json()["dataVersion"], START_MS + 77);
        assert_eq!(answer.header("connection"), Some("close"));
        assert_closed(&mut slow, "the last answer");
        drop((idle, slow, stream));
        ended_well(agent.wait_for_end());
        agent.wait_line("stopped");
        assert!(agent.log().contains(name) && agent.log().ends_with("stopped\n"), "{}", agent.log());
    }
}

/// What went wrong: a request that waited for data waited on, and its connection was dropped without an answer.
#[test]
fn sdks_that_wait_for_data_get_an_answer_at_the_end() {
    let mut agent = Builder::offline().api_key().env("Limits__VerdictWait", "600").start();
    let secret = one_flag().secret(Kind::Server);
    let mut poll = connect(&agent);
    poll.send(&request("GET", SERVER_POLL, &[("Authorization", &secret)], None)).unwrap();
    let mut stream = Stream::connect(&agent, Kind::Server, &secret);
    wait_until("both are held", SOON, || {
        let other = agent.metric("featbit_agent_connections", "\"other\"");
        (other == 1.0 && agent.metric("featbit_agent_connections", "\"http\"") >= 2.0).then_some(())
    });
    signal(&agent, Signal::TERM);
    let answer = poll.read_response(false).unwrap();
    assert_error(&answer, 503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(stream.expect_close(SOON), Some(1001));
    drop((poll, stream));
    ended_well(agent.wait_for_end());
}

/// The reactor slept for ever when its last connection was given up rather than closed by its peer.
#[test]
fn peers_that_do_not_close_do_not_delay_the_end() {
    let (mut agent, environment) = serving(|agent| agent.env("Limits__CloseSeconds", "1"));
    let idle: Vec<_> = (0..4).map(|_| connect(&agent)).collect();
    let streams: Vec<_> =
        (0..4).map(|_| Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server))).collect();
    signal(&agent, Signal::TERM);
    ended_well(agent.wait_for_end());
    drop((idle, streams));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut agent, _) = serving(|agent| agent.env("Shutdown__DrainSeconds", "600"));
    let (connection, _) = half_a_bootstrap(&agent);
    signal(&agent, Signal::TERM);
    agent.wait_line("shutting down");
    // In the same moment it would be the same signal.
    wait_until("it is logged", SOON, || {
        signal(&agent, Signal::INT);
        agent.log().contains("ended at once by").then_some(())
    });
    let status = agent.wait_for_end();
    assert_eq!(status.code(), Some(128 + 2), "{status}");
    drop(connection);
}

/// What went wrong: some supervisors send a signal twice, and the drain was skipped.
#[test]
fn two_signals_in_the_same_moment_do_not_skip_the_drain() {
    let (mut agent, environment) = serving(|agent| agent);
    let mut stream = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    // Both wait for it when it goes on.
    for which in [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT] {
        signal(&agent, which);
    }
    assert_eq!(stream.expect_close(SOON), Some(1001));
    drop(stream);
    ended_well(agent.wait_for_end());
}

/// What went wrong: SIGUSR1 and SIGUSR2, which some tools send to have logs opened again, ended the agent.
#[test]
fn signals_without_a_meaning_change_nothing() {
    let (agent, environment) = serving(|agent| agent);
    let mut stream = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    for (which, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        signal(&agent, which);
        agent.wait_line(&format!("{name} is ignored"));
    }
    stream.expect_nothing_new();
}

/// What went wrong: the listener was closed at once, while load balancers went on sending connections for seconds.
#[test]
fn before_a_delayed_shutdown_readiness_says_so_and_everything_else_goes_on() {
    let (mut agent, environment) = serving(|agent| agent.env("Shutdown__DelaySeconds", "600"));
    let secret = environment.secret(Kind::Server);
    let mut early = Stream::connect(&agent, Kind::Server, &secret);
    let mut kept = connect(&agent);
    agent.get("/health/readiness", &[]).expect(200);
    signal(&agent, Signal::TERM);
    agent.wait_line("shutdown begins after");
    let readiness = agent.get("/health/readiness", &[]).expect(503);
    assert_eq!(readiness.text(), "Draining");
    assert_eq!(agent.get("/health/liveness", &[]).expect(200).text(), "Healthy");
    let mut late = Stream::connect(&agent, Kind::Server, &secret);
    for stream in [&mut early, &mut late] {
        stream.request_data(0);
        assert_eq!(stream.next_data()["eventType"], "full");
    }
    for _ in 0..2 {
        kept.send(&request("GET", SERVER_POLL, &[("Authorization", &secret)], None)).unwrap();
        let answer = kept.read_response(false).unwrap().expect(200);
        assert_eq!(answer.header("connection"), None);
    }
    agent.bootstrap(&Dataset::of([environment.clone().flag(boolean_flag("new"))]));
    for stream in [&mut early, &mut late] {
        assert_eq!(stream.next_data()["featureFlags"][0]["key"], "new");
    }
    wait_until("a second signal ends it all the same", SOON, || {
        signal(&agent, Signal::TERM);
        agent.log().contains("ended at once by").then_some(())
    });
    assert_eq!(agent.wait_for_end().code(), Some(128 + 15));
}

#[test]
fn a_delayed_shutdown_begins_when_its_time_has_come() {
    let (mut agent, environment) = serving(|agent| agent.env("Shutdown__DelaySeconds", "300ms"));
    let mut stream = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    signal(&agent, Signal::TERM);
    assert_eq!(stream.expect_close(SOON), Some(1001));
    drop(stream);
    ended_well(agent.wait_for_end());
    agent.wait_line("stopped");
    assert!(
        agent.log().contains("shutdown begins after") && agent.log().ends_with("stopped\n"),
        "{}",
        agent.log()
    );
}

#[test]
fn it_comes_back_on_its_port_at_once() {
    let (mut agent, environment) = serving(|agent| agent);
    let port = agent.port();
    let stream = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    for _ in 0..2 {
        ended_well(agent.stop());
        agent.start_again();
        assert_eq!(agent.port(), port);
    }
    agent.kill();
    agent.start_again();
    agent.get(SERVER_POLL, &[("Authorization", &environment.secret(Kind::Server))]).expect(200);
    drop(stream);
}

// ---- logs ----

/// Sends everything that a client may send, right and wrong; returns the texts that no log line may contain.
fn talk(agent: &Agent, environment: &Environment) -> Vec<String> {
    let server = environment.secret(Kind::Server);
    let client = environment.secret(Kind::Client);
    let unknown = Environment::new(9).secret(Kind::Server);
    let wrong_key = "rp-wrongwrongwrongwrongwrongwrongwrongwrong".to_owned();
    let somebody = user("user-key-of-somebody", &[("attribute-of-somebody", "value-of-somebody")]);
    let mut words = vec![
        server[..22].to_owned(),
        client[..22].to_owned(),
        unknown[..22].to_owned(),
        wrong_key.clone(),
        API_KEY.to_owned(),
        "user-key-of-somebody".to_owned(),
        "attribute-of-somebody".to_owned(),
        "value-of-somebody".to_owned(),
        "Name of".to_owned(),
        "not-a-secret-but-said-as-one".to_owned(),
        "event-of-somebody".to_owned(),
        "custom-header-value".to_owned(),
    ];
    for secret in [server.as_str(), &client, &unknown, &wrong_key, "not-a-secret-but-said-as-one", API_KEY] {
        for target in [SERVER_POLL, "/api/public/proxy/status", "/api/proxy/backup", "/nowhere"] {
            agent.get(
                &format!("{target}?token=user-key-of-somebody&timestamp=0"),
                &[("Authorization", secret), ("X-Custom", "custom-header-value")],
            );
        }
        for content_type in ["application/json", "text/plain"] {
            for body in [somebody.to_string(), format!("{somebody}x"), "{".to_owned()] {
                let headers = [("Authorization", secret), ("Content-Type", content_type)];
                send(agent, request("POST", CLIENT_POLL, &headers, Some(body.as_bytes())));
                send(agent, request("POST", BOOTSTRAP, &headers, Some(body.as_bytes())));
            }
        }
        let events = json!([{ "user": somebody, "metrics": [{ "eventName": "event-of-somebody" }] }]);
        agent.post(TRACK, &[("Authorization", secret)], &events);
        for kind in [Kind::Server, Kind::Client] {
            for at_ms in [now_ms(), now_ms() - 3_600_000] {
                if secret.len() != server.len() {
                    continue;
                }
                let token = token(secret, at_ms, 7);
                let mut stream =
                    Stream::open(agent, &format!("/streaming?type={}&token={token}", kind.as_str()));
                words.push(token);
                let request =
                    json!({ "messageType": "data-sync", "data": { "timestamp": 0, "user": somebody } });
                let _ = stream.socket().send(tungstenite::Message::text(request.to_string()));
                let _ = stream
                    .socket()
                    .send(tungstenite::Message::text("{\"messageType\":\"value-of-somebody\""));
                let _ = stream.next_within(Duration::from_millis(20));
            }
        }
        // What is no request at all.
        let broken =
            format!("GET /x HTTP/1.1\r\nHost: a\r\nAuthorization : {secret}\r\nuser-key-of-somebody\r\n\r\n");
        send(agent, broken).expect(400);
    }
    Stream::open(agent, "/streaming?type=server&token=not-a-secret-but-said-as-one");
    // Dumps with faults beside secrets, and with secrets where they do not belong.
    let mut data = Dataset::of([environment.clone()]).to_json();
    data["items"][0]["secrets"][0]["type"] = json!(server);
    agent.post(BOOTSTRAP, &[KEY], &data).expect(400);
    let mut data = Dataset::of([environment.clone()]).to_json();
    data["items"][0]["secrets"][1]["value"] = json!(server);
    agent.post(BOOTSTRAP, &[KEY], &data).expect(400);
    let mut data = Dataset::of([environment.clone()]).to_json();
    data["items"][0]["featureFlags"][0]["targetUsers"] =
        json!([{ "keyIds": ["user-key-of-somebody", 5], "variationId": "v0" }]);
    agent.post(BOOTSTRAP, &[KEY], &data).expect(400);
    let text = Dataset::of([environment.clone()]).to_text();
    let cut = text.find(&server).unwrap() + 30;
    send(agent, request("POST", BOOTSTRAP, &[KEY, JSON], Some(&text.as_bytes()[..cut]))).expect(400);
    // And good ones: users in the data are users too.
    let mut environment = environment.clone();
    environment.flag_mut("flag")["targetUsers"] =
        json!([{ "keyIds": ["user-key-of-somebody"], "variationId": "v1" }]);
    agent.bootstrap(&Dataset::of([environment.clone()]));
    touch(environment.flag_mut("flag"), 10);
    environment.add_secret(Kind::Server, 3);
    environment.secrets.remove(0);
    agent.bootstrap(&Dataset::of([environment]));
    words
}

#[test]
fn no_secret_token_or_user_is_in_any_line() {
    for format in ["text", "json"] {
        let (mut agent, environment) = serving(|agent| {
            agent
                .env("Logging__Level", "trace")
                .env("Logging__Format", format)
                .env("Limits__VerdictWait", "100ms")
                .env("Streaming__TokenHoldSeconds", "0")
                .env("RevocationGraceSeconds", "0")
                .env("RUST_LOG", "trace")
        });
        let words = talk(&agent, &environment);
        ended_well(agent.stop());
        agent.wait_line("stopped");
        let log = agent.log();
        assert!(log.lines().count() > 10, "{log}");
        for line in log.lines() {
            for word in &words {
                assert!(!line.contains(word.as_str()), "{word} in {line}");
            }
            if format == "json" {
                let line: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                for name in ["timestamp", "level", "message", "target"] {
                    assert!(line[name].is_string(), "{name} in {line}");
                }
                assert!(line["target"].as_str().unwrap().starts_with("featbit_agent"), "{line}");
            }
        }
        for part in ["featbit-agent is running", "data loaded", "refused", "stopped"] {
            assert!(log.contains(part), "{part} not in {log}");
        }
    }
}

#[test]
fn the_level_decides_what_is_logged() {
    let (agent, _) =
        serving(|agent| agent.env("Logging__LogLevel__Default", "Information").env("ForwardEvents", "false"));
    agent.wait_line(" INFO ");
    let quiet = run_to_end(
        &[
            "--mode",
            "offline",
            "--urls",
            &format!("http://127.0.0.1:{}", agent.port()),
            "--logging-level",
            "off",
        ],
        &[("ApiKey", API_KEY)],
        SOON,
    );
    // What ends a start is said all the same, and nothing else.
    assert_eq!(quiet.1.lines().count(), 1, "{}", quiet.1);
}

#[test]
fn a_flag_with_odd_values_reaches_the_log_as_one_line() {
    let mut environment =
        Environment::new(1).flag(flag("line\nbreak \"quoted\" \u{1b}[31m", "string", &["a", "b"]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.json");
    write_atomically(&path, &Dataset::of([environment.clone()]).to_text());
    for format in ["json", "text"] {
        write_atomically(&path, &Dataset::of([environment.clone()]).to_text());
        let agent = from_file(&path, |agent| agent.env("Logging__Format", format));
        let key = environment.flags[0]["key"].as_str().unwrap().to_owned();
        let variation = if format == "json" { "v1" } else { "v0" };
        serve(environment.flag_mut(&key), variation);
        write_atomically(&path, &Dataset::of([environment.clone()]).to_text());
        let line = agent.wait_line("is not newer");
        assert!(line.contains("line") && line.contains("break"), "{line}");
        assert!(!agent.log().contains('\u{1b}'), "{}", agent.log());
    }
}

/// What went wrong: the log said that one thing had changed, and not which.
#[test]
fn a_load_names_what_it_changed() {
    let base =
        Environment::new(1).flag(boolean_flag("stays")).flag(boolean_flag("goes")).segment(segment("people"));
    let data = Dataset::of([base.clone(), Environment::new(2).flag(boolean_flag("elsewhere"))]);
    let agent = Builder::offline().data_file(&data).start();
    assert!(!agent.wait_line("data loaded").contains("names="), "all of it is new");
    let mut next = data.clone();
    touch(next.environments[0].flag_mut("stays"), 1000);
    next.environments[0].remove_flag("goes");
    for number in 0..7 {
        next.environments[1].add_flag(boolean_flag(&format!("more-{number}")));
    }
    agent.write_data(&next);
    let line = agent.wait_line("names=");
    assert!(
        line.contains("project-1:production: stays, goes (removed); project-2:production: more-0 (new)"),
        "{line}"
    );
    assert!(line.contains("more-4 (new), and 2 more") && !line.contains("elsewhere"), "{line}");
}
