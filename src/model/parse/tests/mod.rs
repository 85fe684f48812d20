//! Whole dumps through the public entry points.

mod cases;
mod demo;
mod faults;
mod forms;
mod generate;
mod twin;
mod warnings;

use crate::model::dataset::Finding;

pub(super) use super::samples::{ENV, ID, OTHER_ENV, OTHER_SECRET, SECRET, SEGMENT_ID, dump};
use super::{DatasetError, DatasetText};

/// The dump with `path` (a JSON pointer) set to `value`.
pub(super) fn with(path: &str, value: serde_json::Value) -> serde_json::Value {
    let mut dump = dump();
    *dump.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
    dump
}

/// The dump without the property at `path`.
pub(super) fn without(path: &str) -> serde_json::Value {
    let mut dump = dump();
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = dump.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"));
    assert!(parent.as_object_mut().unwrap().remove(name).is_some(), "{path}");
    dump
}

pub(super) fn error_of(text: impl Into<Vec<u8>>) -> DatasetError {
    let text: Vec<u8> = text.into();
    DatasetText::new(text).parse().unwrap_err()
}

/// Path and message of each warning.
pub(super) fn warnings_of(dump: &serde_json::Value) -> Vec<(String, String)> {
    let mut text = DatasetText::new(dump.to_string().into_bytes());
    let dataset = text.parse().unwrap_or_else(|error| panic!("{error}\n{dump:#}"));
    dataset.warnings.into_iter().map(|Finding { path, message }| (path, message)).collect()
}

#[test]
fn the_dump_of_these_tests_is_good() {
    assert_eq!(warnings_of(&dump()), []);
}
