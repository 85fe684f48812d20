//! Every setting of the agent. The parser, `--help`, `docs/configuration.md` and `check` are made from this table.
//!
//! Must contain definitions only. A new setting is one entry here, one [`Key`] and one field of
//! [`Settings`](super::Settings); `docs/configuration.md` is generated from it (its test says how).

mod data_and_sdks;
mod events;
mod servers_and_operation;

use super::definition::{Definition, Key};

/// The settings by subject, in the order of the docs and of [`Key`].
const SUBJECTS: [&[Definition]; 3] =
    [data_and_sdks::DEFINITIONS, events::DEFINITIONS, servers_and_operation::DEFINITIONS];

const COUNT: usize = SUBJECTS[0].len() + SUBJECTS[1].len() + SUBJECTS[2].len();

/// Every setting, in the order of the docs and of [`Key`].
pub const DEFINITIONS: &[Definition] = &joined();

const fn joined() -> [Definition; COUNT] {
    let mut all = [SUBJECTS[0][0]; COUNT];
    let (mut subject, mut filled) = (0, 0);
    while subject < SUBJECTS.len() {
        let mut index = 0;
        while index < SUBJECTS[subject].len() {
            all[filled] = SUBJECTS[subject][index];
            filled += 1;
            index += 1;
        }
        subject += 1;
    }
    all
}

const _: () = {
    let mut index = 0;
    while index < DEFINITIONS.len() {
        assert!(DEFINITIONS[index].key as usize == index, "the table must be in the order of Key");
        index += 1;
    }
    assert!(DEFINITIONS.len() == Key::LoggingFormat as usize + 1, "the table must hold every Key");
};
