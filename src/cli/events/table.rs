//! A table for a terminal.
//!
//! Must not let foreign text move the cursor or break a line. Pure.

/// How many characters of a text are shown.
const CHARS_MAX: usize = 48;

/// Which side of its column a text is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Lines of the table: the columns as wide as their widest text, two spaces between them, `indent` spaces before the first.
pub(super) fn lines(sides: &[Side], rows: &[Vec<String>], indent: usize) -> Vec<String> {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|text| shown(text)).collect()).collect();
    let width = |column: usize| {
        let chars = rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count());
        chars.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..sides.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut line = " ".repeat(indent);
        for (at, ((text, side), width)) in row.iter().zip(sides).zip(&widths).enumerate() {
            if at > 0 {
                line.push_str("  ");
            }
            match side {
                Side::Left => line.push_str(&format!("{text:<width$}")),
                Side::Right => line.push_str(&format!("{text:>width$}")),
            }
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A text as it is shown: no control characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(CHARS_MAX).map(harmless).collect();
    if characters.next().is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// A character that moves nothing: control characters, and those that change the direction of what follows, are replaced.
fn harmless(character: char) -> char {
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || turns { '\u{FFFD}' } else { character }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["FLAG", "USERS"], ["ä-flag", "7"], ["f", "12345678"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(
            lines(&[Side::Left, Side::Right], &rows, 2),
            ["  FLAG       USERS", "  ä-flag         7", "  f       12345678"]
        );
    }

    #[test]
    fn foreign_text_stays_in_its_place() {
        assert_eq!(shown("a\u{1b}[2J\nb\u{202e}"), "a\u{FFFD}[2J\u{FFFD}b\u{FFFD}");
        assert_eq!(shown(&"x".repeat(48)), "x".repeat(48));
        assert_eq!(shown(&"x".repeat(49)), format!("{}…", "x".repeat(47)));
    }
}
