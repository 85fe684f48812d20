//! Reads a line of a local file.
//!
//! Must not fail on anything: files may be damaged or written by others. Reads an event as FeatBit's server does: names in any
//! letter case, the last of a double counts. Pure.

use std::borrow::Cow;

use crate::model::timestamp::parse_iso8601_ms;
use crate::protocol::json::{Cursor, Kind, NotJson};

/// An event and where it came from.
#[derive(Debug, Default, PartialEq)]
pub struct Line<'t> {
    /// When it came, in Unix milliseconds.
    pub received_ms: i64,
    /// The environment's keys at that time.
    pub environment: Cow<'t, str>,
    /// The user's key.
    pub user: Option<Cow<'t, str>>,
    /// Evaluations of flags.
    pub evaluations: Vec<Evaluation<'t>>,
    /// Custom metrics.
    pub metrics: Vec<Metric<'t>>,
}

/// An evaluation of a flag. SDKs may leave out the variation; its texts are then empty.
#[derive(Debug, Default, PartialEq)]
pub struct Evaluation<'t> {
    /// The flag's key.
    pub flag: Cow<'t, str>,
    /// The id of the variation.
    pub id: Cow<'t, str>,
    /// Its value; the JSON text of one that is no string.
    pub value: Cow<'t, str>,
}

/// A custom metric.
#[derive(Debug, Default, PartialEq)]
pub struct Metric<'t> {
    /// Its name.
    pub name: Cow<'t, str>,
    /// Its number, if it has one.
    pub value: Option<f64>,
}

impl<'t> Line<'t> {
    /// Reads a line, without its line break. `None` if it is none of the agent's.
    pub fn parse(line: &'t [u8]) -> Option<Self> {
        let text = simdutf8::basic::from_utf8(line).ok()?;
        let mut read = Self::default();
        let (mut received_ms, mut has_event) = (None, false);
        let mut cursor = Cursor::new(text);
        let parsed = cursor.object(|cursor, name| {
            if name.is("receivedAt") {
                received_ms = text_of(cursor)?.and_then(|text| parse_iso8601_ms(&text));
            } else if name.is("environment") {
                read.environment = text_of(cursor)?.unwrap_or_default();
            } else if name.is("event") {
                has_event = cursor.kind()? == Kind::Object;
                (read.user, read.evaluations, read.metrics) = Default::default();
                read.event(cursor)?;
            } else {
                cursor.skip()?;
            }
            Ok::<(), NotJson>(())
        });
        parsed.and_then(|()| cursor.end()).ok()?;
        read.received_ms = received_ms.filter(|_| has_event)?;
        Some(read)
    }

    fn event(&mut self, cursor: &mut Cursor<'t>) -> Result<(), NotJson> {
        object(cursor, |cursor, name| {
            if name("user") {
                self.user = None;
                object(cursor, |cursor, name| {
                    if name("keyId") {
                        self.user = text_of(cursor)?;
                        return Ok(());
                    }
                    cursor.skip().map(drop)
                })
            } else if name("variations") {
                self.evaluations.clear();
                array(cursor, |cursor| {
                    let evaluation = evaluation(cursor)?;
                    self.evaluations
                        .extend(Some(evaluation).filter(|evaluation| !evaluation.flag.is_empty()));
                    Ok(())
                })
            } else if name("metrics") {
                self.metrics.clear();
                array(cursor, |cursor| {
                    let metric = metric(cursor)?;
                    self.metrics.extend(Some(metric).filter(|metric| !metric.name.is_empty()));
                    Ok(())
                })
            } else {
                cursor.skip().map(drop)
            }
        })
    }
}

fn evaluation<'t>(cursor: &mut Cursor<'t>) -> Result<Evaluation<'t>, NotJson> {
    let mut read = Evaluation::default();
    object(cursor, |cursor, name| {
        if name("featureFlagKey") {
            read.flag = text_of(cursor)?.unwrap_or_default();
        } else if name("variation") {
            (read.id, read.value) = Default::default();
            object(cursor, |cursor, name| {
                if name("id") {
                    read.id = text_of(cursor)?.unwrap_or_default();
                } else if name("value") {
                    read.value = text_or_json(cursor)?;
                } else {
                    cursor.skip()?;
                }
                Ok(())
            })?;
        } else {
            cursor.skip()?;
        }
        Ok(())
    })?;
    Ok(read)
}

fn metric<'t>(cursor: &mut Cursor<'t>) -> Result<Metric<'t>, NotJson> {
    let mut read = Metric::default();
    object(cursor, |cursor, name| {
        if name("eventName") {
            read.name = text_of(cursor)?.unwrap_or_default();
        } else if name("numericValue") {
            let number = cursor.skip()?.parse::<f64>().ok();
            read.value = number.filter(|number| number.is_finite());
        } else {
            cursor.skip()?;
        }
        Ok(())
    })?;
    Ok(read)
}

