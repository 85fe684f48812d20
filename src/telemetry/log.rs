//! Log lines: readable text, or one JSON object per line.
//!
//! Must not let log lines of libraries through, because they may contain data: only targets of this crate pass, and there is
//! no bridge from the `log` facade.
//!
//! Lines go to standard output, as in the .NET agent and as containers expect; errors that end a start go to standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::log_writer;
pub use super::log_writer::{flush, lines_dropped};

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text {
        /// Whether levels are coloured.
        colour: bool,
    },
    /// One JSON object per line: `timestamp` (UTC, RFC 3339), `level`, `message`, the fields, `target`.
    Json,
}

impl Format {
    /// Text for standard output: coloured on a terminal, unless `NO_COLOR` is set.
    pub fn text() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Format::Text { colour: wanted && std::io::stdout().is_terminal() }
    }
}

/// Starts logging to standard output for the whole process, on a thread of its own, so that logging never blocks. [`flush`]
/// must be called before the process ends. A second call has no effect and returns `false`.
///
/// # Errors
/// The thread cannot be started.
pub fn init(level: LevelFilter, format: Format) -> std::io::Result<bool> {
    let queue = log_writer::start(std::io::stdout())?;
    let subscriber = subscriber(level, format, queue.clone());
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        previous(panic);
        // The process ends now: write the lines before the panic.
        flush();
    }));
    Ok(tracing::subscriber::set_global_default(subscriber).is_ok() && queue.make_global())
}

/// The subscriber of [`init`], with lines going to `writer`.
pub fn subscriber<W>(level: LevelFilter, format: Format, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let own =
        FilterFn::new(move |metadata: &Metadata<'_>| *metadata.level() <= level && is_own(metadata.target()));
    let own = own.with_max_level_hint(level);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(Utc);
    let layer = match format {
        Format::Text { colour } => layer.with_ansi(colour).with_target(false).boxed(),
        Format::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    tracing_subscriber::registry().with(layer.with_filter(own))
}

/// Whether a line comes from this crate rather than from a library.
fn is_own(target: &str) -> bool {
    target.strip_prefix("featbit_agent").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The time of a line: UTC with milliseconds, as in `2026-03-01T12:00:00.123Z`.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write_utc(time::OffsetDateTime::now_utc(), writer)
    }
}

fn write_utc(at: time::OffsetDateTime, writer: &mut dyn std::fmt::Write) -> std::fmt::Result {
    write!(
        writer,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(level: LevelFilter, format: Format, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(level, format, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_is_one_object_with_a_utc_time() {
        let text = written(LevelFilter::INFO, Format::Json, || {
            tracing::info!(port = 6100, mode = "offline", "listening \"here\"\nand there");
        });
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "listening \"here\"\nand there");
        assert_eq!(line["port"], 6100);
        assert_eq!(line["mode"], "offline");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "featbit_agent::telemetry::log::tests");
        let timestamp = line["timestamp"].as_str().unwrap();
        let format = &time::format_description::well_known::Rfc3339;
        assert!(timestamp.ends_with('Z') && time::OffsetDateTime::parse(timestamp, format).is_ok());
    }

    #[test]
    fn a_number_of_others_that_is_none_is_left_out() {
        let limit = crate::telemetry::once::RateLimit::new(1000);
        let text = written(LevelFilter::INFO, Format::Text { colour: false }, || {
            for now_ms in [0, 1, 1000] {
                if let Some(others) = limit.allow(now_ms) {
                    tracing::info!(others_like_it = others, "told");
                }
            }
        });
        let lines: Vec<_> = text.lines().map(|line| line.split_once("told").unwrap().1).collect();
        assert_eq!(lines, ["", " others_like_it=1"]);
    }

    #[test]
    fn a_text_line_has_colour_only_where_it_is_wanted() {
        let log = || tracing::warn!(flags = 3, "loaded");
        let plain = written(LevelFilter::INFO, Format::Text { colour: false }, log);
        assert!(plain.contains("WARN") && plain.contains("loaded flags=3"), "{plain}");
        assert!(!plain.contains('\x1b'));
        let coloured = written(LevelFilter::INFO, Format::Text { colour: true }, log);
        assert!(coloured.contains('\x1b'));
    }

    #[test]
    fn libraries_and_lower_levels_do_not_pass() {
        let text = written(LevelFilter::INFO, Format::Json, || {
            tracing::error!(target: "tungstenite::protocol", "a frame");
            tracing::error!(target: "featbit_agentx", "a stranger");
            tracing::debug!("a detail");
            tracing::info!(target: "featbit_agent", "ours");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("ours"));
        let none = written(LevelFilter::OFF, Format::Json, || tracing::error!("silence"));
        assert_eq!(none, "");
    }

    #[test]
    fn times_are_written_with_every_place() {
        let mut text = String::new();
        write_utc(time::macros::datetime!(2026-03-01 02:03:04.005 UTC), &mut text).unwrap();
        assert_eq!(text, "2026-03-01T02:03:04.005Z");
    }
}
