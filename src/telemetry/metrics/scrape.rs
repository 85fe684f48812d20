//! The content of a scrape: the metrics of all threads, added up.
//!
//! Must not hold a lock while it writes the output, and must not use label values from outside, except for a limited number
//! of environments.

use std::collections::HashMap;
use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::cell::{Counter, Reading};
use super::labels::ENVIRONMENTS_MAX;
use super::labels::{Closed, Connection, Limit, Refusal, Route, Source, Status, Sync};
use super::numbers::{Numbers, WriterMetrics};
use super::page::Page;
use super::reactor::{EnvironmentConnections, ReactorMetrics};

/// The agent's own metrics.
#[derive(Debug)]
pub(super) struct Own(pub Arc<Numbers>);

/// Metrics of the process under the names that every process uses.
#[derive(Debug)]
pub(super) struct Process(pub Arc<Numbers>);

impl Collector for Own {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let page = &mut Page(encoder);
        let reactors = self.0.reactors.lock().clone();
        connections(page, &reactors)?;
        traffic(page, &reactors)?;
        answers(page, &reactors, &self.0.writer)?;
        changes(page, &reactors, self.0.last_change_us.load(Relaxed))?;
        data(page, &self.0.writer)?;
        super::tls::encode(page, &reactors, &self.0.tls)?;
        if let Some(keys) = self.0.keys.get() {
            keys.encode(page)?;
        }
        if let Some(upstream) = self.0.upstream.get() {
            upstream.encode(page)?;
        }
        if let Some(backup) = self.0.backup.get() {
            backup.read().encode(page)?;
        }
        if let Some(redis) = self.0.redis.get() {
            redis.read().encode(page)?;
        }
        if let Some(events) = self.0.events.get() {
            events.read().encode(page)?;
        }
        let dropped = crate::telemetry::log::lines_dropped();
        page.counter(
            "log_lines_dropped",
            "Log lines that standard output did not take in time, or at all.",
            dropped,
        )?;
        let version = [[("version", env!("CARGO_PKG_VERSION"))]];
        page.gauges("build_info", "The version of the agent.", version.into_iter().map(|label| (label, 1)))
    }
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let page = &mut Page(encoder);
        let name = "process_start_time_seconds";
        page.gauge(name, "When the process started, in seconds since 1970.", self.0.started_unix_s)?;
        match crate::telemetry::memory::resident_bytes() {
            Some(bytes) => page.gauge("process_resident_memory_bytes", "Memory in use.", bytes as f64),
            None => Ok(()),
        }
    }
}

type Reactors = [Arc<ReactorMetrics>];

fn sum(reactors: &Reactors, counter: impl Fn(&ReactorMetrics) -> &Counter) -> u64 {
    reactors.iter().map(|reactor| counter(reactor).get()).sum()
}

fn connections(page: &mut Page<'_>, reactors: &Reactors) -> Result<(), Error> {
    let open = Connection::ALL.iter().map(|kind| {
        let open = reactors.iter().map(|reactor| reactor.connections[*kind as usize].get()).sum();
        ([("kind", kind.as_str())], open)
    });
    page.gauges("connections", "Connections that are open.", open)?;
    let by_environment = environments(reactors);
    let by_environment = by_environment.iter().flat_map(|(environment, server, client)| {
        let label = |kind| [("environment", environment.as_str()), ("kind", kind)];
        [(label("server"), *server), (label("client"), *client)]
    });
    let name = "environment_connections";
    page.gauges(name, "Streaming connections by environment (project:environment).", by_environment)?;
    page.counter("connections_accepted", "Connections accepted.", sum(reactors, |r| &r.accepted))?;
    let closed = Closed::ALL
        .iter()
        .map(|why| ([("reason", why.as_str())], sum(reactors, |r| &r.closed[*why as usize])));
    page.counters("connections_closed", "Connections that ended.", closed)
}

/// Connections by environment over all reactors.
pub(super) fn sum_environments(reactors: &Reactors) -> HashMap<Arc<str>, (u64, u64)> {
    let mut sums: HashMap<Arc<str>, (u64, u64)> = HashMap::new();
    for reactor in reactors {
        let published = reactor.environments.lock().clone();
        for EnvironmentConnections { environment, server, client } in published {
            let sum = sums.entry(environment).or_default();
            *sum = (sum.0 + server, sum.1 + client);
        }
    }
    sums
}

