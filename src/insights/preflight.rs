//! What can be said of usage events before the agent is started, for the command `check`.
//!
//! Must not make, change or lock anything: an agent may run with the same settings.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::Access;

use crate::config::{Events, EventsMode, PseudonymKeySource};

use super::board;
use super::pseudonym::{LoadedKey, PseudonymKey, load_existing};
use super::start::{EventsError, in_directory};

/// What was found.
#[derive(Debug, Default)]
pub struct Preflight {
    /// What leaves the machine, and what is used for that.
    pub lines: Vec<String>,
    /// What works and should be changed.
    pub warnings: Vec<String>,
    /// Why the agent would not start.
    pub errors: Vec<EventsError>,
}

/// Looks at the folder and the key file that `events` names.
pub fn preflight(events: &Events) -> Preflight {
    let mut found = Preflight { lines: vec![capitalized(&board::summary(events))], ..Preflight::default() };
    for one in &events.overrides {
        found.lines.push(format!("{}: {}", one.environment, one.mode.as_str()));
    }
    let is_off = events.modes().all(|mode| mode == EventsMode::Drop);
    if let Some(directory) = events.directory.as_deref().filter(|_| !is_off) {
        let parts = ["spool", "local"].map(|name| directory.join(name));
        let wrong = folder(directory).err().map(|error| in_directory(directory, &error));
        let inside = || {
            let broken = parts.iter().find_map(|part| Some((part, folder(part).err()?)));
            broken.map(|(part, error)| in_directory(part, &error))
        };
        found.errors.extend(wrong.or_else(inside));
    }
    if events.uses(EventsMode::Pseudonymize)
        && let Some(source) = &events.pseudonym_key
    {
        key(source, events.directory.as_deref(), &mut found);
    }
    found
}

/// The key of pseudonyms.
fn key(source: &PseudonymKeySource, directory: Option<&Path>, found: &mut Preflight) {
    let path = match source {
        PseudonymKeySource::Text(text) => {
            match PseudonymKey::from_text(text.expose()) {
                Ok(key) => found.lines.push(format!("The id of the pseudonym key is {}", key.id())),
                Err(weak) => found.errors.push(EventsError::new("Events__PseudonymKey", weak.to_string())),
            }
            return;
        }
        PseudonymKeySource::File(path) => path,
    };
    match load_existing(path) {
        Ok(Some(LoadedKey { key, warning, .. })) => {
            found.lines.push(format!("The id of the pseudonym key is {}", key.id()));
            found.warnings.extend(warning);
        }
        Ok(None) => {
            found.lines.push(format!("The pseudonym key will be made: {}", path.display()));
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            // The folder of events is made if it does not exist, others are not.
            let is_made = directory == Some(parent);
            let usable = if is_made || parent.exists() { folder(parent) } else { Err(no_folder()) };
            if let Err(error) = usable {
                let problem = format!("{} cannot be made: {error}", path.display());
                let remedy = "Name a file in a folder that exists and that the agent's user may write to";
                found
                    .errors
                    .push(EventsError::new("Events__PseudonymKey__File", format!("{problem}. {remedy}")));
            }
        }
        Err(problem) => found.errors.push(EventsError::new("Events__PseudonymKey__File", problem)),
    }
}

/// Whether files can be made in this folder, or the folder itself if it does not exist.
fn folder(path: &Path) -> io::Result<()> {
    let shown = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match fs::metadata(shown) {
        Ok(metadata) if metadata.is_dir() => {
            Ok(rustix::fs::access(shown, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match shown.parent() {
            Some(parent) => folder(parent),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn no_folder() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "its folder does not exist")
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
