//! Generates `docs/configuration.md` from the table.
//!
//! Must not describe a single setting: its definition does.

use std::fmt::Write as _;

use super::definition::{Definition, Section};
use super::table::DEFINITIONS;

/// How settings are given; the rest of the page is generated from the table.
const OPENING: &str = "# Configuration

<!-- Written from src/config/table/. Do not edit: change the table, then run
     UPDATE_DOCS=1 cargo test --lib config::docs -->

`featbit-agent check` prints every setting with its value and where that came from, and `featbit-agent --help` the
same list as this page.

## How settings are given

Highest precedence first:

1. **Command line**: `--limits-verdict-wait 5s`. A command line is visible to every user of the machine, so do not put
   the ApiKey there.
2. **Environment**: the names below in upper or lower case, `__` or `:` between levels: `Limits__VerdictWait=5s`.
   These are the names of FeatBit's own agent, so its compose files and service units work as they are. A variable
   whose name is almost that of a setting causes a warning; all others are ignored.
3. **File**: `--config FILE`, or the environment variable `FEATBIT_AGENT_CONFIG`. A name ending in `.toml` is TOML, one
   ending in `.json` is an `appsettings.json`, with comments and trailing commas as in .NET. Levels are tables
   or objects. What .NET's host reads (`Logging:LogLevel`, `AllowedHosts`, `Kestrel` …) is accepted; any other unknown
   name is an error.

A blank value means the default, and overrides the lower sources.

```toml
Mode = \"offline\"
DataFile = \"/var/lib/featbit-agent/data.json\"

[Limits]
VerdictWait = \"5s\"
```

**Durations** are numbers in the setting's unit, or numbers with `ms`, `s`, `m`, `h` or `d`, or
`hh:mm:ss` as .NET writes them. **Sizes** are bytes, or numbers with `KB`, `MB` or `GB`, which count by 1024.

All errors are reported together on standard error, each with its source, and the agent exits with code 78.
";

/// The whole page.
pub fn markdown() -> String {
    let mut page = OPENING.to_string();
    for section in Section::ALL {
        let _ = write!(page, "\n## {}\n", section.title());
        for definition in DEFINITIONS.iter().filter(|definition| definition.section == section) {
            entry(&mut page, definition);
        }
    }
    page
}

fn entry(page: &mut String, definition: &Definition) {
    let _ = write!(page, "\n### `{}`\n\n", definition.name);
    wrap(page, definition.help, "");
    let _ = write!(page, "\n- Option: `--{}`\n- Takes: {}", definition.flag(), definition.kind.describe());
    if definition.secret() {
        page.push_str("; never shown");
    }
    let _ = write!(page, "\n- Default: {}\n", default_of(definition));
    if !definition.needed.is_empty() {
        let _ = writeln!(page, "- Needed by: {}", definition.needed);
    }
    if !definition.aliases.is_empty() {
        wrap(page, &format!("- Also: {}", aliases(definition)), "  ");
    }
}

fn default_of(definition: &Definition) -> String {
    match (definition.default, definition.default_note) {
        ("", _) => definition.default_text(),
        (value, "") => format!("`{value}`"),
        (value, note) => format!("`{value}` ({note})"),
    }
}

fn aliases(definition: &Definition) -> String {
    let one = |alias: &super::definition::Alias| {
        let place = if alias.environment_only { " (environment)" } else { "" };
        format!("`{}`{place}", alias.name)
    };
    definition.aliases.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Appends `text` in lines of at most 118 characters; all but the first begin with `indent`.
fn wrap(page: &mut String, text: &str, indent: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 118 {
            page.push('\n');
            page.push_str(indent);
            width = indent.len();
        } else if width > 0 {
            page.push(' ');
            width += 1;
        }
        page.push_str(word);
        width += length;
    }
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_one_in_the_repository() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == markdown(),
            "docs/configuration.md is old: UPDATE_DOCS=1 cargo test --lib config::docs writes it"
        );
    }

    #[test]
    fn the_page_names_every_setting_and_option() {
        let page = markdown();
        for definition in DEFINITIONS {
            assert!(page.contains(&format!("### `{}`\n", definition.name)));
            assert!(page.contains(&format!("`--{}`", definition.flag())));
        }
    }
}
