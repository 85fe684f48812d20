//! What is done with the body of a call with usage events.

use std::hint::black_box;
use std::sync::Arc;

use featbit_agent::config::{PropertyAction, PropertyRule};
use featbit_agent::insights::items;
use featbit_agent::insights::pseudonym::{PseudonymKey, Pseudonymizer};
use featbit_agent::protocol::insight;
use featbit_agent::store::{Environment, Writer};

use super::{Work, repeated};
use crate::fixtures::dump;

pub const CHECK: &str = "syntax check of 50 events";
pub const SPLIT: &str = "50 events taken apart";
pub const PSEUDONYMIZE: &str = "50 events pseudonymized";

const EVENTS: usize = 50;
/// A user evaluates so many flags at a time.
const OF_A_USER: usize = 5;

/// A body as the Node SDK sends it: 50 evaluations by ten users.
fn body() -> Vec<u8> {
    let event = |number: usize| {
        let (user, flag) = (number / OF_A_USER, number % 20);
        format!(
            r#"{{"user":{{"keyId":"3eacb184-2d79-49df-9ea7-{user:012x}","name":"User {user}","customizedProperties":[{{"name":"plan","value":"enterprise"}},{{"name":"email","value":"user.{user}@example.com"}}]}},"variations":[{{"featureFlagKey":"flag-{flag}","sendToExperiment":false,"timestamp":1780000000{number:03},"variation":{{"id":"{flag:08x}-0000-4000-8000-000000000001","value":"true"}}}}]}}"#
        )
    };
    format!("[{}]", (0..EVENTS).map(event).collect::<Vec<_>>().join(",")).into_bytes()
}

fn environment(writer: &Writer) -> Arc<Environment> {
    let snapshot = writer.current();
    snapshot.environments().next().map(Arc::clone).unwrap_or_else(|| panic!("the dump has an environment"))
}

pub fn check() -> Box<dyn Work> {
    let body = body();
    repeated(100, move || assert!(black_box(insight::check(black_box(&body))).is_ok()))
}

pub fn split() -> Box<dyn Work> {
    let (body, writer) = (body(), dump::load(dump::dump().into_bytes()).1);
    let environment = environment(&writer);
    repeated(100, move || {
        let split = black_box(items::split(black_box(&body), &*environment));
        assert_eq!(split.map_or(0, |split| split.events.len()), EVENTS);
    })
}

pub fn pseudonymize() -> Box<dyn Work> {
    let (body, writer) = (body(), dump::load(dump::dump().into_bytes()).1);
    let environment = environment(&writer);
    let Ok(items::Split { events, .. }) = items::split(&body, &*environment) else {
        panic!("the body has events")
    };
    let Ok(key) = PseudonymKey::from_text("0123456789abcdef0123456789ABCDEF") else {
        panic!("the key is long enough")
    };
    let plan = PropertyRule { name: "plan".into(), action: PropertyAction::Keep };
    let pseudonymizer = Pseudonymizer::new(key, vec![plan]);
    repeated(20, move || {
        let changed = pseudonymizer.transform_all(environment.id(), &*environment, black_box(&events));
        assert_eq!(black_box(changed).len(), EVENTS);
    })
}
