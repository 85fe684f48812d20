//! The settings of usage events.

use super::super::*;
use super::{Given, error, offline, settings, warnings};

const URI: (&str, &str) = ("EventUri", "http://els:5100");
const KEY: (&str, &str) = ("Events__PseudonymKey", "0123456789abcdef0123456789abcdef");

fn overrides(environment: &[(&str, &str)]) -> Vec<(String, EventsMode)> {
    let overrides = settings(environment).events.overrides;
    overrides.into_iter().map(|one| (one.environment, one.mode)).collect()
}

#[test]
fn each_mode_is_taken_with_what_it_needs() {
    let directory = ("Events__Directory", "/var/lib/events");
    for (given, mode, sends) in [
        (&[("Events__Mode", "forward"), URI][..], EventsMode::Forward, true),
        (&[("EVENTS:MODE", "Pseudonymise"), URI, KEY], EventsMode::Pseudonymize, true),
        (&[("Events__Mode", "local"), directory], EventsMode::Local, false),
        (&[("Events__Mode", "drop"), URI], EventsMode::Drop, false),
        (&[URI], EventsMode::Forward, true),
        (&[URI, ("ForwardEvents", "true")], EventsMode::Forward, true),
        (&[URI, ("ForwardEvents", "false")], EventsMode::Drop, false),
        (
            &[URI, KEY, ("ForwardEvents", "true"), ("Events__Mode", "pseudonymize")],
            EventsMode::Pseudonymize,
            true,
        ),
    ] {
        let events = settings(given).events;
        assert_eq!((events.mode, events.sends()), (mode, sends), "{given:?}");
    }
}

#[test]
fn what_a_mode_lacks_is_said() {
    let needs_uri = "EventUri: is needed by the modes forward and pseudonymize of usage events. Set it to the server that \
                     gets the events, such as http://evaluation-server:5100.";
    assert_eq!(error("Events__Mode", "forward"), needs_uri);
    assert_eq!(error("Events__Overrides", "a:b=forward"), needs_uri);
    assert_eq!(
        error("Events__Mode", "local"),
        "Events__Directory: is needed by the mode local of usage events. Set it to a folder for their files."
    );
    let environment = offline(&[("Events__Mode", "pseudonymize"), URI]);
    let errors = Given { environment: &environment, ..Given::default() }.errors();
    assert_eq!(
        errors,
        [
            "Events__PseudonymKey: is needed by the mode pseudonymize of usage events. Set it, or Events__PseudonymKey__File \
          or Events__Directory, where the agent makes one."
        ]
    );
    assert!(
        error("Events__Mode", "on").contains("is not a mode of usage events. Write forward, pseudonymize")
    );
    let both = offline(&[("Events__Mode", "forward"), URI, ("ForwardEvents", "false")]);
    let errors = Given { environment: &both, ..Given::default() }.errors();
    assert_eq!(
        errors,
        [
            "Events__Mode (environment variable Events__Mode): \"forward\" contradicts ForwardEvents=false. Remove \
          ForwardEvents."
        ]
    );
}

#[test]
fn overrides_are_given_as_a_text_or_as_pairs() {
    let expected =
        [("shop:prod".to_owned(), EventsMode::Pseudonymize), ("shop:dev".to_owned(), EventsMode::Drop)];
    let text = [URI, KEY, ("Events__Overrides", " shop:prod=pseudonymize; shop:dev = DROP;")];
    assert_eq!(overrides(&text), expected);
    let elements = [
        URI,
        KEY,
        ("Events__Overrides__1", "shop:dev=drop"),
        ("Events__Overrides__0", "shop:prod=pseudonymize"),
    ];
    assert_eq!(overrides(&elements), expected);
    let pairs = [
        URI,
        KEY,
        ("Events__Overrides__0__Environment", "shop:prod"),
        ("EVENTS__OVERRIDES__0__MODE", "pseudonymize"),
        ("Events__Overrides__7__Mode", "drop"),
        ("Events__Overrides__7__Environment", "shop:dev"),
    ];
    assert_eq!(overrides(&pairs), expected);
    assert!(
        settings(&pairs).describe().iter().any(|line| line.contains("shop:prod=pseudonymize;shop:dev=drop")),
        "all are shown"
    );
}