/// Reads an object, or skips what is none. `member` gets a function that compares the member's name.
fn object<'t>(
    cursor: &mut Cursor<'t>,
    mut member: impl FnMut(&mut Cursor<'t>, &dyn Fn(&str) -> bool) -> Result<(), NotJson>,
) -> Result<(), NotJson> {
    if cursor.kind()? != Kind::Object {
        return cursor.skip().map(drop);
    }
    cursor.object(|cursor, name| member(cursor, &|other| name.is_in_any_case(other)))
}

/// Reads an array, or skips what is none.
fn array<'t>(
    cursor: &mut Cursor<'t>,
    element: impl FnMut(&mut Cursor<'t>) -> Result<(), NotJson>,
) -> Result<(), NotJson> {
    if cursor.kind()? != Kind::Array {
        return cursor.skip().map(drop);
    }
    cursor.array(element)
}

/// Reads a string; `None` if it is something else.
fn text_of<'t>(cursor: &mut Cursor<'t>) -> Result<Option<Cow<'t, str>>, NotJson> {
    if cursor.kind()? != Kind::Text {
        return cursor.skip().map(|_| None);
    }
    // A lone surrogate is no text.
    Ok(Some(cursor.string()?.decode().unwrap_or(Cow::Borrowed("\u{FFFD}"))))
}

/// Reads a string, or the text of any other value.
fn text_or_json<'t>(cursor: &mut Cursor<'t>) -> Result<Cow<'t, str>, NotJson> {
    match cursor.kind()? {
        Kind::Text => text_of(cursor).map(Option::unwrap_or_default),
        _ => cursor.skip().map(Cow::Borrowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "\"receivedAt\":\"2026-11-30T12:34:56.789Z\",\"environment\":\"shop:prod\"";

    #[test]
    fn an_event_in_the_forms_of_sdks() {
        let line = format!(
            "{{{HEAD},\"secret\":\"client\",\"event\":{{\"User\":{{\"keyid\":\"\\u0061nn\"}},\"variations\":[\
             {{\"featureFlagKey\":\"f\",\"sendToExperiment\":true,\"variation\":{{\"id\":\"1\",\"value\":\"on\",\"name\":\"n\"}}}},\
             {{\"featureFlagKey\":\"g\",\"variation\":{{\"id\":\"2\",\"value\":{{\"a\":1}}}}}},\
             {{\"featureFlagKey\":\"h\"}},{{}},7],\
             \"metrics\":[{{\"eventName\":\"m\",\"numericValue\":1.5}},{{\"eventName\":\"n\",\"numericValue\":\"2\"}},{{}}]}}}}"
        );
        let read = Line::parse(line.as_bytes()).unwrap();
        let evaluation = |flag, id, value| Evaluation {
            flag: Cow::Borrowed(flag),
            id: Cow::Borrowed(id),
            value: Cow::Borrowed(value),
        };
        assert_eq!(
            read,
            Line {
                received_ms: 1_796_042_096_789,
                environment: "shop:prod".into(),
                user: Some("ann".into()),
                evaluations: vec![
                    evaluation("f", "1", "on"),
                    evaluation("g", "2", "{\"a\":1}"),
                    evaluation("h", "", "")
                ],
                metrics: vec![
                    Metric { name: "m".into(), value: Some(1.5) },
                    Metric { name: "n".into(), value: None }
                ],
            }
        );
        assert_eq!(
            Line::parse(format!("{{{HEAD},\"event\":{{\"user\":7}}}}").as_bytes()).unwrap().user,
            None
        );
    }

    #[test]
    fn of_a_double_the_last_counts() {
        let list = |flag: &str| format!("\"variations\":[{{\"featureFlagKey\":\"{flag}\"}}]");
        let line =
            format!("{{{HEAD},\"event\":{{{}}},\"event\":{{{},{}}}}}", list("a"), list("b"), list("c"));
        let read = Line::parse(line.as_bytes()).unwrap();
        let flags: Vec<&str> = read.evaluations.iter().map(|evaluation| &*evaluation.flag).collect();
        assert_eq!(flags, ["c"]);
        let line = format!("{{{HEAD},\"event\":{{{}}},\"event\":{{}}}}", list("a"));
        assert!(Line::parse(line.as_bytes()).unwrap().evaluations.is_empty());
    }

    #[test]
    fn what_is_no_line_of_the_agent_is_refused() {
        let whole = format!("{{{HEAD},\"event\":{{}}}}");
        assert!(Line::parse(whole.as_bytes()).is_some());
        for end in 0..whole.len() {
            assert_eq!(Line::parse(&whole.as_bytes()[..end]), None, "{end}");
        }
        for line in
            ["", "{}", "[]", "{\"event\":{}}", &format!("{{{HEAD}}}"), &format!("{{{HEAD},\"event\":[]}}")]
        {
            assert_eq!(Line::parse(line.as_bytes()), None, "{line}");
        }
        assert_eq!(Line::parse(b"{\"receivedAt\":\"yesterday\",\"event\":{}}"), None);
        assert_eq!(Line::parse(&[0xff]), None);
    }
}
