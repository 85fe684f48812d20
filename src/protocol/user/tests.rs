use super::*;
use crate::protocol::samples::{damaged, some_user};
use proptest::prelude::*;
use serde_json::Value;

fn parse_text(text: &str) -> Result<User, UserFault> {
    parse_http(text.as_bytes(), 1000)
}

/// The plain twin, over a tree. Sees only the last of several members of one name, in one spelling.
fn parse_plainly(text: &str) -> Result<User, UserFault> {
    let tree: Value = serde_json::from_str(text).map_err(|_| UserFault::Malformed)?;
    let object = tree.as_object().ok_or(UserFault::Malformed)?;
    let text_of = |object: &serde_json::Map<String, Value>, name: &str| match find(object, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(UserFault::Malformed),
    };
    let key_id = text_of(object, "keyId")?;
    let name = text_of(object, "name")?;
    let mut properties = Vec::new();
    match find(object, "customizedProperties") {
        None | Some(Value::Null) => {}
        Some(Value::Array(elements)) => {
            for element in elements.iter().filter(|element| !element.is_null()) {
                let property = element.as_object().ok_or(UserFault::Malformed)?;
                properties
                    .push((text_of(property, "name")?.unwrap_or_default(), text_of(property, "value")?));
            }
        }
        Some(_) => return Err(UserFault::Malformed),
    }
    let key_id =
        key_id.filter(|key_id| key_id.chars().any(|c| !c.is_whitespace())).ok_or(UserFault::Blank)?;
    let properties: Vec<_> =
        properties.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    User::new(&key_id, name.as_deref(), &properties).ok_or(UserFault::Malformed)
}

fn find<'v>(object: &'v serde_json::Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[test]
fn reads_a_user_with_everything() {
    let user = parse_text(
        r#"{"keyId":"客户1","name":"Zo\u00eb","customizedProperties":[{"name":"age","value":"18"},{"name":"city","value":null},{"value":"x"}]}"#,
    )
    .unwrap();
    assert_eq!((user.key_id(), user.name()), ("客户1", Some("Zoë")));
    assert_eq!(user.properties().collect::<Vec<_>>(), [("age", Some("18")), ("city", None), ("", Some("x"))]);
}

#[test]
fn takes_what_dotnet_takes() {
    for text in [
        r#"{"keyId":"k"}"#,
        r#"{"KEYID":"k","Name":null,"CUSTOMIZEDPROPERTIES":null}"#,
        r#"{"keyId":"k","country":5,"nested":{"keyId":[]}}"#,
        r#"{"keyId":"first","keyid":"k"}"#,
        r#"{"keyId":"k","customizedProperties":[null]}"#,
        r#"{"key\u0049d":"k"}"#,
    ] {
        let user = parse_text(text).unwrap();
        assert_eq!((user.key_id(), user.properties().count()), ("k", 0), "{text}");
    }
}

#[test]
fn refuses_what_is_no_user() {
    for text in [
        "",
        "null",
        "[]",
        "\"k\"",
        "{",
        r#"{"keyId":"k"} x"#,
        r#"{"keyId":5}"#,
        r#"{"keyId":true}"#,
        r#"{"keyId":"k","name":5}"#,
        r#"{"keyId":5,"keyId":"k"}"#,
        r#"{"keyId":"k","customizedProperties":{}}"#,
        r#"{"keyId":"k","customizedProperties":[1]}"#,
        r#"{"keyId":"k","customizedProperties":[{"name":"a","value":18}]}"#,
        r#"{"keyId":"\ud800"}"#,
        r#"{"keyId":"k",}"#,
        r#"{"keyId":" ","name":5}"#,
    ] {
        assert_eq!(parse_text(text), Err(UserFault::Malformed), "{text}");
    }
    assert_eq!(parse_http(b"{\"keyId\":\"\xFF\"}", 1000), Err(UserFault::Malformed));
}

#[test]
fn a_blank_key_is_no_valid_user() {
    for text in
        ["{}", r#"{"keyId":null}"#, r#"{"keyId":""}"#, r#"{"keyId":" \t\u00a0\u3000"}"#, r#"{"name":"n"}"#]
    {
        assert_eq!(parse_text(text), Err(UserFault::Blank), "{text}");
    }
    assert_eq!(UserFault::Blank.reason(), "invalid end user");
}

#[test]
fn no_more_properties_than_allowed_are_taken() {
    let with = |count: usize| {
        let list = vec![r#"{"name":"n","value":"v"}"#; count].join(",null,");
        format!(r#"{{"keyId":"k","customizedProperties":[{list}]}}"#)
    };
    let parse = |text: &str| parse_http(text.as_bytes(), 3);
    assert_eq!(parse(&with(3)).unwrap().properties().count(), 3);
    assert_eq!(parse(&with(4)), Err(UserFault::TooManyProperties));
    // What comes after them is not looked at any more.
    assert_eq!(parse(&format!("{}x", &with(4)[..with(4).len() - 2])), Err(UserFault::TooManyProperties));
    // Of several lists the last is used, and each is bounded.
    let twice = with(3).replace("}]}", r#"}],"customizedProperties":[{"name":"last"}]}"#);
    assert_eq!(parse(&twice).unwrap().properties().count(), 1);
}

proptest! {
    #[test]
    fn equals_the_plain_twin(text in some_user()) {
        prop_assert_eq!(parse_text(&text), parse_plainly(&text));
    }

    #[test]
    fn equals_the_plain_twin_on_damaged_users(text in damaged(some_user())) {
        prop_assert_eq!(parse_text(&text), parse_plainly(&text));
    }
}