/// Connections by environment over all reactors: the largest ones by name, the rest as `other`.
fn environments(reactors: &Reactors) -> Vec<(String, u64, u64)> {
    let mut list: Vec<_> = sum_environments(reactors)
        .into_iter()
        .map(|(name, (server, client))| (name, server, client))
        .collect();
    list.sort_by(|a, b| (b.1 + b.2).cmp(&(a.1 + a.2)).then_with(|| a.0.cmp(&b.0)));
    let rest = list.split_off(list.len().min(ENVIRONMENTS_MAX));
    let mut list: Vec<_> =
        list.into_iter().map(|(name, server, client)| (name.to_string(), server, client)).collect();
    if !rest.is_empty() {
        let (server, client) = rest.iter().fold((0, 0), |sum, one| (sum.0 + one.1, sum.1 + one.2));
        list.push(("other".to_string(), server, client));
    }
    list
}

fn traffic(page: &mut Page<'_>, reactors: &Reactors) -> Result<(), Error> {
    page.counter("received_bytes", "Bytes read from sockets.", sum(reactors, |r| &r.received_bytes))?;
    page.counter("sent_bytes", "Bytes written to sockets.", sum(reactors, |r| &r.sent_bytes))?;
    page.counter("messages", "Messages taken from SDKs.", sum(reactors, |r| &r.messages))?;
    let syncs =
        Sync::ALL.iter().map(|kind| ([("kind", kind.as_str())], sum(reactors, |r| &r.syncs[*kind as usize])));
    page.counters("syncs", "Data-sync messages sent, asked for or pushed.", syncs)?;
    let pending: u64 = reactors.iter().map(|reactor| reactor.pending_bytes.get()).sum();
    page.gauge("pending_bytes", "Memory that single connections hold for themselves.", pending as f64)?;
    let turns = reactors
        .iter()
        .enumerate()
        .map(|(place, reactor)| ([("reactor", place as u64)], reactor.turns.read()));
    page.histograms("reactor_turn_seconds", "How long a turn of a reactor's loop was busy.", turns)
}

fn answers(page: &mut Page<'_>, reactors: &Reactors, writer: &WriterMetrics) -> Result<(), Error> {
    let responses = Route::ALL.iter().flat_map(|route| {
        Status::ALL.iter().map(move |status| {
            let count = sum(reactors, |r| &r.responses[*route as usize][*status as usize]);
            ([("route", route.as_str()), ("status", status.as_str())], count)
        })
    });
    // Most pairs never happen.
    let responses = responses.filter(|(_, count)| *count > 0);
    page.counters("http_responses", "HTTP requests answered.", responses)?;
    let refusals = Refusal::ALL
        .iter()
        .map(|why| ([("reason", why.as_str())], sum(reactors, |r| &r.refusals[*why as usize])));
    page.counters("refusals", "SDKs and operators refused.", refusals)?;
    let limits = Limit::ALL.iter().map(|limit| {
        let of_writer = match limit {
            Limit::RegexProgramBytes => writer.regex_too_large.get(),
            Limit::RegexTotalBytes => writer.regex_too_many.get(),
            Limit::RegexSteps => writer.regex_given_up.get(),
            _ => 0,
        };
        ([("limit", limit.as_str())], sum(reactors, |r| &r.limits[*limit as usize]) + of_writer)
    });
    page.counters("limits_hit", "Limits hit, by the setting's name.", limits)
}

fn changes(page: &mut Page<'_>, reactors: &Reactors, last_us: u64) -> Result<(), Error> {
    let deliveries = sum(reactors, |r| &r.deliveries);
    page.counter("deliveries", "Changes handed to connections.", deliveries)?;
    let mut all = Reading::default();
    for reactor in reactors {
        all.add(&reactor.changes.read());
    }
    let help = "From a change's arrival to the last connection of a reactor.";
    page.histogram("change_delivery_seconds", help, &all)?;
    let help = "From the last change's arrival to the last connection of all.";
    page.gauge("change_delivery_last_seconds", help, last_us as f64 / 1e6)
}

