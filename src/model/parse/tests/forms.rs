//! Different texts of the same dump (escapes, duplicates, white space, byte order mark), and the `raw` of each.

use super::{ENV, ID, OTHER_ENV, SECRET, SEGMENT_ID, dump, error_of};
use crate::model::parse::{DatasetText, with_flag, with_segment};

const FLAG_TAIL: &str = r#""key":"k","updatedAt":"2025-01-01T00:00:00Z","variations":[],"isArchived":false"#;

fn flag_text(id: &str, extra: &str) -> String {
    format!(r#"{{"id":"{id}","envId":"{ENV}",{FLAG_TAIL}{extra}}}"#)
}

/// A dump with these texts as flags and segments, and white space wherever JSON allows it.
fn around(flags: &[&str], segments: &[&str], blank: &str) -> String {
    let join = |texts: &[&str]| texts.join(&format!("{blank},{blank}"));
    format!(
        "{blank}{{\"eventType\":\"rp-full\",{blank}\"items\":[{blank}{{\"envId\":\"{ENV}\",\"segments\":[{blank}{}\
         {blank}]{blank},\"featureFlags\":{blank}[{blank}{}{blank}]{blank}}}{blank}]{blank}}}{blank}",
        join(segments),
        join(flags)
    )
}

#[test]
fn raw_is_the_unmodified_text() {
    let ids = [ID, OTHER_ENV, SEGMENT_ID];
    let first = flag_text(ids[0], r#" , "tags" : [ "}" , "]{", "\"}", "\\" ] "#);
    let second = flag_text(ids[1], ",\n\t\"x\":{\"a\":[{},[],{\"b\":null}],\"e\":1.0e+2},\r\n\"y\":{}");
    let third = flag_text(ids[2], r#","u":"\u0041\uD83D\uDE00 \/ 😀","z":[[[{}]]]"#).replace('{', "{ ");
    let segment =
        format!(r#"{{"name":"}}\\\"","id":"{ID}","envId":"{ENV}","updatedAt":"2025-01-01","last":"\\"}}"#);
    for blank in ["", " ", "\n\r\t "] {
        for flags in [&[first.as_str(), &second, &third][..], &[&third, &first], &[&second]] {
            let mut text = DatasetText::new(around(flags, &[&segment], blank).into_bytes());
            let dataset = text.parse().unwrap();
            let environment = &dataset.environments[0];
            assert_eq!(environment.flags.iter().map(|flag| flag.raw).collect::<Vec<_>>(), flags);
            assert_eq!(
                environment.segments.iter().map(|segment| segment.raw).collect::<Vec<_>>(),
                [&segment]
            );
        }
    }
}

#[test]
fn raw_of_a_single_item_is_its_text_without_blanks_around() {
    let flag = flag_text(ID, r#", "u" : "\u0041" "#);
    let read = with_flag(&format!("\r\n {flag}\t"), |flag| (flag.raw.to_string(), flag.key.to_string()));
    assert_eq!(read, Ok((flag, String::from("k"))));
    let segment = format!(r#"{{"id":"{ID}","envId":"{ENV}","updatedAt":"2025-01-01","included":["a"]}}"#);
    let read = with_segment(&segment, |segment| (segment.raw.to_string(), segment.included.len()));
    assert_eq!(read, Ok((segment, 1)));
}

#[test]
fn escapes_are_decoded_in_names_and_values() {
    let flag = flag_text(ID, "").replace("\"key\":\"k\"", r#""\u006bey":"\u0041\n\uD83D\uDE00\\\"é""#);
    let text = around(&[&flag], &[], "").replace(ENV, &ENV.replace('a', "\\u0061"));
    let mut text = DatasetText::new(text.into_bytes());
    let dataset = text.parse().unwrap();
    assert_eq!(dataset.environments[0].id.to_string(), ENV);
    assert_eq!(dataset.environments[0].flags[0].key, "A\n😀\\\"é");
    assert!(dataset.environments[0].flags[0].raw.contains(r#""\u006bey":"\u0041\n"#));
}

#[test]
fn of_duplicate_properties_the_last_wins_as_in_dotnet() {
    let flag = flag_text(ID, r#","key":"last","isEnabled":5,"isEnabled":true,"rules":"no","rules":[]"#);
    let text = around(&[&flag], &[], "");
    let (head, tail) = text.split_once("\"items\"").unwrap();
    let text = format!("{head}\"items\":5,\"items\"{tail}");
    let (head, tail) = text.split_once("\"featureFlags\"").unwrap();
    let text = format!("{head}\"featureFlags\":[{{\"id\":1}},{{}}],\"featureFlags\"{tail}");
    let mut text = DatasetText::new(text.into_bytes());
    let dataset = text.parse().unwrap();
    let flags = &dataset.environments[0].flags;
    assert_eq!(flags.len(), 1);
    assert_eq!((flags[0].key, flags[0].is_enabled, flags[0].raw), ("last", true, flag.as_str()));
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let plain = dump().to_string();
    let mut text = DatasetText::new(format!("\u{feff}{plain}").into_bytes());
    assert_eq!(text.len(), plain.len());
    assert_eq!(text.parse().unwrap().warnings, []);
    // The dataset does not borrow the mark, and a text can be parsed again.
    assert!(text.parse().unwrap().environments[0].flags[0].raw.starts_with('{'));
    assert_eq!(error_of(format!("\u{feff}\u{feff}{plain}")).faults[0].path, "line 1, column 1 (byte 3)");
}

#[test]
fn numbers_and_escapes_that_only_simd_json_refuses_are_accepted_in_unread_values() {
    for odd in [
        "123456789012345678901234567890",
        "1e999",
        "-1e999",
        "1e-999",
        r#""\ud800 \udc00""#,
        "0.10000000000000000000001",
    ] {
        let flag = flag_text(ID, &format!(r#","extra":{odd},"tags":["\ud83d\ude00"]"#));
        let mut text = DatasetText::new(around(&[&flag], &[], " ").into_bytes());
        let dataset = text.parse().unwrap();
        assert_eq!(dataset.environments[0].flags[0].raw, flag);
        assert_eq!(dataset.environments[0].flags[0].key, "k");
    }
}

#[test]
fn environments_come_in_the_order_in_which_items_name_them() {
    let third = "00000000-0000-0000-0000-000000000003";
    let flag = |id: &str, env_id: &str| flag_text(id, "").replace(ENV, env_id);
    let item = |env_id: &str, flags: &[String]| {
        format!(r#"{{"envId":"{env_id}","featureFlags":[{}],"segments":[]}}"#, flags.join(","))
    };
    let [a, b, c] = [ID, SEGMENT_ID, "00000000-0000-0000-0000-00000000000c"];
    let items = [
        item(ENV, &[flag(a, third), flag(b, OTHER_ENV)]),
        item(OTHER_ENV, &[flag(c, OTHER_ENV), flag(c, ENV)]),
        item(ENV, &[flag(a, ENV)]),
    ];
    let text = format!(r#"{{"eventType":"","items":[{}]}}"#, items.join(","));
    let mut text = DatasetText::new(text.into_bytes());
    let dataset = text.parse().unwrap();
    let found = dataset
        .environments
        .iter()
        .map(|environment| {
            (environment.id.to_string(), environment.flags.iter().map(|flag| flag.id).collect::<Vec<_>>())
        })
        .collect::<Vec<_>>();
    let expected = [(ENV, vec![c, a]), (OTHER_ENV, vec![b, c]), (third, vec![a])]
        .map(|(id, flags)| (id.to_string(), flags));
    assert_eq!(found, expected);
}

#[test]
fn the_text_shows_only_its_size() {
    let text = DatasetText::new(dump().to_string().into_bytes());
    assert!(!format!("{text:?}").contains(&SECRET[..22]));
    assert!(!text.is_empty());
}
