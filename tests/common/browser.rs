//! Drives tabs of a real Chromium, each with the browser SDK in its page.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::agent::{Agent, Builder};
use super::dataset::{
    Dataset, Environment, Kind, boolean_flag, condition, everybody, flag, rule, serve, touch, user,
};
use super::sdk::{Mode, Sdk, installed_spec};
use super::wait_until;

/// What the agent is asked by polls.
const POLL: &str = "/api/public/sdk/client/latest-all";

/// A Chromium. Dropped, it is ended.
#[derive(Debug)]
pub struct Browser {
    driver: Sdk,
    /// The origin of the application's page.
    pub origin: String,
    /// The other origin under which the same page can be loaded.
    pub other_origin: String,
    profile: PathBuf,
}

/// One tab of it.
#[derive(Debug)]
pub struct Tab<'a> {
    browser: &'a mut Browser,
    name: String,
}

/// What a tab has sent to other origins, and what came back.
#[derive(Debug)]
pub struct Traffic(Value);

impl Browser {
    /// Starts one, unless this machine has none: that is reported, or fails the test where all are required.
    pub fn launch(test: &str) -> Option<Self> {
        let spec = installed_spec(test, "browser")?;
        let mut driver = Sdk::launch(&spec, Mode::Streaming);
        let about = driver.command("browser", json!({}), driver.patience());
        let text = |name: &str| about[name].as_str().expect("text").to_owned();
        let (origin, other_origin, profile) = (text("origin"), text("otherOrigin"), text("profile").into());
        Some(Self { driver, origin, other_origin, profile })
    }

    /// A tab by its name. There is nothing in it before it is started.
    pub fn tab(&mut self, name: &str) -> Tab<'_> {
        Tab { browser: self, name: name.into() }
    }

    /// Stops all its processes where they are, as a laptop does when it is shut.
    pub fn suspend(&mut self) {
        self.driver.command("suspend", json!({}), self.driver.patience());
    }

    /// Lets them go on.
    pub fn resume(&mut self) {
        self.driver.command("resume", json!({}), self.driver.patience());
    }

    /// Where it keeps its files while it runs.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// Ends the driver without warning.
    pub fn kill_driver(mut self) {
        self.driver.kill();
    }
}

/// The processes of a browser, known by its profile.
pub fn processes_of(profile: &Path) -> Vec<u32> {
    let profile = profile.to_str().expect("the profile's path is UTF-8").as_bytes();
    let processes = fs::read_dir("/proc").expect("there is /proc");
    processes
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            command_line.windows(profile.len()).any(|part| part == profile).then_some(pid)
        })
        .collect()
}

