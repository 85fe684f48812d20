//! Keys, given as text or as a file.
//!
//! Must not show a key.

use std::path::Path;

use super::check::Check;
use crate::config::definition::Key;
use crate::config::secret::Secret;
use crate::config::settings::RelayKey;
use crate::config::value::invalid;
use crate::config::{key_files, relay_keys};

impl Check<'_> {
    pub(super) fn api_key(&mut self) -> Option<Secret> {
        if let Some(content) = self.content_instead_of(Key::ApiKeyFile, Key::ApiKey)? {
            return self.accepted(Key::ApiKeyFile, key_files::api_key(&content));
        }
        let text = self.text(Key::ApiKey)?;
        let fits = key_files::one_key(&text).map(|()| Secret::new(text));
        self.accepted(Key::ApiKey, fits)
    }

    pub(super) fn relay_keys(&mut self, api_key: Option<&Secret>) -> Vec<RelayKey> {
        let (from, keys) = match self.content_instead_of(Key::RelayKeysFile, Key::RelayKeys) {
            None => return Vec::new(),
            Some(Some(content)) => (Key::RelayKeysFile, key_files::relay_keys(&content, api_key)),
            Some(None) => match self.text(Key::RelayKeys) {
                Some(text) => (Key::RelayKeys, relay_keys::parse(&text, api_key)),
                None => return Vec::new(),
            },
        };
        keys.unwrap_or_else(|errors| {
            for invalid in errors {
                self.accepted::<()>(from, Err(invalid));
            }
            Vec::new()
        })
    }

    /// The content of the file that the setting `file` names, which replaces the setting `text`. `Some(None)` without such
    /// a file; `None` means that an error was reported.
    pub(super) fn content_instead_of(&mut self, file: Key, text: Key) -> Option<Option<Vec<u8>>> {
        let Some(path) = self.text(file) else { return Some(None) };
        let remedy = "Name a readable file that contains nothing else";
        let problem = match (self.read)(Path::new(&path)) {
            _ if self.is_given(text) => {
                invalid(format!("is given together with {}", text.definition().name), "Keep one of the two")
            }
            Ok(content) => return Some(Some(content)),
            Err(error) => invalid(format!("cannot read {path}: {error}"), remedy),
        };
        self.accepted(file, Err(problem))
    }
}
