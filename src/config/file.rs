//! Settings from a file: TOML, or an `appsettings.json` as .NET reads it.
//!
//! Must not quote the file in an error: it may contain secrets.

use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Origin, SettingError};
use super::json::{self, Entry, SyntaxError};
use super::listen;
use super::names::{find, list_element, normalize};
use super::raw::{Raw, is_nested};
use super::suggest;
use super::table::DEFINITIONS;

/// Top-level names of an `appsettings.json` that .NET's host or common libraries read and the agent ignores.
const HOST_SECTIONS: [&str; 14] = [
    "$schema",
    "allowedhosts",
    "applicationname",
    "connectionstrings",
    "contentroot",
    "detailederrors",
    "environment",
    "hostingstartupassemblies",
    "https_port",
    "kestrel",
    "logging",
    "preferhostingurls",
    "serilog",
    "webroot",
];

pub(super) fn collect(raw: &mut Raw, path: &Path, text: &[u8]) {
    let error = |line, problem: String| {
        SettingError::at("--config", Origin::File(path.into(), line), problem, "Correct the file")
    };
    let Ok(text) = std::str::from_utf8(text) else {
        raw.cannot_read(error(1, "the file is not UTF-8".into()));
        return;
    };
    if is_yaml(path, text) {
        return raw.cannot_read(SettingError::at(
            "--config",
            Origin::File(path.into(), 1),
            "the file is YAML, which the agent does not read",
            "Write it as TOML (`Name = \"value\"`) or as JSON",
        ));
    }
    let is_json = is_json(path, text);
    let entries = if is_json { json::flatten(text) } else { flatten_toml(text) };
    match entries {
        Ok(entries) => apply(raw, path, entries),
        Err(SyntaxError { line, problem }) => {
            let language = if is_json { "JSON" } else { "TOML" };
            raw.cannot_read(error(line, format!("the file is not valid {language}: {problem}")));
        }
    }
}

/// Decides by the file's extension; without a known one, a file that begins like an object is JSON.
fn is_json(path: &Path, text: &str) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if extension.eq_ignore_ascii_case("json") => true,
        Some(extension) if extension.eq_ignore_ascii_case("toml") => false,
        _ => matches!(text.trim_start_matches('\u{feff}').trim_start().bytes().next(), Some(b'{' | b'/')),
    }
}

