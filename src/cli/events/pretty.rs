//! Indents JSON for people.
//!
//! Must not change a value: what is shown is what the SDK sent, digit by digit.

/// `json`, which must be valid, with one member or element a line, behind `margin`.
pub(super) fn pretty(json: &str, margin: &str) -> String {
    let mut out = String::from(margin);
    let mut depth: usize = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut last = ' ';
    let end_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(margin);
        out.push_str(&"  ".repeat(depth));
    };
    for character in json.chars() {
        if in_string {
            out.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            last = character;
            continue;
        }
        if character.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(character, '}' | ']');
        depth = depth.saturating_sub(usize::from(closes));
        let is_empty = closes && matches!(last, '{' | '[');
        if last == ',' || (matches!(last, '{' | '[') || closes) && !is_empty {
            end_line(&mut out, depth);
        }
        out.push(character);
        match character {
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            ':' => out.push(' '),
            _ => {}
        }
        last = if in_string { 'a' } else { character };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_get_a_line_each() {
        let json = r#" {"a" :[1.50, {} ,[ ]],"b{,": "x\"{[,", "c":{"d":null}} "#;
        let expected = "> {\n>   \"a\": [\n>     1.50,\n>     {},\n>     []\n>   ],\n>   \"b{,\": \"x\\\"{[,\",\n>   \"c\": {\n>     \"d\": null\n>   }\n> }";
        assert_eq!(pretty(json, "> "), expected);
        assert_eq!(pretty("[]", ""), "[]");
        assert_eq!(pretty(r#"["[",2]"#, ""), "[\n  \"[\",\n  2\n]");
    }
}
