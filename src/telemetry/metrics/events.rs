//! Usage events.
//!
//! Must not know their room: whoever does gives the numbers at each scrape.

use std::fmt::Error;

use super::labels::ENVIRONMENTS_MAX;
use super::page::Page;

/// Usage events at one moment.
#[derive(Clone, Debug, Default)]
pub struct EventNumbers {
    /// Each environment that had events.
    pub environments: Vec<EnvironmentEvents>,
    /// Calls that were answered with 503, by reason.
    pub calls_refused: Vec<(&'static str, u64)>,
    /// Requests to the server, by outcome.
    pub requests: Vec<(&'static str, u64)>,
    /// Bytes of the bodies of those requests, as they were sent.
    pub request_bytes: u64,
    /// Memory of events that wait.
    pub queue_bytes: u64,
    /// Bytes of files of events that wait to be sent.
    pub spool_bytes: u64,
    /// Bytes of the files of the mode local.
    pub local_bytes: u64,
    /// Events of local files that were removed because of age or size.
    pub local_removed: u64,
    /// How long the oldest event has waited, in seconds; 0 if none waits.
    pub oldest_s: f64,
}

/// The usage events of one environment.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentEvents {
    /// `projectKey:envKey`, or its id.
    pub name: String,
    /// Events by what became of them.
    pub results: Vec<(&'static str, u64)>,
    /// Evaluations that were left out.
    pub evaluations_left_out: u64,
    /// Events that wait to be sent.
    pub waiting: u64,
    /// Whether nothing is sent at present because the server does not take it.
    pub is_paused: bool,
}

impl EventNumbers {
    pub(super) fn encode(mut self, page: &mut Page<'_>) -> Result<(), Error> {
        self.name_the_busiest();
        let all = &self.environments;
        let results = all.iter().flat_map(|one| {
            let label = |result| [("environment", one.name.clone()), ("result", String::from(result))];
            one.results
                .iter()
                .filter(|(_, events)| *events > 0)
                .map(move |(result, events)| (label(*result), *events))
        });
        page.counters("usage_events", "Usage events by what became of them.", results)?;
        let by_environment = |value: fn(&EnvironmentEvents) -> u64| {
            all.iter().map(move |one| ([("environment", one.name.clone())], value(one)))
        };
        let left_out = "Evaluations that were left out, since their flag has no insights.";
        page.counters(
            "usage_evaluations_left_out",
            left_out,
            by_environment(|one| one.evaluations_left_out),
        )?;
        page.gauges(
            "usage_events_waiting",
            "Usage events that wait to be sent.",
            by_environment(|one| one.waiting),
        )?;
        let paused = "1 while the server does not take the events of an environment, and the agent waits.";
        page.gauges("usage_events_paused", paused, by_environment(|one| u64::from(one.is_paused)))?;
        let refused = self.calls_refused.iter().map(|(why, calls)| ([("reason", *why)], *calls));
        page.counters(
            "usage_event_calls_refused",
            "Calls with usage events that were answered with 503.",
            refused,
        )?;
        let requests = self.requests.iter().map(|(outcome, requests)| ([("result", *outcome)], *requests));
        page.counters("usage_event_requests", "Requests with usage events to the server.", requests)?;
        let sent = "Bytes of requests with usage events, headers included.";
        page.counter("usage_event_request_bytes", sent, self.request_bytes)?;
        page.gauge("usage_events_queue_bytes", "Memory of usage events that wait.", self.queue_bytes as f64)?;
        page.gauge(
            "usage_events_spool_bytes",
            "Bytes of files of usage events that wait.",
            self.spool_bytes as f64,
        )?;
        page.gauge("usage_events_local_bytes", "Bytes of files of the mode local.", self.local_bytes as f64)?;
        let removed = "Usage events of local files that were removed because of age or size.";
        page.counter("usage_events_local_removed", removed, self.local_removed)?;
        page.gauge(
            "usage_events_oldest_seconds",
            "How long the oldest usage event has waited.",
            self.oldest_s,
        )
    }

    /// Keeps the names of the environments with the most events; the others become one, `other`.
    fn name_the_busiest(&mut self) {
        let events = |one: &EnvironmentEvents| one.results.iter().map(|(_, events)| events).sum::<u64>();
        self.environments.sort_by(|a, b| events(b).cmp(&events(a)).then_with(|| a.name.cmp(&b.name)));
        // Two ids may have one name, as after an environment was made again: one label may stand for both, but once only.
        let mut named: Vec<EnvironmentEvents> = Vec::new();
        for mut one in std::mem::take(&mut self.environments) {
            if named.len() >= ENVIRONMENTS_MAX && named.iter().all(|other| other.name != one.name) {
                one.name = "other".to_owned();
            }
            match named.iter_mut().find(|other| other.name == one.name) {
                Some(other) => other.add(&one),
                None => named.push(one),
            }
        }
        self.environments = named;
    }
}

impl EnvironmentEvents {
    fn add(&mut self, other: &Self) {
        for (result, events) in &other.results {
            match self.results.iter_mut().find(|(known, _)| known == result) {
                Some((_, sum)) => *sum += events,
                None => self.results.push((*result, *events)),
            }
        }
        self.evaluations_left_out += other.evaluations_left_out;
        self.waiting += other.waiting;
        self.is_paused |= other.is_paused;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Metrics, Reader};

    #[test]
    fn environments_are_told_apart_up_to_their_maximum() {
        let metrics = Metrics::new();
        metrics.show_events(Reader::new(|| EventNumbers {
            environments: (0..ENVIRONMENTS_MAX as u64 + 5)
                .map(|place| EnvironmentEvents {
                    name: format!("shop:{place}"),
                    results: vec![("sent", 1000 - place), ("lost", 0)],
                    waiting: 1,
                    ..EnvironmentEvents::default()
                })
                .collect(),
            ..EventNumbers::default()
        }));
        let page = metrics.render();
        let start = "featbit_agent_usage_events_total{environment=";
        assert_eq!(page.lines().filter(|line| line.starts_with(start)).count(), ENVIRONMENTS_MAX + 1);
        assert!(page.contains("usage_events_total{environment=\"shop:0\",result=\"sent\"} 1000\n"), "{page}");
        assert!(page.contains("usage_events_waiting{environment=\"other\"} 5.0\n"), "{page}");
        assert!(!page.contains("result=\"lost\""));
    }
}
