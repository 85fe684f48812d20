//! Events without what identifies a user.
//!
//! Must not copy an event: what goes out is written anew, from members that are known. Must not invent a member.
//!
//! | Where | What |
//! |---|---|
//! | `key`, `key_file` | the secret of the pseudonyms, and its file |
//! | `read` | what is known of an event |
//! | `generalize` | coarser forms of properties |
//! | `occurrences`, `levels` | finds what identifies the user in free text, also escaped |

mod generalize;
mod key;
mod key_file;
mod levels;
mod occurrences;
mod read;

use std::borrow::Cow;
use std::collections::HashMap;

use super::events::Events;
use super::known_flags::KnownFlags;
use crate::config::{PropertyAction, PropertyRule};
use crate::model::environment_id::EnvironmentId;
use crate::wire::json::append_string;

pub use key::{PseudonymKey, Weak};
pub use key_file::{LoadedKey, load_existing, load_or_create, random_key};
pub use occurrences::REDACTED;

use occurrences::Occurrences;
use read::{Evaluation, Event, Metric, User, Variation};

/// What every SDK sends as the route of a metric.
const ROUTE: &str = "index/metric";

/// The kinds of metrics of the SDKs.
const KINDS: [&str; 3] = ["CustomEvent", "PageView", "Click"];

/// Of how many users of a batch it is remembered how to change their events, in bytes of their texts. It takes some fifty
/// times as much memory.
const USERS_BYTES_MAX: usize = 64 << 10;

/// Makes events without what identifies a user.
#[derive(Clone, Debug)]
pub struct Pseudonymizer {
    key: PseudonymKey,
    /// By the name in lower case.
    rules: HashMap<String, PropertyAction, foldhash::fast::RandomState>,
}

impl Pseudonymizer {
    /// Uses this secret, and passes these properties.
    pub fn new(key: PseudonymKey, rules: Vec<PropertyRule>) -> Self {
        let rules = rules.into_iter().map(|rule| (rule.name.to_lowercase(), rule.action)).collect();
        Self { key, rules }
    }

    /// The secret, for its id.
    pub fn key(&self) -> &PseudonymKey {
        &self.key
    }

    /// The event of `environment` as it may leave the machine; `None` if it is no event with a user key.
    pub fn transform(
        &self,
        environment: EnvironmentId,
        flags: &dyn KnownFlags,
        event: &[u8],
    ) -> Option<Vec<u8>> {
        let event = parsed(event)?;
        let known = self.known(environment, &event.user)?;
        let mut out = Vec::new();
        known.append(&event, flags, &mut out);
        Some(out)
    }

    /// The events of a batch, each as [`Pseudonymizer::transform`] makes it; without those of which nothing may leave.
    pub fn transform_all(
        &self,
        environment: EnvironmentId,
        flags: &dyn KnownFlags,
        events: &Events,
    ) -> Events {
        let mut changed = Events::builder(events.text().len());
        let mut out = Vec::new();
        // SDKs send many events of few users, and to get ready for a user costs more than an event.
        let mut users: HashMap<&str, Option<Known>, foldhash::fast::RandomState> = HashMap::default();
        let mut bytes = 0;
        for event in events.iter().filter_map(parsed) {
            let make = || self.known(environment, &event.user);
            let made;
            let known = match event.user_text.filter(|text| text.len() <= USERS_BYTES_MAX) {
                Some(text) => {
                    if bytes + text.len() > USERS_BYTES_MAX {
                        users.clear();
                        bytes = 0;
                    }
                    users.entry(text).or_insert_with(|| {
                        bytes += text.len();
                        make()
                    })
                }
                None => {
                    made = make();
                    &made
                }
            };
            if let Some(known) = known {
                out.clear();
                known.append(&event, flags, &mut out);
                changed.add(&out);
            }
        }
        changed.build()
    }

