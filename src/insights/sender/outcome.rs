//! What became of one request: whether its events are taken, and if not, what is to happen to them.
//!
//! Must not read a clock, and must not decide when the next request follows: `delivery` does. Nothing here holds or shows
//! a secret, or any byte of a body.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::client::DialError;

/// The longest time that a server may ask for by `Retry-After`.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// The longest host of a redirect that is shown.
const HOST_CHARS_MAX: usize = 100;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has the events.
    Taken,
    /// The same events are to be sent again later.
    Again(Fault),
    /// The body is too large for the server (413).
    TooLarge,
    /// The server is not what it should be, or does not know the secret. This is not the fault of the events.
    Refused(Refusal),
    /// The server will not take these events (other 4xx).
    Rejected {
        /// The status.
        status: u16,
    },
}

/// Why events are to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An answer that may be another one soon.
    Status {
        /// The status.
        status: u16,
        /// How long the server asks to wait, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// No connection to the server was possible: this concerns all streams.
    NoConnection(DialError),
    /// There was a connection, but no answer. The server may have taken the events.
    NoAnswer {
        /// How the connection ended.
        how: NoAnswer,
        /// Details for a log line: what the system or TLS says.
        detail: String,
    },
    /// The agent ended before there was an answer. The server may have taken the events.
    Abandoned,
}

/// How a connection ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The time was over.
    TimedOut,
    /// The server closed or reset the connection.
    Closed,
    /// What came was not HTTP.
    NotHttp,
}

/// Why the server refuses, whatever the events are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The host of the redirect, if it is one.
    pub redirected_to: Option<String>,
}

/// The parts of an answer that count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// `Date`.
    pub date: Option<&'a str>,
    /// `Location`.
    pub location: Option<&'a str>,
    /// Whether the connection was encrypted.
    pub encrypted: bool,
    /// The beginning of the body.
    pub body: &'a [u8],
}

impl Outcome {
    /// What an answer at this time (Unix milliseconds) means.
    pub fn of(answer: &Answer<'_>, now_ms: u64) -> Self {
        let status = answer.status;
        let refused = |redirected_to| Self::Refused(Refusal { status, redirected_to });
        match status {
            200..=299 => Self::Taken,
            300..=399 => refused(answer.location.and_then(host_of)),
            // 407, 421 and 426 come from something in front of the server that this agent is not set up for.
            401 | 403 | 404 | 405 | 407 | 421 | 426 => refused(None),
            // So an agent answers to which its own events come back.
            508 => refused(None),
            // Web servers answer so if TLS is missing: a wrong address, not a wrong event.
            400 if !answer.encrypted && speaks_of_https(answer.body) => refused(None),
            413 => Self::TooLarge,
            408 | 429 => Self::Again(Fault::Status { status, retry_after_ms: answer.retry_after_ms(now_ms) }),
            400..=499 => Self::Rejected { status },
            // 1xx is no final answer, and what is beyond 599 is unknown.
            _ => Self::Again(Fault::Status { status, retry_after_ms: answer.retry_after_ms(now_ms) }),
        }
    }

    /// The status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Taken => Some(200),
            Self::Again(Fault::Status { status, .. }) | Self::Rejected { status } => Some(*status),
            Self::Again(_) => None,
            Self::TooLarge => Some(413),
            Self::Refused(refusal) => Some(refusal.status),
        }
    }

    /// Whether no connection to the server was possible.
    pub fn is_no_connection(&self) -> bool {
        matches!(self, Self::Again(Fault::NoConnection(_)))
    }

    /// Whether the agent ended before there was an answer.
    pub fn is_abandoned(&self) -> bool {
        matches!(self, Self::Again(Fault::Abandoned))
    }

    /// The kind, for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Again(Fault::Status { .. }) => "status",
            Self::Again(Fault::NoConnection(_)) => "no_connection",
            Self::Again(Fault::NoAnswer { .. }) => "no_answer",
            Self::Again(Fault::Abandoned) => "abandoned",
            Self::TooLarge => "too_large",
            Self::Refused(_) => "refused",
            Self::Rejected { .. } => "rejected",
        }
    }
}

/// A short text for the status, such as `status 503`, without addresses.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("taken"),
            Self::Again(Fault::NoConnection(error)) => write!(f, "no connection ({})", error.step.as_str()),
            Self::Again(Fault::NoAnswer { how, .. }) => f.write_str(match how {
                NoAnswer::TimedOut => "no answer in time",
                NoAnswer::Closed => "connection closed without an answer",
                NoAnswer::NotHttp => "the answer is not HTTP",
            }),
            Self::Again(Fault::Abandoned) => f.write_str("abandoned"),
            Self::Again(Fault::Status { status, .. }) | Self::Rejected { status } => {
                write!(f, "status {status}")
            }
            Self::TooLarge => f.write_str("status 413"),
            Self::Refused(refusal) => write!(f, "status {}", refusal.status),
        }
    }
}

impl Answer<'_> {
    /// How long to wait by `Retry-After`, in seconds or as a date. A date counts from the server's own clock, if the
    /// answer tells it.
    fn retry_after_ms(&self, now_ms: u64) -> Option<u64> {
        let value = self.retry_after?.trim();
        let wait_ms = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            // Too many digits are a long time.
            value.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000)
        } else {
            let until = httpdate::parse_http_date(value).ok()?;
            let now = UNIX_EPOCH + Duration::from_millis(now_ms.min(i64::MAX as u64));
            let now: SystemTime =
                self.date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
            // In the past: at once.
            u64::try_from(until.duration_since(now).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
        };
        Some(wait_ms.min(RETRY_AFTER_MS_MAX))
    }
}

