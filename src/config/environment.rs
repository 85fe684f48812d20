//! Settings from environment variables: .NET's names in upper or lower case, `__` or `:` between levels.
//!
//! Must not warn of variables that are not meant for the agent: all programs share the environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::definition::Key;
use super::error::{Origin, SettingError};
use super::listen;
use super::names::{find, list_element, normalize};
use super::raw::{Raw, is_nested};
use super::suggest;
use super::table::DEFINITIONS;
use super::value;

/// The value that one variable gives a setting.
struct Proposal {
    rank: usize,
    /// The scheme, if it was a list of ports.
    ports: Option<&'static str>,
    variable: String,
    value: String,
}

pub(super) fn collect(raw: &mut Raw, environment: &[(OsString, OsString)]) {
    let mut proposals: BTreeMap<usize, Vec<Proposal>> = BTreeMap::new();
    let mut elements: BTreeMap<(usize, u32), Proposal> = BTreeMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let normalized = normalize(name);
        let element = if find(&normalized, true).is_none() { list_element(&normalized) } else { None };
        let Some(found) = find(&normalized, true).or(element.map(|(found, _)| found)) else {
            if is_nested(&normalized) {
                take_nested(raw, name, &normalized, value);
                continue;
            }
            warn_if_misspelt(raw, name, &normalized, value);
            continue;
        };
        let Some(value) = value.to_str() else {
            raw.errors.push(SettingError::at(
                found.key.definition().name,
                Origin::Environment(name.into()),
                "is not UTF-8",
                "Write it in UTF-8",
            ));
            continue;
        };
        let value = found
            .ports
            .map_or_else(|| value.trim().to_string(), |scheme| listen::urls_of_ports(value, scheme));
        let proposal = Proposal { rank: found.rank, ports: found.ports, variable: name.to_string(), value };
        match element {
            Some((_, index)) => drop(elements.insert((found.key as usize, index), proposal)),
            None => proposals.entry(found.key as usize).or_default().push(proposal),
        }
    }
    join_elements(&mut proposals, elements);
    if let Some(urls) = proposals.get_mut(&(Key::Urls as usize)) {
        join_ports(urls);
    }
    for definition in DEFINITIONS {
        if let Some(proposals) = proposals.remove(&(definition.key as usize)) {
            choose(raw, definition.key, proposals);
        }
    }
}

fn join_elements(proposals: &mut BTreeMap<usize, Vec<Proposal>>, elements: BTreeMap<(usize, u32), Proposal>) {
    let mut joined: BTreeMap<usize, Proposal> = BTreeMap::new();
    for ((key, _), element) in elements {
        match joined.get_mut(&key) {
            None => drop(joined.insert(key, element)),
            Some(list) => {
                list.value.push(DEFINITIONS[key].kind.list_separator().unwrap_or(','));
                list.value.push_str(&element.value);
            }
        }
    }
    for (key, list) in joined {
        proposals.entry(key).or_default().push(list);
    }
}

/// Joins the ports with TLS and the ports without, as .NET does.
fn join_ports(urls: &mut Vec<Proposal>) {
    let best = |scheme: &str| {
        let of_scheme =
            |(_, proposal): &(usize, &Proposal)| proposal.ports == Some(scheme) && !proposal.value.is_empty();
        let all = urls.iter().enumerate().filter(of_scheme);
        all.min_by_key(|(_, proposal)| proposal.rank).map(|(place, _)| place)
    };
    let (Some(plain), Some(encrypted)) = (best("http"), best("https")) else { return };
    let joined = Proposal {
        rank: urls[plain].rank.min(urls[encrypted].rank),
        ports: None,
        variable: format!("{} and {}", urls[plain].variable, urls[encrypted].variable),
        value: format!("{};{}", urls[plain].value, urls[encrypted].value),
    };
    urls.retain(|proposal| proposal.ports.is_none());
    urls.push(joined);
}

fn take_nested(raw: &mut Raw, name: &str, normalized: &str, value: &OsStr) {
    let origin = Origin::Environment(name.into());
    match value.to_str() {
        Some(value) => raw.set_nested(name, normalized, value, origin),
        None => raw.errors.push(SettingError::at(name, origin, "is not UTF-8", "Write it in UTF-8")),
    }
}

/// Sets `key` from the variable with the best rank that is not blank.
fn choose(raw: &mut Raw, key: Key, mut proposals: Vec<Proposal>) {
    proposals.sort_by_key(|proposal| (proposal.value.is_empty(), proposal.rank));
    let best = &proposals[0];
    let rival = proposals
        .iter()
        .skip(1)
        .find(|other| other.rank == best.rank && !other.value.is_empty() && other.value != best.value);
    if let Some(rival) = rival {
        raw.errors.push(SettingError::at(
            key.definition().name,
            Origin::Environment(best.variable.clone()),
            format!("is also set, to another value, by the environment variable {}", rival.variable),
            "Keep one of the two",
        ));
    }
    raw.set(key, &best.value, Origin::Environment(best.variable.clone()));
}

/// Warns of a variable that seems to be meant for the agent but is not one of its settings.
fn warn_if_misspelt(raw: &mut Raw, name: &str, normalized: &str, value: &OsStr) {
    let ours = normalized.split_once(':').is_some_and(|(section, rest)| {
        let known = DEFINITIONS.iter().any(|definition| {
            let own = normalize(definition.name);
            own.split_once(':').is_some_and(|(own, _)| own == section)
        });
        // .NET's own logging is set by nested names (`Logging__LogLevel__Microsoft`).
        known && !(section == "logging" && rest.contains(':'))
    });
    // Many names that are not meant for the agent are close to one as short as `Mode`; the value tells them apart.
    let mode = || value.to_str().is_some_and(|value| value::mode(value.trim()).is_ok());
    let suggestion = if ours {
        suggest::nearest(name)
    } else {
        suggest::misspelt(name).or_else(|| suggest::nearest(name).filter(|known| *known == "Mode" && mode()))
    };
    if !ours && suggestion.is_none() {
        return;
    }
    raw.warnings.push(SettingError::at(
        name,
        Origin::Environment(name.into()),
        "is not a setting of the agent and is ignored",
        suggestion.map_or_else(String::new, |known| format!("Did you mean {known}?")),
    ));
}