    /// What is to be known of a user; `None` without a key.
    fn known(&self, environment: EnvironmentId, user: &User<'_>) -> Option<Known> {
        let key = user.key.as_deref().filter(|key| !key.trim().is_empty())?;
        let pseudonym = self.key.user(environment, key);
        let hidden = user.properties.iter().filter(|property| {
            let action = property.name.as_deref().and_then(|name| self.action(name));
            action != Some(PropertyAction::Keep)
        });
        let hidden = hidden.filter_map(|property| property.value.as_deref());
        let others = user.others.iter().map(|other| &**other);
        let occurrences = Occurrences::new(key, pseudonym.clone(), others.chain(hidden));
        let mut beginning = Vec::new();
        beginning.extend_from_slice(br#"{"user":{"keyId":"#);
        append_string(&pseudonym, &mut beginning);
        self.append_properties(environment, user, &occurrences, &mut beginning);
        beginning.push(b'}');
        Some(Known { occurrences, beginning })
    }

    fn action(&self, name: &str) -> Option<PropertyAction> {
        self.rules.get(&name.to_lowercase()).copied()
    }

    fn append_properties(
        &self,
        environment: EnvironmentId,
        user: &User<'_>,
        occurrences: &Occurrences,
        out: &mut Vec<u8>,
    ) {
        append_list(out, "customizedProperties", &user.properties, |property, out| {
            let (Some(name), Some(value)) = (&property.name, &property.value) else { return false };
            let Some(action) = self.action(name) else { return false };
            let Some(value) = self.generalized(environment, name, value, action, occurrences) else {
                return false;
            };
            let mut members = Members::new(out);
            members.text("name", Some(name));
            members.text("value", Some(&value));
            members.end()
        });
    }

    /// The value of a property as it may leave; `None` if it does not have the form that the action expects.
    fn generalized<'v>(
        &self,
        environment: EnvironmentId,
        name: &str,
        value: &'v str,
        action: PropertyAction,
        occurrences: &Occurrences,
    ) -> Option<Cow<'v, str>> {
        let free = match action {
            // Such a value says no more of the user than the operator allows.
            PropertyAction::Keep if occurrences.is_short_value(value) => return Some(Cow::Borrowed(value)),
            PropertyAction::Keep => return Some(occurrences.replace(value)),
            PropertyAction::Hash => return Some(Cow::Owned(self.key.property(environment, name, value))),
            PropertyAction::Range(step) => return generalize::range(value, step).map(Cow::Owned),
            PropertyAction::Country => return generalize::country(value).map(Cow::Owned),
            PropertyAction::Domain => generalize::domain(value)?,
            PropertyAction::Network => generalize::network(value)?,
        };
        Some(Cow::Owned(occurrences.replace(&free).into_owned()))
    }
}

/// What follows from the texts about a user, whatever the event.
struct Known {
    occurrences: Occurrences,
    /// What its events begin with.
    beginning: Vec<u8>,
}

impl Known {
    /// Appends an event of this user.
    fn append(&self, event: &Event<'_>, flags: &dyn KnownFlags, out: &mut Vec<u8>) {
        let Self { occurrences, beginning } = self;
        out.extend_from_slice(beginning);
        append_list(out, "variations", &event.evaluations, |evaluation, out| {
            append_evaluation(evaluation, flags, occurrences, out)
        });
        append_list(out, "metrics", &event.metrics, |metric, out| append_metric(metric, occurrences, out));
        out.push(b'}');
    }
}

fn parsed(event: &[u8]) -> Option<Event<'_>> {
    read::event(simdutf8::basic::from_utf8(event).ok()?).ok()
}

