//! Reads one property as the type that FeatBit's server expects.
//!
//! Must not stop at an error: the error is recorded, a default replaces the value, and parsing continues, so that one pass
//! finds all errors. A dump with an error is refused as a whole, so the defaults are never used.

use crate::model::environment_id::EnvironmentId;
use crate::model::timestamp;

use super::findings::{Findings, Path, Quoted};
use super::tape::{Elements, Fields, Value};

/// A property as found: `None` if it is missing.
pub(super) type Property<'t, 'a> = Option<Value<'t, 'a>>;

/// `null` or missing: .NET leaves the default of the type in both cases.
fn absent(property: Property<'_, '_>) -> bool {
    property.is_none_or(|value| value.is_null())
}

/// The effect of a missing list on SDKs.
pub(super) fn absence_of_a_list(property: Property<'_, '_>) -> &'static str {
    match property {
        None => "is missing: the agent reads it as [], but the Node SDK throws in the application",
        Some(_) => {
            "is null: the agent reads it as [], but the Node SDK throws in the application, and the Rust SDK discards \
             the whole message that holds it"
        }
    }
}

/// A smaller number is taken for seconds: as seconds it is a date before the year 5138, as milliseconds one before 1974.
const SECONDS_MAX: f64 = 1e11;

/// The date that a number, or MongoDB's export of a date, means.
fn date_meant(value: Value<'_, '_>) -> Option<String> {
    let mut value = value;
    // `{"$date": "…"}`, `{"$date": 1}`, `{"$date": {"$numberLong": "1"}}`.
    for name in ["$date", "$numberLong"] {
        if let Some(mut fields) = value.fields() {
            value = fields.find(|(key, _)| *key == name)?.1;
        }
    }
    let ms = match (value.as_f64(), value.as_str()) {
        (Some(seconds), _) if seconds.abs() < SECONDS_MAX => Some(seconds * 1000.0),
        (Some(ms), _) => Some(ms),
        (None, Some(text)) => match timestamp::parse_iso8601_ms(text) {
            Some(ms) => return in_range(ms).then(|| timestamp::format_iso8601(ms)),
            None => text.parse().ok(),
        },
        (None, None) => None,
    }?;
    // A number beyond the range becomes the nearest end of it, which is out of range too.
    let ms = ms as i64;
    in_range(ms).then(|| timestamp::format_iso8601(ms))
}

/// Whether a date is accepted without a warning.
fn in_range(ms: i64) -> bool {
    (timestamp::FIRST_MS..=timestamp::LAST_MS).contains(&ms)
}

impl Findings {
    /// The properties of the object at `path`; `None` if it is none.
    pub fn required_object<'t, 'a>(
        &mut self,
        value: Value<'t, 'a>,
        path: &Path<'_>,
    ) -> Option<Fields<'t, 'a>> {
        let fields = value.fields();
        if fields.is_none() {
            self.wrong_type(value, path, "an object");
        }
        fields
    }

    /// The properties of the object at `path`, which has none that is required.
    pub fn object<'t, 'a>(&mut self, value: Value<'t, 'a>, path: &Path<'_>) -> Fields<'t, 'a> {
        self.required_object(value, path).unwrap_or_default()
    }

