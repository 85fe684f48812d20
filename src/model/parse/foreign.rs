//! Recognizes JSON texts that are often taken for dumps: messages on the wire, and data for SDKs or for FeatBit's first agent.
//!
//! Must look at names only. The message says what the text is and what it is missing.

use super::tape::{Value, pick};

/// Describes `root`, and what to do, if it is recognized as something other than a dump.
pub(super) fn what_it_is(root: Value<'_, '_>) -> Option<String> {
    let (what, remedy) =
        if let Some(mut elements) = root.elements() { a_list(elements.next()?)? } else { an_object(root)? };
    Some(format!("this {what}. A dump is {{\"eventType\":\"rp_full\",\"items\":[…]}}. {remedy}"))
}

/// What the text is, and what to do.
type Description = (&'static str, &'static str);

/// How to get a dump.
const GET_ONE: &str =
    "Get a dump with `featbit-agent pull`, or from GET /api/public/proxy/backup of a running agent";

const OF_A_CLIENT: Description = (
    "is what a client SDK is sent or bootstrapped with: the variations of one user, without rules, segments \
     and secrets",
    GET_ONE,
);

const OF_A_SERVER_SDK: Description = (
    "is what a server SDK is sent: the flags and segments of one environment, without its envId and secrets, so that no \
     SDK could connect",
    GET_ONE,
);

fn an_object(root: Value<'_, '_>) -> Option<Description> {
    pick!(root.fields()? =>
        message_type: "messageType",
        data: "data",
        items: "items",
        env_id: "envId",
        flags: "featureFlags",
    );
    if items.is_some() {
        return None;
    }
    if message_type.is_some() && data.is_some() {
        return Some(a_message(data?));
    }
    match (flags, env_id) {
        (Some(_), Some(_)) => Some((
            "is one environment of a dump",
            "Put it between {\"eventType\":\"rp_full\",\"items\":[ and ]}; it needs \"secrets\" too",
        )),
        (Some(flags), None) => Some(of_an_sdk(flags)),
        (None, _) => None,
    }
}

/// Describes a message with this `data`.
fn a_message(data: Value<'_, '_>) -> Description {
    const UNKNOWN: Description = ("is a message between FeatBit and an SDK", GET_ONE);
    let Some(fields) = data.fields() else { return UNKNOWN };
    pick!(fields => event_type: "eventType", items: "items", flags: "featureFlags");
    match (event_type.and_then(|value| value.as_str()), items, flags) {
        (Some("rp_patch"), ..) => (
            "is a message of a FeatBit server with changes only, without secrets and unchanged items",
            GET_ONE,
        ),
        (_, Some(_), _) => {
            ("is a message of a FeatBit server around a dump", "Keep what is in \"data\", and nothing else")
        }
        (_, None, Some(flags)) => of_an_sdk(flags),
        (_, None, None) => UNKNOWN,
    }
}

/// Describes a list of flags: client SDKs get a flag's `variation`, server SDKs all its `variations`.
fn of_an_sdk(flags: Value<'_, '_>) -> Description {
    let first = flags.elements().and_then(|mut flags| flags.next());
    if first.is_some_and(is_result) { OF_A_CLIENT } else { OF_A_SERVER_SDK }
}

fn is_result(flag: Value<'_, '_>) -> bool {
    let Some(fields) = flag.fields() else { return false };
    pick!(fields => variation: "variation", variations: "variations");
    variation.is_some() && variations.is_none()
}

/// Describes a list whose first element is `first`.
fn a_list(first: Value<'_, '_>) -> Option<Description> {
    if is_result(first) {
        return Some(OF_A_CLIENT);
    }
    pick!(first.fields()? =>
        env_id: "envId",
        of_v1: "flags",
        flags: "featureFlags",
        variations: "variations",
    );
    match (env_id, of_v1, flags, variations) {
        (Some(_), Some(_), ..) => Some((
            "is a bootstrap or backup of FeatBit's agent v1: its lists are called \"flags\", and it has no secrets, so that \
             no SDK could connect",
            GET_ONE,
        )),
        (Some(_), None, Some(_), _) => Some((
            "is the list of a dump's environments alone",
            "Put it between {\"eventType\":\"rp_full\",\"items\": and }",
        )),
        (_, None, None, Some(_)) => {
            Some(("is a list of flags alone, without segments and the secrets of their environment", GET_ONE))
        }
        _ => None,
    }
}