fn append_evaluation(
    evaluation: &Evaluation<'_>,
    flags: &dyn KnownFlags,
    occurrences: &Occurrences,
    out: &mut Vec<u8>,
) -> bool {
    let Some(flag_key) = evaluation.flag_key.as_deref() else { return false };
    let Some(timestamp) = whole(evaluation.timestamp, occurrences) else { return false };
    let mut members = Members::new(out);
    let is_flag = flags.has_flag(flag_key);
    members.free_unless(is_flag, "featureFlagKey", Some(flag_key), occurrences);
    if let Some(send) = evaluation.send_to_experiment {
        members.plain("sendToExperiment", if send { "true" } else { "false" });
    }
    members.number("timestamp", timestamp);
    if let Some(Variation { id, value }) = &evaluation.variation {
        let (id, value) = (id.as_deref(), value.as_deref());
        let is_known =
            matches!((id, value), (Some(id), Some(value)) if flags.has_variation(flag_key, id, value));
        let mut inner = members.object("variation");
        inner.free_unless(is_known, "id", id, occurrences);
        inner.free_unless(is_known, "value", value, occurrences);
        inner.end();
    }
    members.end()
}

fn append_metric(metric: &Metric<'_>, occurrences: &Occurrences, out: &mut Vec<u8>) -> bool {
    let Some(timestamp) = whole(metric.timestamp, occurrences) else { return false };
    let value = metric.numeric_value.filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
    if metric.event_name.is_none() || value.is_some_and(|value| occurrences.is_number(value)) {
        return false;
    }
    let is_route = metric.route.as_deref() == Some(ROUTE);
    let is_kind = metric.kind.as_deref().is_some_and(|kind| KINDS.contains(&kind));
    let mut members = Members::new(out);
    members.free_unless(is_route, "route", metric.route.as_deref(), occurrences);
    members.free_unless(is_kind, "type", metric.kind.as_deref(), occurrences);
    members.free_unless(false, "eventName", metric.event_name.as_deref(), occurrences);
    members.number("numericValue", value);
    members.free_unless(false, "appType", metric.app_type.as_deref(), occurrences);
    members.number("timestamp", timestamp);
    members.end()
}

/// A timestamp, if it is a whole number as FeatBit's server wants it; `None` if it is a value of the user.
#[expect(clippy::option_option, reason = "no timestamp is not the same as one that must not leave")]
fn whole<'t>(timestamp: Option<&'t str>, occurrences: &Occurrences) -> Option<Option<&'t str>> {
    let timestamp = timestamp.filter(|text| text.parse::<i64>().is_ok());
    (!timestamp.is_some_and(|text| occurrences.is_number(text))).then_some(timestamp)
}

/// Appends a member with those of `list` that `each` writes; nothing if there are none.
fn append_list<T>(out: &mut Vec<u8>, name: &str, list: &[T], mut each: impl FnMut(&T, &mut Vec<u8>) -> bool) {
    let before = out.len();
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":[");
    let first = out.len();
    for one in list {
        let start = out.len();
        if start > first {
            out.push(b',');
        }
        if !each(one, out) {
            out.truncate(start);
        }
    }
    if out.len() == first {
        return out.truncate(before);
    }
    out.push(b']');
}

/// Writes the members of an object.
struct Members<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
}

impl<'o> Members<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_first: true }
    }

    /// Ends the object. Returns true.
    fn end(self) -> bool {
        self.out.push(b'}');
        true
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        append_string(name, self.out);
        self.out.push(b':');
    }

    fn object(&mut self, name: &str) -> Members<'_> {
        self.name(name);
        Members::new(self.out)
    }

    fn plain(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.extend_from_slice(json.as_bytes());
    }

    fn number(&mut self, name: &str, number: Option<&str>) {
        if let Some(number) = number {
            self.plain(name, number);
        }
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.name(name);
            append_string(text, self.out);
        }
    }

    /// A text that anything may be in, unless it is known to be none of the user's.
    fn free_unless(&mut self, is_known: bool, name: &str, text: Option<&str>, occurrences: &Occurrences) {
        match text {
            Some(text) if !is_known => self.text(name, Some(&occurrences.replace(text))),
            text => self.text(name, text),
        }
    }
}

#[cfg(test)]
mod tests;