impl Tab<'_> {
    fn command(&mut self, cmd: &str, mut args: Value) -> Value {
        args["tab"] = json!(self.name);
        let within = self.patience();
        self.browser.driver.command(cmd, args, within)
    }

    /// How long it may take for what should happen at once.
    pub fn patience(&self) -> Duration {
        self.browser.driver.patience()
    }

    /// Loads the page and starts the SDK in it; `more` may bring further options, `other` for the other origin among
    /// them.
    pub fn start_with(&mut self, mode: Mode, agent: &Agent, secret: &str, user: &Value, more: Value) {
        let mut args = json!({
            "mode": mode.as_str(), "url": agent.url(), "secret": secret, "user": user, "startWaitMs": 60_000,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            args[name] = value.clone();
        }
        self.command("start", args);
    }

    /// Starts it in an environment, and waits until it is ready.
    pub fn ready(&mut self, mode: Mode, agent: &Agent, environment: &Environment, user: &Value) {
        self.start_with(mode, agent, &environment.secret(Kind::Client), user, json!({}));
        self.wait_ready();
    }

    /// Waits until the SDK is ready.
    pub fn wait_ready(&mut self) {
        self.wait_state(json!({ "ready": true }));
    }

    /// Waits for a state of the SDK, see the driver's `wait-state`.
    pub fn wait_state(&mut self, wanted: Value) -> Value {
        let mut args = wanted.clone();
        args["timeoutMs"] = json!(self.patience().as_millis());
        let state = self.command("wait-state", args);
        assert_eq!(state["matched"], true, "{}: waited for {wanted} in vain: {state}", self.name);
        state
    }

    /// The state of the SDK.
    pub fn state(&mut self) -> Value {
        self.command("state", json!({}))
    }

    /// Waits until a flag has this value for the tab's user.
    pub fn wait_value(&mut self, key: &str, variation_type: &str, value: &Value) {
        let args = json!({
            "key": key, "type": variation_type, "value": value, "default": null, "timeoutMs": self.patience().as_millis(),
        });
        let answer = self.command("wait-value", args);
        let name = self.name.clone();
        assert_eq!(answer["matched"], true, "{name}: {key}: waited for {value}: {answer}, {}", self.state());
    }

    /// What a flag gives at this moment; `Null` if the SDK does not have it.
    pub fn value(&mut self, key: &str, variation_type: &str) -> Value {
        let args = json!({ "key": key, "type": variation_type, "default": null });
        self.command("variation", args)["value"].take()
    }

    /// Waits until the SDK does not have the flag.
    pub fn wait_gone(&mut self, key: &str) {
        let args = json!({
            "key": key, "type": "string", "value": "gone", "default": "gone", "timeoutMs": self.patience().as_millis(),
        });
        let answer = self.command("wait-value", args);
        assert_eq!(answer["matched"], true, "{}: {key} does not go: {answer}", self.name);
    }

    /// Makes another user the current one, and waits until the SDK has that user's data.
    pub fn identify(&mut self, user: &Value) {
        self.command("identify", json!({ "user": user }));
    }

    /// Evaluations are recorded, so this posts them with one event more.
    pub fn post_event(&mut self, user: &Value) {
        self.command("track", json!({ "user": user, "event": "bought", "value": 12.5 }));
        self.command("flush", json!({}));
    }

    /// Does one of the driver's commands that take nothing: `stop`, `reload`, `hide`, `freeze`, `show`, `leave`,
    /// `back`, `offline`, `online`.
    pub fn go(&mut self, cmd: &str) {
        self.command(cmd, json!({}));
    }

    /// A request of the page's own: what it may see of the answer.
    pub fn fetch(&mut self, request: Value) -> Value {
        self.command("fetch", request)
    }

    /// What went over its wires.
    pub fn traffic(&mut self) -> Traffic {
        Traffic(self.command("network", json!({})))
    }

    /// Waits until something can be said of what went over its wires.
    pub fn wait_traffic<T>(&mut self, what: &str, mut look: impl FnMut(&Traffic) -> Option<T>) -> T {
        wait_until(what, self.patience(), || look(&self.traffic()))
    }

    /// Errors that contain one of these texts were written to the page's console, and nothing else; nothing at all, if
    /// there are no texts.
    pub fn assert_console(&mut self, expected: &[&str]) {
        let lines = self.assert_console_at_most(expected);
        assert_eq!(lines == 0, expected.is_empty(), "{}: {lines} of {expected:?} on the console", self.name);
    }

    /// The same, but there need not be any. Returns how many there are.
    pub fn assert_console_at_most(&mut self, allowed: &[&str]) -> usize {
        let lines = self.command("console", json!({}))["lines"].take();
        let lines = lines.as_array().expect("a list of lines");
        let is_allowed = |line: &Value| {
            let text = line["text"].as_str().unwrap_or_default();
            line["type"] == "error" && allowed.iter().any(|part| text.contains(part))
        };
        let unexpected: Vec<&Value> = lines.iter().filter(|line| !is_allowed(line)).collect();
        assert!(unexpected.is_empty(), "{}: on the console: {unexpected:?}", self.name);
        lines.len()
    }
}

