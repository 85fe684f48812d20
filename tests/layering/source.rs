//! Rust source as words and marks: enough to find imports, without compiling.

/// A token of the source, with its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// The words and marks of Rust source; comments, strings, characters and numbers are left out. `::` is one mark.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let here = chars[at];
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        if here == '/' && next == '/' {
            at = skip_while(&chars, at, |c| c != '\n');
        } else if here == '/' && next == '*' {
            at = end_of_block_comment(&chars, at);
        } else if let Some(end) = end_of_text(&chars, at) {
            at = end;
        } else if here.is_alphanumeric() || here == '_' {
            at = skip_while(&chars, at, |c| c.is_alphanumeric() || c == '_');
            found.push(Token { text: chars[start..at].iter().collect(), line });
        } else if here == ':' && next == ':' {
            at += 2;
            found.push(Token { text: "::".into(), line });
        } else {
            at += 1;
            if !here.is_whitespace() {
                found.push(Token { text: here.into(), line });
            }
        }
        line += chars[start..at].iter().filter(|&&c| c == '\n').count();
    }
    found
}

fn skip_while(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|&c| !wanted(c)).map_or(chars.len(), |count| from + count)
}

fn end_of_block_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (at, depth) = (at + 2, depth + 1),
            ('*', '/') => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

/// The end of a string or character that begins here, with its prefixes; lifetimes are none.
fn end_of_text(chars: &[char], from: usize) -> Option<usize> {
    let word_before = from > 0 && (chars[from - 1].is_alphanumeric() || chars[from - 1] == '_');
    let mut at = from;
    let mut raw = false;
    if !word_before {
        while at < chars.len() && matches!(chars[at], 'b' | 'c' | 'r') && at - from < 2 {
            raw |= chars[at] == 'r';
            at += 1;
        }
    }
    let hashes = if raw { skip_while(chars, at, |c| c == '#') - at } else { 0 };
    at += hashes;
    match chars.get(at)? {
        '"' if raw => {
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let rest = &chars[at + 1..];
            let length = rest.windows(end.len()).position(|window| window == end);
            Some(length.map_or(chars.len(), |length| at + 1 + length + end.len()))
        }
        '"' => Some(end_of_quoted(chars, at, '"')),
        '\'' if chars.get(at + 1) == Some(&'\\') => Some(end_of_quoted(chars, at, '\'')),
        '\'' if chars.get(at + 2) == Some(&'\'') => Some(at + 3),
        _ => None,
    }
}

fn end_of_quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The tokens without what is compiled for tests only, and the names of the modules that are files of tests.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut kept = Vec::new();
    let mut test_modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test_only = ["#", "[", "cfg", "(", "test", ")", "]"]
            .iter()
            .enumerate()
            .all(|(index, wanted)| text(at + index) == *wanted);
        if !is_test_only {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = end_of_item(tokens, at);
        if text(end - 1) == ";" && text(end - 3) == "mod" {
            test_modules.push(text(end - 2).to_owned());
        }
        at = end;
    }
    (kept, test_modules)
}

/// The token after the item that begins here with its attributes.
fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    // `use a::{b};` ends with the semicolon.
                    let has_semicolon = tokens.get(index + 1).is_some_and(|next| next.text == ";");
                    return index + 1 + usize::from(has_semicolon);
                }
            }
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}
