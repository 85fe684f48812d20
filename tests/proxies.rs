//! Agents behind real proxies: the close codes of an agent must arrive through nginx and HAProxy, which do not forward
//! half-closes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, user};
use common::frames::{CLOSE, RawSocket, TEXT, whole};
use common::frontend::{self, Frontend};
use common::http;
use common::raw::{CLIENT_POLL, request};
use common::sdk::{Mode, Sdk, installed_spec};
use common::ws;
use common::{SOON, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// So many refused SDKs at once behind each proxy. When the end of TCP came right behind the close frame, two of three
/// came back, most of them many times.
const REFUSED: usize = 5;

fn environment() -> Environment {
    Environment::new(1).flag(boolean_flag("flag"))
}

fn serving() -> Agent {
    Builder::offline().data_file(&Dataset::of([environment()])).start()
}

/// Where a server SDK streams with the secret of this kind.
fn target(secret: Kind) -> String {
    ws::target(Kind::Server, &environment().secret(secret))
}

/// What went wrong: the SDK's first message met a reset, since the proxy had closed both ways. To the SDK that was a
/// network error, and it came back for ever.
#[test]
fn refused_sdks_behind_a_proxy_stop_instead_of_coming_back() {
    let test = "refused SDKs behind a proxy";
    let frontends = frontend::installed(test);
    let Some(spec) = installed_spec(test, "python-server") else { return };
    for kind in frontends {
        let agent = serving();
        let frontend = Frontend::start(kind, &[agent.port()]);
        let secret = environment().secret(Kind::Client);
        std::thread::scope(|scope| {
            for _ in 0..REFUSED {
                scope.spawn(|| {
                    let mut sdk = Sdk::launch(&spec, Mode::Streaming);
                    sdk.start_with(&frontend.url(), &secret, &user("ann", &[]), json!({}));
                    sdk.wait_state(json!({ "stopped": true }));
                });
            }
        });
        // One connection each.
        agent.wait_metric("featbit_agent_refusals_total", "", REFUSED as f64);
    }
}

/// The same without an SDK: it has not read the close frame yet, and what it sends in the meantime must not fail.
#[test]
fn messages_sent_before_the_close_frame_is_read_meet_no_reset() {
    for kind in frontend::installed("messages behind a proxy") {
        let agent = serving();
        let frontend = Frontend::start(kind, &[agent.port()]);
        let mut socket = RawSocket::upgrade(frontend.port(), &target(Kind::Client), &[]);
        wait_until("the close frame is there", SOON, || socket.has_input().then_some(()));
        for number in 0..20 {
            let sent = socket.try_send(&whole(TEXT, br#"{"messageType":"ping","data":null}"#));
            assert!(sent.is_ok(), "{kind:?}, message {number}: {sent:?}");
            // Time enough for a reset to come back.
            agent.get("/health/liveness", &[]).expect(200);
            http::get(frontend.port(), "/health/liveness", &[]).unwrap().expect(200);
        }
        assert_eq!(socket.expect_close().0, 4003, "{kind:?}");
    }
}

/// A stream gets its close code through the proxy, and the agent's end does not wait for the proxy.
#[test]
fn streams_behind_a_proxy_get_the_close_code_of_a_shutdown() {
    for kind in frontend::installed("streams behind a proxy") {
        let mut agent = serving();
        let frontend = Frontend::start(kind, &[agent.port()]);
        let mut streams: Vec<_> =
            (0..3).map(|_| RawSocket::upgrade(frontend.port(), &target(Kind::Server), &[])).collect();
        // One that never answers, nor reads.
        let silent = RawSocket::upgrade(frontend.port(), &target(Kind::Server), &[]);
        signal(&agent, Signal::TERM);
        for stream in &mut streams {
            assert_eq!(stream.next().close().0, 1001, "{kind:?}");
            stream.send(&whole(CLOSE, &1001u16.to_be_bytes()));
        }
        assert_eq!(agent.wait_for_end().code(), Some(0), "{kind:?}");
        drop(silent);
    }
}

fn signal(agent: &Agent, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap(), signal).unwrap();
}

/// What went wrong: an agent that began to drain closed connections on which a request was on its way. The proxy cannot
/// repeat a POST, and answered 502.
#[test]
fn while_one_of_two_agents_is_restarted_no_request_through_the_proxy_fails() {
    const CALLERS: usize = 6;
    for kind in frontend::installed("restarts behind a proxy") {
        if kind == frontend::Kind::NginxStream {
            // A proxy that only forwards bytes sends no answers: a connection ends with its agent.
            continue;
        }
        let mut agents = [serving(), serving()];
        let frontend = Frontend::start(kind, &[agents[0].port(), agents[1].port()]);
        let body = user("ann", &[]).to_string();
        let secret = environment().secret(Kind::Client);
        let headers = [("Authorization", secret.as_str()), ("Content-Type", "application/json")];
        let poll = request("POST", &format!("{CLIENT_POLL}?timestamp=0"), &headers, Some(body.as_bytes()));
        let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    let mut connection = http::Connection::open(frontend.port()).unwrap();
                    while !over.load(Ordering::Relaxed) {
                        connection.send(&poll).unwrap();
                        let answer = connection.read_response(false).unwrap();
                        if answer.status != 200 {
                            over.store(true, Ordering::Relaxed);
                        }
                        answer.expect(200);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for round in 0..4 {
                let before = answered.load(Ordering::Relaxed);
                wait_until("both agents are in use", SOON, || {
                    let now = answered.load(Ordering::Relaxed);
                    (now > before + 20 * CALLERS || over.load(Ordering::Relaxed)).then_some(())
                });
                let agent = &mut agents[round % 2];
                agent.stop();
                agent.start_again();
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(answered.load(Ordering::Relaxed) > 4 * 20 * CALLERS, "{kind:?}");
    }
}