fn data(page: &mut Page<'_>, writer: &WriterMetrics) -> Result<(), Error> {
    let version = writer.data_version.get() as f64;
    page.gauge("data_version", "The highest version of data ever in service, in milliseconds.", version)?;
    page.gauge("environments", "Environments in service.", writer.environments.get() as f64)?;
    page.gauge("flags", "Flags in service.", writer.flags.get() as f64)?;
    page.gauge("segments", "Segments in service.", writer.segments.get() as f64)?;
    let regex_bytes = writer.regex_bytes.get() as f64;
    page.gauge("regex_bytes", "Memory of compiled regular expressions, about.", regex_bytes)?;
    page.gauge("secrets", "Secrets in service.", writer.secrets.get() as f64)?;
    page.counter("snapshots_published", "Snapshots put in service.", writer.published.get())?;
    let rejected = Source::ALL
        .iter()
        .map(|source| ([("source", source.as_str())], writer.rejected[*source as usize].get()));
    page.counters("datasets_rejected", "Datasets refused.", rejected)?;
    let help = "How long datasets took from their text into service.";
    page.histogram("dataset_load_seconds", help, &writer.loads.read())?;
    let last_s = writer.last_load_us.get() as f64 / 1e6;
    page.gauge("dataset_load_last_seconds", "The same of the last dataset.", last_s)
}

#[cfg(test)]
mod tests {
    use super::super::{DialFault, Metrics, StreamEnd, Unused, UpstreamSync};
    use super::*;