#[test]
fn overrides_of_a_file_are_read_and_single_parts_are_replaced_by_the_environment() {
    let files = [(
        "a.json",
        r#"{"Events": {"Overrides": [{"Environment": "a:b", "Mode": "forward"}, {"Environment": "c:d", "Mode": "drop"}]}}"#,
    )];
    let environment = offline(&[URI, ("Events__Overrides__0__Mode", "drop")]);
    let given =
        Given { environment: &environment, config: Some("a.json"), files: &files, ..Given::default() };
    let overrides = given.load().unwrap().settings.events.overrides;
    let all: Vec<_> = overrides.iter().map(|one| (one.environment.as_str(), one.mode)).collect();
    assert_eq!(all, [("a:b", EventsMode::Drop), ("c:d", EventsMode::Drop)]);
}

#[test]
fn wrong_overrides_are_told_with_their_entry() {
    for (text, problem) in [
        ("shop:prod", "has the entry \"shop:prod\" without a mode"),
        ("=drop", "has an entry without an environment"),
        ("a:b=drop;A:B=local", "names A:B twice"),
        ("a:b=dorp", "has the mode \"dorp\" for a:b, which is not a mode of usage events"),
    ] {
        assert!(
            error("Events__Overrides", text).contains(problem),
            "{text}: {}",
            error("Events__Overrides", text)
        );
    }
    assert_eq!(
        error("Events__Overrides__3__Mode", "drop"),
        "Events__Overrides__3__Environment: is not set, although the other half of its pair is. Set both."
    );
}

#[test]
fn properties_that_may_leave_are_read_and_each_wrong_one_is_told() {
    let properties = settings(&[("Events__Properties", "plan;email=domain;age=range:10")]).events.properties;
    assert_eq!(properties.len(), 3);
    let environment = offline(&[("Events__Properties", "a=x;b=range:0;c")]);
    let errors = Given { environment: &environment, ..Given::default() }.errors();
    assert_eq!(errors.len(), 2, "{errors:#?}");
}

#[test]
fn the_key_of_pseudonyms_is_never_shown_and_never_short() {
    let mode = ("Events__Mode", "pseudonymize");
    let loaded = Given { environment: &offline(&[mode, URI, KEY]), ..Given::default() }.load().unwrap();
    let shown = format!("{loaded:#?}\n{}", loaded.settings.describe().join("\n"));
    assert!(!shown.contains("0123456789"), "{shown}");
    let short = error("Events__PseudonymKey", "0123456789");
    assert!(short.contains("is shorter than 32 characters") && !short.contains("0123456789"), "{short}");
    let directory = ("Events__Directory", "/var/lib/events");
    let made = settings(&[mode, URI, directory]).events.pseudonym_key;
    assert_eq!(made, Some(PseudonymKeySource::File("/var/lib/events/pseudonym.key".into())));
    let named =
        settings(&[mode, URI, directory, ("Events__PseudonymKey__File", "/run/key")]).events.pseudonym_key;
    assert_eq!(named, Some(PseudonymKeySource::File("/run/key".into())));
}

#[test]
fn agents_that_share_a_redis_are_warned_of_a_key_of_their_own() {
    let cluster = [
        ("ApiKey", "k"),
        ("Events__Mode", "pseudonymize"),
        URI,
        ("Events__Directory", "/var/lib/events"),
        ("Redis__ConnectionString", "redis:6379"),
    ];
    let all = warnings(&offline(&cluster));
    assert!(all.iter().any(|text| text.contains("a user counts once for each agent")), "{all:?}");
    let with_key = warnings(&offline(&[&cluster[..], &[KEY]].concat()));
    assert!(!with_key.iter().any(|text| text.contains("a user counts once")), "{with_key:?}");
}

#[test]
fn a_key_that_can_be_guessed_is_refused_with_all_other_errors_and_not_shown() {
    for (key, problem) in [("ab".repeat(16), "repeats a few characters"), ("0123456789".into(), "is shorter")]
    {
        let given = [URI, ("Events__Mode", "pseudonymize"), ("Events__Properties", "a=mask")];
        let environment = offline(&[&given[..], &[("Events__PseudonymKey", key.as_str())]].concat());
        let errors = Given { environment: &environment, ..Given::default() }.errors();
        assert_eq!(errors.len(), 2, "{errors:?}");
        let error = errors.iter().find(|error| error.starts_with("Events__PseudonymKey (")).unwrap();
        assert!(
            error.contains(problem) && error.contains("could be guessed") && !error.contains(&key),
            "{error}"
        );
    }
}
