//! Waits for what an agent does in its own time, and reads what operators see of it.
//!
//! One event is visible at different moments in different places. Each reactor takes in a change on its own, so a
//! stream that has it says nothing about the reactor that accepts the next connection. Counters are published at the
//! end of a reactor's turn, after the answers of that turn. Log lines come through a pipe. A test therefore waits for
//! the condition, and asserts after that.

use serde_json::Value;

use super::agent::Agent;
use super::raw::SERVER_POLL;
use super::watcher::Watcher;
use super::{SOON, poll_until, wait_until};

impl Agent {
    /// The sum over all samples of `/metrics` with that name whose labels contain `labels`, as it is now.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let page = self.get("/metrics", &[]).expect(200);
        let mut sum = 0.0;
        for line in page.text().lines().filter(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap_or((line, "0"));
            let (have, have_labels) = sample.split_once('{').unwrap_or((sample, ""));
            if have == name && have_labels.contains(labels) {
                sum += value.parse::<f64>().unwrap_or(0.0);
            }
        }
        sum
    }

    /// Waits until a metric is exactly `value`.
    pub fn wait_metric(&self, name: &str, labels: &str, value: f64) {
        self.wait_metric_that(name, labels, &format!("is {value}"), |have| have == value);
    }

    /// Waits until a metric is at least `value`.
    pub fn wait_metric_at_least(&self, name: &str, labels: &str, value: f64) {
        self.wait_metric_that(name, labels, &format!("is at least {value}"), |have| have >= value);
    }

    fn wait_metric_that(&self, name: &str, labels: &str, what: &str, holds: impl Fn(f64) -> bool) {
        let mut last = 0.0;
        let seen = poll_until(SOON, || {
            last = self.metric(name, labels);
            holds(last).then_some(())
        });
        if seen.is_none() {
            self.fail(&format!("waited {SOON:?} in vain: {name} {{{labels}}} {what}. It is {last}"));
        }
    }

    /// Waits until a line of the log contains `part`, and returns the first such line.
    pub fn wait_line(&self, part: &str) -> String {
        let found = |line: &&str| line.contains(part);
        poll_until(SOON, || self.log().lines().find(found).map(str::to_owned))
            .unwrap_or_else(|| self.fail(&format!("waited {SOON:?} in vain: {part:?} in the log")))
    }

    /// The lines of the log so far that contain `part`.
    pub fn lines(&self, part: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }

    /// Polls as a server SDK that has everything up to `timestamp`, until there is something newer; returns its `data`.
    pub fn poll_newer(&self, secret: &str, timestamp: i64) -> Value {
        let target = format!("{SERVER_POLL}?timestamp={timestamp}");
        wait_until("something newer in a poll", SOON, || {
            let answer = self.get(&target, &[("Authorization", secret)]).expect(200);
            (!answer.body.is_empty()).then(|| answer.json()["data"].take())
        })
    }

    /// Evaluates until a flag has this variation for the user.
    pub fn wait_evaluated(&self, secret: &str, user: &Value, key: &str, variation: &str) {
        wait_until(&format!("{variation} of {key} for {user}"), SOON, || {
            (self.evaluate(secret, user).get(key)?["variation"] == variation).then_some(())
        });
    }

    /// Waits until a new stream with this secret is closed instead of served; returns the code.
    ///
    /// A reactor that has not yet taken in that the secret is gone still answers, and closes the stream later.
    pub fn wait_refused(&self, secret: &str) -> Option<u16> {
        wait_until("a new stream is refused", SOON, || Watcher::asking(self, secret).refusal())
    }
}