/// Decides by the file's extension, or by the first line that is not blank or a comment: `---`, or a name followed by `:`.
/// Neither TOML nor JSON can begin so.
fn is_yaml(path: &Path, text: &str) -> bool {
    if is_json(path, text) {
        return false;
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    if ["yaml", "yml"].iter().any(|yaml| extension.eq_ignore_ascii_case(yaml)) {
        return true;
    }
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
    let is_name = |name: &str| {
        let name = name.trim_matches('"');
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let (name, rest) = first.split_once(':').unwrap_or_default();
    first == "---" || is_name(name) && (rest.is_empty() || rest.starts_with(' '))
}

fn apply(raw: &mut Raw, path: &Path, entries: Vec<Entry>) {
    let mut lists: HashMap<usize, (String, usize)> = HashMap::new();
    let mut ranks: HashMap<usize, usize> = HashMap::new();
    let mut warned_kestrel = false;
    for entry in entries {
        let normalized = normalize(&entry.name);
        let origin = Origin::File(path.into(), entry.line);
        if let Some(found) = find(&normalized, false) {
            let Some(value) = entry.value else { continue };
            let name = found.key.definition().name;
            match ranks.get(&(found.key as usize)) {
                Some(rank) if *rank == found.rank => {
                    let problem = format!("{name} is given twice in this file");
                    raw.errors.push(SettingError::at(name, origin, problem, "Keep one of the two"));
                    continue;
                }
                Some(rank) if *rank < found.rank => continue,
                _ => ranks.insert(found.key as usize, found.rank),
            };
            let value = found.ports.map_or(value.clone(), |scheme| listen::urls_of_ports(&value, scheme));
            raw.set(found.key, &value, origin);
        } else if let Some((found, _)) = list_element(&normalized) {
            // The elements of an array come in their order.
            let (list, _) = lists.entry(found.key as usize).or_insert((String::new(), entry.line));
            if !list.is_empty() {
                list.extend(found.key.definition().kind.list_separator());
            }
            list.push_str(entry.value.as_deref().unwrap_or(""));
        } else if is_nested(&normalized) {
            raw.set_nested(&entry.name, &normalized, entry.value.as_deref().unwrap_or(""), origin);
        } else if host_reads(&normalized) {
            if normalized.starts_with("kestrel:") && !warned_kestrel {
                warned_kestrel = true;
                let problem = "of the section Kestrel, only Endpoints and Certificates:Default are read";
                raw.warnings.push(SettingError::at("Kestrel", origin, problem, ""));
            }
        } else {
            let remedy = match suggest::nearest(&entry.name) {
                Some(known) => format!("Did you mean {known}?"),
                None => "Remove it; docs/configuration.md lists every setting".to_string(),
            };
            // `__` between levels, as in all other messages.
            let name = entry.name.replace(':', "__");
            raw.errors.push(SettingError::at(name, origin, "is not a setting of the agent", remedy));
        }
    }
    for (key, (list, line)) in lists {
        raw.set(DEFINITIONS[key].key, &list, Origin::File(path.into(), line));
    }
}

fn host_reads(normalized: &str) -> bool {
    match normalized.split_once(':') {
        // A plain name in `Logging` is the agent's own; .NET's names have one more level (`Logging:LogLevel:Default`).
        Some(("logging", rest)) => rest.contains(':'),
        Some((section, _)) => HOST_SECTIONS.contains(&section),
        None => HOST_SECTIONS.contains(&normalized),
    }
}

fn flatten_toml(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        line: line(error.span().map_or(0, |span| span.start)),
        problem: error.message().to_string(),
    })?;
    let mut entries = Vec::new();
    flatten_table(table.get_ref(), "", &line, &mut entries);
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn flatten_table(table: &DeTable<'_>, above: &str, line: &impl Fn(usize) -> usize, entries: &mut Vec<Entry>) {
    for (name, value) in table.iter() {
        flatten_toml_value(&format!("{above}{}", name.get_ref()), value, line, entries);
    }
}

fn flatten_toml_value(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    line: &impl Fn(usize) -> usize,
    entries: &mut Vec<Entry>,
) {
    let text = match value.get_ref() {
        DeValue::Table(table) => return flatten_table(table, &format!("{name}:"), line, entries),
        DeValue::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                flatten_toml_value(&format!("{name}:{index}"), element, line, entries);
            }
            return;
        }
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
    };
    entries.push(Entry { name: name.to_string(), value: Some(text), line: line(value.span().start) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    fn read(name: &str, text: &str) -> Raw {
        let mut raw = Raw::default();
        collect(&mut raw, Path::new(name), text.as_bytes());
        raw
    }

    fn values_of(raw: &Raw) -> Vec<(&'static str, String)> {
        let given = |definition: &crate::config::Definition| {
            raw.given(definition.key).map(|given| (definition.name, given.value.clone()))
        };
        DEFINITIONS.iter().filter_map(given).collect()
    }

    fn errors(raw: &Raw) -> Vec<String> {
        raw.errors.iter().map(SettingError::to_string).collect()
    }

    #[test]
    fn toml_and_json_give_the_same() {
        let toml = read(
            "a.toml",
            "Mode = \"offline\"\ndatafile = 'd.json'\n[Limits]\nVerdictWait = \"500ms\"\nHeaders = 50\n\
             [Streaming]\nTrackClientHostName = true\n[Cors]\nOrigins = [\"http://a\", \"http://b\"]\n",
        );
        let json = read(
            "appsettings.json",
            "{\"Mode\": \"offline\", \"DataFile\": \"d.json\", \"Limits\": {\"VerdictWait\": \"500ms\", \
             \"Headers\": 50}, \"Streaming:TrackClientHostName\": true, \"Cors__Origins\": [\"http://a\", \
             \"http://b\",],}",
        );
        assert_eq!(errors(&toml), [""; 0]);
        assert_eq!(errors(&json), [""; 0]);
        assert_eq!(values_of(&toml), values_of(&json));
        assert_eq!(toml.given(Key::CorsOrigins).unwrap().value, "http://a,http://b");
        assert_eq!(toml.origin(Key::LimitsHeaders), Origin::File("a.toml".into(), 5));
    }

    #[test]
    fn featbits_own_appsettings_are_taken() {
        let raw = read(
            "appsettings.json",
            r#"{
  "Logging": { "LogLevel": { "Default": "Warning", "Microsoft.AspNetCore": "Warning" } },
  "AllowedHosts": "*",
  "Mode": "auto", "AgentId": "", "ApiKey": "", "StreamingUri": "", "ForwardEvents": false, "EventUri": "",
  "Streaming": { "TrackClientHostName": true, "TokenExpirySeconds": 30 }
}"#,
        );
        assert_eq!(errors(&raw), [""; 0]);
        assert_eq!(raw.warnings, []);
        assert_eq!(raw.given(Key::LoggingLevel).unwrap().value, "Warning");
        assert!(raw.given(Key::AgentId).is_none());
    }

    #[test]
    fn an_unknown_name_is_an_error_with_a_suggestion() {
        let raw = read("a.toml", "\nMoed = 'offline'\n[Limits]\nBananas = 1\n[Logging]\nLevle = 'info'\n");
        assert_eq!(
            errors(&raw),
            [
                "Moed (a.toml:2): is not a setting of the agent. Did you mean Mode?",
                "Limits__Bananas (a.toml:4): is not a setting of the agent. Remove it; docs/configuration.md lists \
                 every setting.",
                "Logging__Levle (a.toml:6): is not a setting of the agent. Did you mean Logging__Level?",
            ]
        );
    }

    #[test]
    fn a_name_given_twice_is_an_error_but_an_alias_only_yields() {
        let raw = read("a.json", "{\"Mode\": \"auto\",\n\"MODE\": \"offline\"}");
        assert_eq!(errors(&raw), ["Mode (a.json:2): Mode is given twice in this file. Keep one of the two."]);
        for text in [
            r#"{"Logging": {"LogLevel": {"Default": "Error"}, "Level": "debug"}}"#,
            r#"{"Logging": {"Level": "debug", "LogLevel": {"Default": "Error"}}}"#,
        ] {
            let raw = read("a.json", text);
            assert_eq!(errors(&raw), [""; 0]);
            assert_eq!(raw.given(Key::LoggingLevel).unwrap().value, "debug");
        }
    }

    /// What went wrong: it was said that a key with no value was expected in line 1.
    #[test]
    fn a_yaml_file_is_called_that() {
        for (name, text) in [
            ("a.yaml", "Mode = 'offline'"),
            ("a.yml", ""),
            ("settings", "Mode: offline\nApiKey: sesame\n"),
            ("settings", "# ours\n\n\"Mode\": offline"),
            ("a.toml", "\u{feff}---\nMode: offline"),
            ("settings", "Limits:\n  HeadSeconds: 5\n"),
        ] {
            let raw = read(name, text);
            assert_eq!(
                errors(&raw),
                [format!(
                    "--config ({name}:1): the file is YAML, which the agent does not read. Write it as TOML (`Name = \
                     \"value\"`) or as JSON."
                )],
                "{text}"
            );
        }
        for (name, text) in [
            ("a.toml", "# Mode: offline\nMode = 'offline'"),
            ("a.toml", "\u{feff}Mode = 'offline'"),
            ("settings", "{\"Mode\": \"offline\"}"),
            ("a.yaml", "{\"Mode\": \"offline\"}"),
            ("settings", ""),
        ] {
            assert_eq!(errors(&read(name, text)), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_broken_file_is_told_by_line_without_its_text() {
        for (name, text, start) in [
            (
                "a.toml",
                "Mode = 'auto'\nApiKey = sesame\n",
                "--config (a.toml:2): the file is not valid TOML: ",
            ),
            (
                "a.json",
                "{\"Mode\": 1,\n\"ApiKey\": sesame}",
                "--config (a.json:2): the file is not valid JSON: ",
            ),
            (
                "agent.conf",
                "// hi\n{\"ApiKey\": sesame}",
                "--config (agent.conf:2): the file is not valid JSON: ",
            ),
        ] {
            let errors = errors(&read(name, text));
            assert_eq!(errors.len(), 1);
            assert!(errors[0].starts_with(start), "{errors:?}");
            assert!(!errors[0].contains("sesame"), "{errors:?}");
        }
    }

    #[test]
    fn of_a_kestrel_section_endpoints_and_the_default_certificate_are_read() {
        let raw = read(
            "a.json",
            r#"{"Kestrel": {"Endpoints": {"Http": {"Url": "http://*:1"}}, "Limits": {"A": 1, "B": 2},
                "Certificates": {"Default": {"Path": "a.pem", "KeyPath": "a.key", "Password": "p"}}}}"#,
        );
        assert_eq!(errors(&raw), [""; 0]);
        assert_eq!(raw.warnings.len(), 1, "{:?}", raw.warnings);
        let names: Vec<_> = raw.nested.keys().map(String::as_str).collect();
        assert_eq!(names, ["kestrel:certificates:default:password", "kestrel:endpoints:http:url"]);
        let pair = [("Tls__CertificateFile", "a.pem".to_string()), ("Tls__KeyFile", "a.key".to_string())];
        assert_eq!(values_of(&raw), pair);
    }
}
