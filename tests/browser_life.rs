//! The life of pages with the browser SDK in a real Chromium: asleep, hidden, left and returned to, without a network,
//! refused, several at once.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod common;

use common::agent::{Agent, Builder};
use common::browser::{
    Browser, MODES, Tab, UNREACHABLE, ann, bob, change_a, environment, processes_of, serving, set_a,
};
use common::dataset::{Dataset, Environment, Kind, secret_text, touch, user};
use common::sdk::Mode;
use common::{SOON, wait_until};
use serde_json::{Value, json};

/// What Chromium writes to the console when it ends the connection of a page that falls asleep or is left.
const ASLEEP: &str = "Page entered Back-Forward Cache";

/// What it writes for a request while the network is cut.
const OFFLINE: &str = "net::ERR_INTERNET_DISCONNECTED";

/// More changes than are kept to be sent one by one.
const MANY: i64 = 80;

/// Kills the agent and starts it with another value of `a`.
fn restart(agent: &mut Agent, environment: &mut Environment, later: i64, value: bool) {
    agent.kill();
    set_a(environment, later, value);
    agent.write_data(&Dataset::of([environment.clone()]));
    agent.start_again();
}

/// `MANY` changes of `a`, the last of which makes it `value`.
fn change_often(agent: &Agent, environment: &mut Environment, later: i64, value: bool) {
    for number in 1..=MANY {
        change_a(agent, environment, later + number, value == ((MANY - number) % 2 == 0));
    }
}

/// A third user.
fn carl() -> Value {
    user("carl", &[("country", "FR")])
}

/// The tab's SDK has this value of flag `a`, and everything else as before.
fn settled(tab: &mut Tab<'_>, value: bool) {
    tab.wait_value("a", "boolean", &json!(value));
    tab.wait_value("b", "boolean", &json!(true));
    tab.wait_value("home", "string", &json!("at home"));
    assert_eq!(tab.state()["stopped"], false);
}

/// As [`settled`], after a restart of the agent behind the back of a page. A poll that was under way just then has failed,
/// and a polling page's first failed poll is its last until it is loaded again: known of the SDK.
fn settled_after_restart(tab: &mut Tab<'_>, mode: Mode, value: bool) {
    if mode == Mode::Polling {
        let stopped = wait_until("a poll that succeeds or fails", tab.patience(), || {
            let stopped = tab.state()["stopped"] == true;
            (stopped || tab.value("a", "boolean") == value).then_some(stopped)
        });
        if stopped {
            tab.go("reload");
        }
    }
    settled(tab, value);
}

/// A page that slept has seen its WebSocket closed, if it had one, or a poll fail, if one was under way.
fn assert_console_of_sleeper(tab: &mut Tab<'_>, mode: Mode) {
    if mode == Mode::Streaming {
        tab.assert_console(&[ASLEEP]);
    } else {
        tab.assert_console_at_most(UNREACHABLE);
    }
}

#[test]
fn a_page_that_slept_gets_the_last_state() {
    let Some(mut browser) = Browser::launch("asleep") else { return };
    for mode in MODES {
        let mut environment = environment();
        let mut agent = serving(&environment);
        let mut tab = browser.tab(mode.as_str());
        tab.ready(mode, &agent, &environment, &ann(mode));
        // Behind another tab its timers are slow, but it is awake.
        tab.go("hide");
        change_a(&agent, &mut environment, 1_000, false);
        settled(&mut tab, false);

        tab.go("freeze");
        change_often(&agent, &mut environment, 2_000, true);
        assert_eq!(tab.value("a", "boolean"), false, "it is asleep");
        tab.go("show");
        settled(&mut tab, true);

        tab.go("freeze");
        restart(&mut agent, &mut environment, 3_000, false);
        assert_eq!(tab.value("a", "boolean"), true, "it is asleep");
        tab.go("show");
        settled_after_restart(&mut tab, mode, false);
        assert_console_of_sleeper(&mut tab, mode);
        tab.go("stop");
    }
}