    /// A text that may be absent.
    pub fn text<'a>(
        &mut self,
        property: Property<'_, 'a>,
        path: &Path<'_>,
        name: &'static str,
    ) -> Option<&'a str> {
        let value = property.filter(|value| !value.is_null())?;
        let text = value.as_str();
        if text.is_none() {
            self.wrong_type(value, &path.key(name), "a string; put it in quotes");
        }
        text
    }

    /// A text that must be there.
    pub fn required_text<'a>(
        &mut self,
        property: Property<'_, 'a>,
        path: &Path<'_>,
        name: &'static str,
    ) -> &'a str {
        if absent(property) {
            self.absent(property, &path.key(name), "a string");
        }
        self.text(property, path, name).unwrap_or("")
    }

    /// A text that may be missing, but must not be null for the Rust SDK.
    pub fn plain_text<'a>(
        &mut self,
        property: Property<'_, 'a>,
        path: &Path<'_>,
        name: &'static str,
    ) -> Option<&'a str> {
        self.null_breaks_rust(property, path, name);
        self.text(property, path, name)
    }

    /// `true` or `false`; absent is `false`, as .NET's default.
    pub fn boolean(&mut self, property: Property<'_, '_>, path: &Path<'_>, name: &'static str) -> bool {
        let Some(value) = property.filter(|value| !value.is_null()) else {
            self.null_breaks_rust(property, path, name);
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            self.wrong_type(value, &path.key(name), "true or false without quotes");
            false
        })
    }

    /// A number; absent is 0, as .NET's default.
    pub fn number(&mut self, property: Property<'_, '_>, path: &Path<'_>) -> f64 {
        let Some(value) = property.filter(|value| !value.is_null()) else {
            return 0.0;
        };
        value.as_f64().unwrap_or_else(|| {
            self.wrong_type(value, path, "a number without quotes");
            0.0
        })
    }

    /// An array that may be absent: then it is empty.
    pub fn list<'t, 'a>(
        &mut self,
        property: Property<'t, 'a>,
        path: &Path<'_>,
        name: &'static str,
    ) -> Elements<'t, 'a> {
        let Some(value) = property.filter(|value| !value.is_null()) else {
            return Elements::default();
        };
        value.elements().unwrap_or_else(|| {
            self.wrong_type(value, &path.key(name), "an array");
            Elements::default()
        })
    }

    /// An array that may be absent for the agent, but not for all SDKs.
    pub fn needed_list<'t, 'a>(
        &mut self,
        property: Property<'t, 'a>,
        path: &Path<'_>,
        name: &'static str,
    ) -> Elements<'t, 'a> {
        if absent(property) {
            let harm = absence_of_a_list(property);
            self.harms(&path.key(name), format_args!("{harm}; write []"));
        }
        self.list(property, path, name)
    }

    /// An array that must be there.
    pub fn required_list<'t, 'a>(
        &mut self,
        property: Property<'t, 'a>,
        path: &Path<'_>,
        name: &'static str,
    ) -> Elements<'t, 'a> {
        if absent(property) {
            self.absent(property, &path.key(name), "an array");
        }
        self.list(property, path, name)
    }

    /// An array of texts that SDKs need. A null among them, which .NET reads as well, equals no user's key and is left
    /// out.
    pub fn texts<'a>(
        &mut self,
        property: Property<'_, 'a>,
        path: &Path<'_>,
        name: &'static str,
    ) -> Vec<&'a str> {
        let elements = self.needed_list(property, path, name);
        let mut texts = Vec::with_capacity(elements.len());
        for (index, element) in elements.enumerate() {
            match element.as_str() {
                Some(text) => texts.push(text),
                None if element.is_null() => {
                    self.harms(
                        &path.item(name, index),
                        "is null and never matches anybody: the Rust SDK discards the whole message that holds it, \
                         and among keyIds the Java SDK gives the application's default; remove it",
                    );
                }
                None => {
                    self.wrong_type(element, &path.item(name, index), "a string; put it in quotes");
                }
            }
        }
        texts
    }

    /// The id of an environment, which must be there.
    pub fn environment(
        &mut self,
        property: Property<'_, '_>,
        path: &Path<'_>,
        name: &'static str,
    ) -> EnvironmentId {
        let faults = self.faults();
        let text = self.required_text(property, path, name);
        EnvironmentId::parse(text).unwrap_or_else(|| {
            if self.faults() == faults {
                self.fault(
                    &path.key(name),
                    "must be a GUID with hyphens such as ad99d259-1f50-4ed9-a002-7c65e25487df",
                );
            }
            EnvironmentId::from_bytes([0; 16])
        })
    }

    /// `updatedAt`, which must be there.
    pub fn updated_at_ms(&mut self, property: Property<'_, '_>, path: &Path<'_>) -> i64 {
        if let Some(value) = property
            && value.as_str().is_none()
            && !value.is_null()
        {
            self.no_date(value, &path.key("updatedAt"));
            return 0;
        }
        let faults = self.faults();
        let text = self.required_text(property, path, "updatedAt");
        let path = path.key("updatedAt");
        let Some(ms) = timestamp::parse_iso8601_ms(text) else {
            if self.faults() == faults {
                self.fault(&path, "must be an ISO 8601 date and time such as 2025-01-31T08:00:00.000Z");
            }
            return 0;
        };
        if ms > timestamp::LAST_MS {
            self.fault(
                &path,
                "is after 2262-04-10: the Go SDK counts nanoseconds, and reconnects hundreds of times a second from \
                 there on; write when the item was last changed",
            );
        } else if ms < timestamp::FIRST_MS {
            self.harms(
                &path,
                "is before 1970: several SDKs take no version below 0, and the Go SDK reads one before 1678 as a date \
                 that can be far in the future; write when the item was last changed",
            );
        }
        if !timestamp::is_safe_for_all_sdks(text) {
            self.warn(
                &path,
                format_args!(
                    "{} is not of the form that all SDKs take (Go's and Java's stop for good, Rust's discards the \
                     whole message): the agent serves {}; write it so",
                    Quoted(text),
                    timestamp::format_iso8601(ms)
                ),
            );
        }
        ms
    }

    /// `isArchived`; absent is `false`, but one SDK needs it.
    pub fn is_archived(&mut self, property: Property<'_, '_>, path: &Path<'_>) -> bool {
        if property.is_none() {
            self.harms(
                &path.key("isArchived"),
                "is missing: the agent reads it as false, but the Python SDK 1.2.1 loses the whole message that \
                 holds the item; add \"isArchived\": false",
            );
        }
        self.boolean(property, path, "isArchived")
    }

    /// The id of a flag or segment, which must be there.
    pub fn item_id<'a>(&mut self, property: Property<'_, 'a>, path: &Path<'_>) -> &'a str {
        let faults = self.faults();
        let id = self.required_text(property, path, "id");
        if self.faults() == faults && EnvironmentId::parse(id).is_none() {
            self.harms(
                &path.key("id"),
                "is not a GUID: the agent accepts it, but the .NET SDK cannot read it; use a GUID",
            );
        }
        id
    }

    /// Reports an `updatedAt` that is not a text, with the date that it means if it is clear.
    #[cold]
    fn no_date(&mut self, value: Value<'_, '_>, path: &Path<'_>) {
        let kind = value.kind();
        match date_meant(value) {
            Some(date) => self.fault(path, format_args!("is {kind}, but must be a string; write \"{date}\"")),
            None => self.fault(
                path,
                format_args!(
                    "is {kind}, but must be a string with an ISO 8601 date and time such as \
                     \"2025-01-31T08:00:00.000Z\""
                ),
            ),
        }
    }

    fn null_breaks_rust(&mut self, property: Property<'_, '_>, path: &Path<'_>, name: &'static str) {
        if !self.quiet && property.is_some_and(|value| value.is_null()) {
            self.harms(
                &path.key(name),
                "is null: the Rust SDK discards the whole message that holds it; give it a value or leave it out",
            );
        }
    }

    #[cold]
    fn wrong_type(&mut self, value: Value<'_, '_>, path: &Path<'_>, wanted: &str) {
        self.fault(path, format_args!("is {}, but must be {wanted}", value.kind()));
    }

    #[cold]
    fn absent(&mut self, property: Property<'_, '_>, path: &Path<'_>, wanted: &str) {
        let is = if property.is_none() { "is missing" } else { "is null" };
        self.fault(path, format_args!("{is}; it must be {wanted}"));
    }
}