impl Traffic {
    fn list(&self, name: &str) -> &[Value] {
        self.0[name].as_array().expect("a list")
    }

    /// Its WebSockets, in order.
    pub fn sockets(&self) -> &[Value] {
        self.list("sockets")
    }

    /// The preflights, in order.
    pub fn preflights(&self) -> Vec<&Value> {
        self.list("requests").iter().filter(|request| request["method"] == "OPTIONS").collect()
    }

    /// The requests whose target begins so, without their preflights.
    pub fn requests_to(&self, path: &str) -> Vec<&Value> {
        let to = |request: &&Value| {
            request["method"] != "OPTIONS"
                && request["target"].as_str().is_some_and(|target| target.starts_with(path))
        };
        self.list("requests").iter().filter(to).collect()
    }

    /// The polls, without their preflights.
    pub fn polls(&self) -> Vec<&Value> {
        self.requests_to(POLL)
    }

    /// How often data was asked for, and the timestamps, oldest first: on the WebSockets, or by polls.
    pub fn asked(&self) -> Vec<i64> {
        let on_sockets = self.sockets().iter().flat_map(|socket| messages(&socket["sent"]));
        let on_sockets = on_sockets.filter(|message| message["messageType"] == "data-sync");
        let on_sockets =
            on_sockets.map(|message| message["data"]["timestamp"].as_i64().expect("a timestamp"));
        let by_polls = self.polls().into_iter().map(|poll| {
            let target = poll["target"].as_str().expect("a target");
            let (_, timestamp) = target.split_once("?timestamp=").expect("polls bring a timestamp");
            timestamp.parse().expect("a timestamp")
        });
        on_sockets.chain(by_polls).collect()
    }
}

/// The messages of a list of texts.
pub fn messages(texts: &Value) -> Vec<Value> {
    let texts = texts.as_array().expect("a list of texts").iter();
    texts.map(|text| serde_json::from_str(text.as_str().expect("text")).expect("a message is JSON")).collect()
}

/// Both ways to get data.
pub const MODES: [Mode; 2] = [Mode::Streaming, Mode::Polling];

/// What Chromium writes to the console of requests and connections that a killed agent leaves unanswered, and of those
/// that follow.
pub const UNREACHABLE: &[&str] =
    &["net::ERR_CONNECTION_", "net::ERR_EMPTY_RESPONSE", "net::ERR_SOCKET_NOT_CONNECTED"];

/// A user of one country. The SDK keeps what it stores by user alone, so each mode has users of its own.
pub fn ann(mode: Mode) -> Value {
    user(&format!("ann, {}", mode.as_str()), &[("country", "AT")])
}

/// A user of another country.
pub fn bob(mode: Mode) -> Value {
    user(&format!("bob, {}", mode.as_str()), &[("country", "JP")])
}

/// Flags `a` and `b`, on for everybody, and `home`, which differs by country.
pub fn environment() -> Environment {
    let mut home = flag("home", "string", &["abroad", "at home"]);
    home["rules"] = json!([rule("at home", vec![condition("country", "Equal", "AT")], everybody("v1"))]);
    Environment::new(1).flag(boolean_flag("a")).flag(boolean_flag("b")).flag(home)
}

/// An agent with one environment, from a file; bootstrap calls may follow.
pub fn serving(environment: &Environment) -> Agent {
    Builder::offline().api_key().data_file(&Dataset::of([environment.clone()])).start()
}

/// Gives everybody another value of `a`, changed `later` milliseconds after the start.
pub fn set_a(environment: &mut Environment, later: i64, value: bool) {
    let changed = environment.flag_mut("a");
    serve(changed, if value { "v0" } else { "v1" });
    touch(changed, later);
}

/// The same, and takes it into service.
pub fn change_a(agent: &Agent, environment: &mut Environment, later: i64, value: bool) {
    set_a(environment, later, value);
    agent.bootstrap(&Dataset::of([environment.clone()]));
}