#[test]
fn a_page_of_a_suspended_browser_gets_the_last_state() {
    let Some(mut browser) = Browser::launch("browser stands still") else { return };
    for mode in MODES {
        let mut environment = environment();
        let mut agent = serving(&environment);
        browser.tab(mode.as_str()).ready(mode, &agent, &environment, &ann(mode));
        browser.suspend();
        change_often(&agent, &mut environment, 1_000, false);
        browser.resume();
        let mut tab = browser.tab(mode.as_str());
        settled(&mut tab, false);
        if mode == Mode::Streaming {
            assert_eq!(tab.state()["connects"], 1);
            tab.assert_console(&[]);
            browser.suspend();
            restart(&mut agent, &mut environment, 2_000, true);
            browser.resume();
            let mut tab = browser.tab(mode.as_str());
            settled(&mut tab, true);
        }
        browser.tab(mode.as_str()).go("stop");
    }
}

#[test]
fn a_page_that_was_left_and_returned_to_gets_the_last_state() {
    let Some(mut browser) = Browser::launch("back button") else { return };
    for mode in MODES {
        let mut environment = environment();
        let mut agent = serving(&environment);
        let mut tab = browser.tab(mode.as_str());
        tab.ready(mode, &agent, &environment, &ann(mode));
        tab.go("leave");
        change_a(&agent, &mut environment, 1_000, false);
        tab.go("back");
        settled(&mut tab, false);
        tab.go("leave");
        restart(&mut agent, &mut environment, 2_000, true);
        tab.go("back");
        settled_after_restart(&mut tab, mode, true);
        assert_console_of_sleeper(&mut tab, mode);
        tab.go("stop");
    }
}

#[test]
fn a_page_that_lost_its_network_gets_the_last_state() {
    let Some(mut browser) = Browser::launch("offline") else { return };
    let mut environment = environment();
    let mut agent = serving(&environment);
    let mut tab = browser.tab("streaming");
    tab.ready(Mode::Streaming, &agent, &environment, &ann(Mode::Streaming));
    tab.go("offline");
    change_often(&agent, &mut environment, 1_000, false);
    assert_eq!(tab.value("a", "boolean"), true, "it has no network");
    tab.go("online");
    settled(&mut tab, false);
    tab.assert_console(&[]);
    // Its attempts to come back fail until there is a network again.
    tab.go("offline");
    restart(&mut agent, &mut environment, 2_000, true);
    tab.wait_traffic("a failed attempt", |seen| (seen.sockets().len() > 1).then_some(()));
    assert_eq!(tab.value("a", "boolean"), false, "it has no network");
    tab.go("online");
    settled(&mut tab, true);
    tab.assert_console(&[OFFLINE]);
    tab.go("stop");

    // Known of the SDK: a polling one gives up at its first failed poll, until the page is loaded again.
    let mut tab = browser.tab("polling");
    tab.ready(Mode::Polling, &agent, &environment, &ann(Mode::Polling));
    tab.go("offline");
    tab.wait_state(json!({ "stopped": true }));
    tab.go("online");
    change_a(&agent, &mut environment, 3_000, false);
    tab.go("reload");
    settled(&mut tab, false);
    tab.assert_console(&[OFFLINE]);
}

#[test]
fn a_refused_secret_is_not_tried_again_until_the_page_is_loaded_again() {
    let Some(mut browser) = Browser::launch("refused secret") else { return };
    let environment = environment();
    let mut agent = Builder::offline()
        .api_key()
        .data_file(&Dataset::of([environment.clone()]))
        .env("RevocationGraceSeconds", "1")
        .start();
    let mut revoked = environment.clone();
    let second = revoked.add_secret(Kind::Client, 1);
    agent.bootstrap(&Dataset::of([revoked]));
    let unknown = secret_text(&environment.id, Kind::Client, 9);

    browser.tab("good").ready(Mode::Streaming, &agent, &environment, &ann(Mode::Streaming));
    let mut tab = browser.tab("revoked");
    tab.start_with(Mode::Streaming, &agent, &second, &bob(Mode::Streaming), json!({}));
    tab.wait_ready();
    agent.bootstrap(&Dataset::of([environment.clone()]));
    tab.wait_state(json!({ "stopped": true }));
    let mut tab = browser.tab("unknown");
    tab.start_with(Mode::Streaming, &agent, &unknown, &carl(), json!({}));
    let state = tab.wait_state(json!({ "stopped": true }));
    assert_eq!(state["ready"], false, "{state}");

    // A page that was not refused comes back after each restart; meanwhile the others would have had time to.
    for times in 2..=3 {
        agent.kill();
        browser.tab("good").wait_state(json!({ "connected": false }));
        agent.start_again();
        browser.tab("good").wait_state(json!({ "connects": times, "connected": true }));
    }
    for name in ["revoked", "unknown"] {
        let mut tab = browser.tab(name);
        assert_eq!(tab.traffic().sockets().len(), 1, "{name}");
        tab.go("reload");
        tab.wait_state(json!({ "stopped": true }));
        assert_eq!(tab.traffic().sockets().len(), 2, "{name}");
        // Its flags are those that it has stored; who never had any has none.
        let stored = if name == "revoked" { json!("abroad") } else { json!(null) };
        assert_eq!(tab.value("home", "string"), stored, "{name}");
        tab.assert_console(&[]);
    }
}

