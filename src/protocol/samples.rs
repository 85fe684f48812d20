//! Texts for property tests of this room.

use proptest::prelude::*;

/// JSON text, with white space and escapes of all kinds.
pub(super) fn some_json() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "[a-zé😀]{0,6}".prop_map(|text| format!("\"{text}\"")),
        prop::sample::select(vec![r#""\n\"""#, r#""\u00e9""#, r#""\ud83d\ude00""#, r#""\/\\""#])
            .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "-0",
            "1.50",
            "1e3",
            "-12",
            "99999999999999999999"
        ])
        .prop_map(str::to_owned),
        string.clone(),
    ];
    leaf.prop_recursive(4, 30, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|elements| format!("[{} ]", elements.join(" ,"))),
            prop::collection::vec((string.clone(), inner), 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("{name}:\t{value}")).collect();
                format!("{{\n{}}}", members.join(", "))
            }),
        ]
    })
}

/// `text` with some of its characters replaced, removed or doubled.
pub(super) fn damaged(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let damage = (any::<prop::sample::Index>(), "[{}\\[\\]:,\"\\\\ 0a\n]?", any::<bool>());
    (text, prop::collection::vec(damage, 0..3)).prop_map(|(mut text, damages)| {
        for (at, with, insert) in damages {
            let mut at = at.index(text.len().max(1)).min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
            text.replace_range(at..if insert { at } else { end }, &with);
        }
        text
    })
}

/// Users, and values that are nearly one. Each name occurs at most once, because the twin needs it.
pub(super) fn some_user() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "\"k\"",
        "\"é\\n\"",
        "\"\"",
        "\" \"",
        "null",
        "5",
        "{}",
        "\"user-1\"",
        "\"a b\"",
    ]);
    let text = prop_oneof![4 => Just("\"u1\""), 1 => value.clone()];
    let property = (prop::sample::select(vec!["name", "Name"]), text.clone(), text.clone())
        .prop_map(|(name, first, second)| format!("{{\"{name}\":{first},\"value\":{second}}}"));
    let properties = prop_oneof![
        6 => prop::collection::vec(property, 0..4).prop_map(|list| format!("[{}]", list.join(", "))),
        1 => value.prop_map(str::to_owned),
    ];
    (
        prop::sample::select(vec!["keyId", "KeyID"]),
        text.clone(),
        prop::option::of(text),
        prop::option::of(properties),
    )
        .prop_map(|(key, key_id, name, properties)| {
            let name = name.map_or(String::new(), |name| format!(",\"name\":{name}"));
            let properties =
                properties.map_or(String::new(), |list| format!(", \"customizedProperties\":{list}"));
            format!("{{\"{key}\":{key_id}{name}{properties},\"extra\":[1,{{}}]}}")
        })
}