    fn line<'a>(page: &'a str, start: &str) -> &'a str {
        page.lines()
            .find_map(|line| line.strip_prefix(start))
            .unwrap_or_else(|| panic!("no {start} in\n{page}"))
    }

    #[test]
    fn a_scrape_adds_up_the_reactors() {
        let metrics = Metrics::new();
        let (one, two) = (metrics.reactor(), metrics.reactor());
        one.accepted();
        one.turned(Connection::Http, Connection::Server);
        two.accepted();
        two.accepted();
        two.turned(Connection::Http, Connection::Server);
        two.closed(Connection::Http, Closed::Done);
        one.received(10);
        two.received(5);
        one.responded(Route::PollServer, 200);
        two.responded(Route::PollServer, 204);
        two.limit_hit(Limit::HeaderBytes);
        one.refused(Refusal::WrongType);
        one.synced(Sync::Full);
        let page = metrics.render();
        for (start, rest) in [
            ("featbit_agent_connections{kind=\"server\"} ", "2.0"),
            ("featbit_agent_connections{kind=\"http\"} ", "0.0"),
            ("featbit_agent_connections_accepted_total ", "3"),
            ("featbit_agent_connections_closed_total{reason=\"done\"} ", "1"),
            ("featbit_agent_received_bytes_total ", "15"),
            ("featbit_agent_http_responses_total{route=\"poll_server\",status=\"2xx\"} ", "2"),
            ("featbit_agent_limits_hit_total{limit=\"header_bytes\"} ", "1"),
            ("featbit_agent_refusals_total{reason=\"wrong_type\"} ", "1"),
            ("featbit_agent_syncs_total{kind=\"full\"} ", "1"),
            ("featbit_agent_build_info{version=\"", concat!(env!("CARGO_PKG_VERSION"), "\"} 1.0")),
        ] {
            assert_eq!(line(&page, start), rest, "{start}");
        }
    }

    #[test]
    fn times_are_histograms_in_seconds() {
        let metrics = Metrics::new();
        let (one, two) = (metrics.reactor(), metrics.reactor());
        one.turn(60);
        two.turn(2_000);
        one.change_delivered(3_000);
        two.change_delivered(4_000_000);
        metrics.change_complete(4_000_000);
        metrics.writer().loaded(90_000_000);
        let page = metrics.render();
        for (start, rest) in [
            ("featbit_agent_reactor_turn_seconds_bucket{le=\"0.0001\",reactor=\"0\"} ", "1"),
            ("featbit_agent_reactor_turn_seconds_bucket{le=\"0.0001\",reactor=\"1\"} ", "0"),
            ("featbit_agent_reactor_turn_seconds_sum{reactor=\"1\"} ", "0.002"),
            ("featbit_agent_change_delivery_seconds_count ", "2"),
            ("featbit_agent_change_delivery_seconds_bucket{le=\"0.005\"} ", "1"),
            ("featbit_agent_change_delivery_last_seconds ", "4.0"),
            ("featbit_agent_dataset_load_seconds_bucket{le=\"60.0\"} ", "0"),
            ("featbit_agent_dataset_load_seconds_bucket{le=\"+Inf\"} ", "1"),
            ("featbit_agent_dataset_load_last_seconds ", "90.0"),
        ] {
            assert_eq!(line(&page, start), rest, "{start}\n{page}");
        }
    }

    #[test]
    fn a_server_has_numbers_where_one_is_followed() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("agent_upstream_"));
        let upstream = metrics.upstream();
        upstream.opened.add(2);
        upstream.ended(StreamEnd::Silent);
        upstream.dial_failed(DialFault::Tls);
        metrics.upstream().synced(UpstreamSync::Full);
        upstream.unused(Unused::Faulty);
        let page = metrics.render();
        for (start, rest) in [
            ("featbit_agent_upstream_streams_opened_total ", "2"),
            ("featbit_agent_upstream_streams_ended_total{reason=\"silent\"} ", "1"),
            ("featbit_agent_upstream_dial_failures_total{reason=\"tls\"} ", "1"),
            ("featbit_agent_upstream_syncs_total{kind=\"full\"} ", "1"),
            ("featbit_agent_upstream_messages_unused_total{reason=\"faulty\"} ", "1"),
        ] {
            assert_eq!(line(&page, start), rest, "{start}");
        }
    }

    #[test]
    fn the_writers_numbers_are_its_own() {
        let metrics = Metrics::new();
        let writer = metrics.writer();
        writer.data_version.set(1_700_000_000_123);
        writer.flags.set(12);
        writer.published.add(1);
        writer.rejected(Source::Bootstrap);
        let page = metrics.render();
        assert_eq!(line(&page, "featbit_agent_data_version "), "1700000000123.0");
        assert_eq!(line(&page, "featbit_agent_flags "), "12.0");
        assert_eq!(line(&page, "featbit_agent_snapshots_published_total "), "1");
        assert_eq!(line(&page, "featbit_agent_datasets_rejected_total{source=\"bootstrap\"} "), "1");
    }

    #[test]
    fn at_most_two_hundred_environments_have_a_name() {
        let metrics = Metrics::new();
        let (one, two) = (metrics.reactor(), metrics.reactor());
        let list = |count: u64| {
            (0..count)
                .map(|n| EnvironmentConnections {
                    environment: format!("p:e{n}").into(),
                    server: n,
                    client: 1,
                })
                .collect()
        };
        one.publish_environments(list(250));
        two.publish_environments(list(250));
        let page = metrics.render();
        let start = "featbit_agent_environment_connections{environment=";
        assert_eq!(page.lines().filter(|line| line.starts_with(start)).count(), 2 * (ENVIRONMENTS_MAX + 1));
        assert_eq!(line(&page, &format!("{start}\"p:e249\",kind=\"server\"}} ")), "498.0");
        // The smallest fifty: 0 + 1 + … + 49 on each of two reactors.
        assert_eq!(line(&page, &format!("{start}\"other\",kind=\"server\"}} ")), "2450.0");
        assert_eq!(line(&page, &format!("{start}\"other\",kind=\"client\"}} ")), "100.0");
    }

    #[test]
    fn odd_environment_names_cannot_break_the_page() {
        let metrics = Metrics::new();
        let environment = Arc::from("a\"b\\c\nd");
        let odd = EnvironmentConnections { environment, server: 1, client: 0 };
        metrics.reactor().publish_environments(vec![odd]);
        let page = metrics.render();
        let start = "featbit_agent_environment_connections{environment=\"a\\\"b\\\\c\\nd\",kind=\"server\"} ";
        assert_eq!(line(&page, start), "1.0");
    }

    #[test]
    fn the_page_is_whole_openmetrics() {
        let page = Metrics::new().render();
        assert!(page.ends_with("# EOF\n"));
        assert_eq!(page.matches("# EOF").count(), 1);
        let mut described = std::collections::HashSet::new();
        for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            assert!(described.insert(name.split(' ').next().unwrap()), "{name} twice");
        }
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let base = name.split('{').next().unwrap();
            assert!(described.iter().any(|known| base.starts_with(known)), "{line} has no description");
        }
        #[cfg(target_os = "linux")]
        assert!(line(&page, "process_resident_memory_bytes ").parse::<f64>().unwrap() > 0.0);
    }

    #[test]
    fn the_numbers_of_reactors_share_no_cache_line() {
        assert_eq!(align_of::<ReactorMetrics>(), 128);
        assert_eq!(size_of::<ReactorMetrics>() % 128, 0);
    }
}