#[test]
fn two_tabs_with_different_users_do_not_disturb_each_other() {
    let Some(mut browser) = Browser::launch("two tabs") else { return };
    let mut environment = environment();
    let agent = serving(&environment);
    for (number, mode) in (1..).zip(MODES) {
        let later = number * 10_000;
        let name = |who: &str| format!("{who}, {}", mode.as_str());
        let (first, second) = (name("first"), name("second"));
        browser.tab(&first).ready(mode, &agent, &environment, &ann(mode));
        browser.tab(&second).ready(mode, &agent, &environment, &bob(mode));
        browser.tab(&first).wait_value("home", "string", &json!("at home"));
        browser.tab(&second).wait_value("home", "string", &json!("abroad"));

        let home = environment.flag_mut("home");
        home["variations"][0]["value"] = json!(format!("far away {number}"));
        home["variations"][1]["value"] = json!(format!("in the Alps {number}"));
        touch(home, later);
        agent.bootstrap(&Dataset::of([environment.clone()]));
        browser.tab(&first).wait_value("home", "string", &json!(format!("in the Alps {number}")));
        browser.tab(&second).wait_value("home", "string", &json!(format!("far away {number}")));

        // A user who logs in in one tab has no effect on the other.
        browser.tab(&first).identify(&carl());
        browser.tab(&first).wait_value("home", "string", &json!(format!("far away {number}")));
        browser.tab(&second).go("reload");
        browser.tab(&second).wait_ready();
        change_a(&agent, &mut environment, later + 1, number % 2 == 0);
        for tab in [&first, &second] {
            browser.tab(tab).wait_value("a", "boolean", &json!(number % 2 == 0));
            browser.tab(tab).wait_value("home", "string", &json!(format!("far away {number}")));
        }
        // One tab's end is not the other's.
        browser.tab(&first).go("stop");
        change_a(&agent, &mut environment, later + 2, number % 2 == 1);
        browser.tab(&second).wait_value("a", "boolean", &json!(number % 2 == 1));
        browser.tab(&second).go("stop");
        for tab in [&first, &second] {
            browser.tab(tab).assert_console(&[]);
        }
        let home = environment.flag_mut("home");
        home["variations"][0]["value"] = json!("abroad");
        home["variations"][1]["value"] = json!("at home");
        touch(home, later + 3);
        agent.bootstrap(&Dataset::of([environment.clone()]));
    }
}

#[test]
fn a_page_that_cannot_reach_the_agent_logs_only_that() {
    let Some(mut browser) = Browser::launch("unreachable") else { return };
    let mut environment = environment();
    let mut agent = serving(&environment);
    let mut tab = browser.tab("main");
    tab.ready(Mode::Streaming, &agent, &environment, &ann(Mode::Streaming));
    agent.kill();
    tab.wait_traffic("a failed attempt", |seen| (seen.sockets().len() > 1).then_some(()));
    set_a(&mut environment, 1_000, false);
    agent.write_data(&Dataset::of([environment.clone()]));
    agent.start_again();
    settled(&mut tab, false);
    tab.assert_console(UNREACHABLE);
}

#[test]
fn a_browser_ends_with_its_driver() {
    let environment = environment();
    let agent = serving(&environment);
    for killed in [false, true] {
        let Some(mut browser) = Browser::launch("no browser is left behind") else { return };
        browser.tab("main").ready(Mode::Streaming, &agent, &environment, &ann(Mode::Streaming));
        let profile = browser.profile().to_owned();
        assert!(!processes_of(&profile).is_empty());
        if killed {
            browser.kill_driver();
        } else {
            drop(browser);
            assert!(!profile.exists(), "{} is left", profile.display());
        }
        wait_until("the end of its processes", SOON, || processes_of(&profile).is_empty().then_some(()));
        if killed {
            // Its files are the next one's to remove.
            drop(Browser::launch("no browser is left behind"));
            assert!(!profile.exists(), "{} is left", profile.display());
        }
    }
}