/// The host, with port, of an absolute URL; `None` if there is none or it looks odd.
fn host_of(location: &str) -> Option<String> {
    let (_, rest) = location.split_once("//")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    (!host.is_empty() && host.len() <= HOST_CHARS_MAX && host.bytes().all(plain)).then(|| host.to_owned())
}

/// As nginx ("The plain HTTP request was sent to HTTPS port"), Apache and Go say it.
fn speaks_of_https(body: &[u8]) -> bool {
    body.windows(5).any(|word| word.eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn of(status: u16) -> Outcome {
        Outcome::of(&Answer { status, ..Answer::default() }, NOW_MS)
    }

    fn waits(retry_after: &str, date: Option<&str>) -> Option<u64> {
        let answer = Answer { status: 503, retry_after: Some(retry_after), date, ..Answer::default() };
        match Outcome::of(&answer, NOW_MS) {
            Outcome::Again(Fault::Status { status: 503, retry_after_ms }) => retry_after_ms,
            other => panic!("{other:?}"),
        }
    }

    /// What each status means, one line a meaning.
    #[test]
    fn each_status_has_one_meaning() {
        let kinds =
            |label: &str| -> Vec<u16> { (100..700).filter(|&status| of(status).label() == label).collect() };
        assert_eq!(kinds("taken"), (200..300).collect::<Vec<_>>());
        let refused: Vec<u16> = (300..400).chain([401, 403, 404, 405, 407, 421, 426, 508]).collect();
        assert_eq!(kinds("refused"), refused);
        assert_eq!(kinds("too_large"), [413]);
        let again: Vec<u16> =
            (100..200).chain([408, 429]).chain((500..700).filter(|&status| status != 508)).collect();
        assert_eq!(kinds("status"), again);
        let others = |status: &u16| of(*status).label() == "rejected";
        assert_eq!((400..500).filter(others).count(), 100 - 7 - 1 - 2);
        for status in (300..700).filter(|&status| of(status) != Outcome::Taken) {
            assert_eq!(of(status).status(), Some(status));
        }
    }

    #[test]
    fn a_time_to_wait_is_understood_in_both_forms_and_bounded() {
        for (value, expected) in [
            ("0", Some(0)),
            (" 7 ", Some(7_000)),
            ("3600", Some(3_600_000)),
            ("86400", Some(3_600_000)),
            ("99999999999999999999999999", Some(3_600_000)),
            // 22:13:20 is the time of the answer.
            ("Tue, 14 Nov 2023 22:13:50 GMT", Some(30_000)),
            ("Tuesday, 14-Nov-23 22:13:50 GMT", Some(30_000)),
            ("Tue Nov 14 22:13:50 2023", Some(30_000)),
            ("Tue, 14 Nov 2023 22:13:19 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(3_600_000)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Tue, 14 Nov 2023", None),
        ] {
            assert_eq!(waits(value, None), expected, "{value:?}");
        }
        let date = "Tue, 14 Nov 2023 22:13:50 GMT";
        assert_eq!(waits(date, Some("Tue, 14 Nov 2023 22:13:45 GMT")), Some(5_000), "the server's clock");
        assert_eq!(waits(date, Some("today")), Some(30_000));
    }

    #[test]
    fn of_a_redirect_the_host_alone_is_shown() {
        for (location, expected) in [
            ("https://events.example/api?token=x", Some("events.example")),
            ("//user:password@events.example:8443/", Some("events.example:8443")),
            ("https://[::1]:5100", Some("[::1]:5100")),
            ("/login?next=x", None),
            ("https:///x", None),
            ("https://a b/", None),
            ("https://a\u{1b}[0m/", None),
        ] {
            let answer = Answer { status: 307, location: Some(location), ..Answer::default() };
            let refusal = Refusal { status: 307, redirected_to: expected.map(str::to_owned) };
            assert_eq!(Outcome::of(&answer, 0), Outcome::Refused(refusal), "{location}");
        }
    }

    /// What would go wrong: an address with `http` instead of `https` would empty a spool into the dead letters.
    #[test]
    fn a_complaint_about_missing_tls_is_not_the_fault_of_the_events() {
        let nginx = b"<title>400 The plain HTTP request was sent to HTTPS port</title>";
        let answer = Answer { status: 400, body: nginx, ..Answer::default() };
        assert_eq!(Outcome::of(&answer, 0).label(), "refused");
        assert_eq!(Outcome::of(&Answer { encrypted: true, ..answer }, 0).label(), "rejected");
        assert_eq!(Outcome::of(&Answer { body: b"no array", ..answer }, 0).label(), "rejected");
        assert_eq!(Outcome::of(&Answer { status: 200, ..answer }, 0), Outcome::Taken);
    }

    proptest! {
        #[test]
        fn no_answer_breaks_it(
            status: u16,
            texts in prop::collection::vec(prop::option::of(".*"), 3),
            body: Vec<u8>,
            now_ms: u64,
        ) {
            let [retry_after, date, location] = [0, 1, 2].map(|at| texts[at].as_deref());
            let answer = Answer { status, retry_after, date, location, encrypted: false, body: &body };
            let outcome = Outcome::of(&answer, now_ms);
            if let Outcome::Again(Fault::Status { retry_after_ms: Some(wait_ms), .. }) = outcome {
                prop_assert!(wait_ms <= RETRY_AFTER_MS_MAX);
            }
        }
    }
}
