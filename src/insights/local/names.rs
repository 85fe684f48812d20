//! Names of folders and files below `DIR/local/`.
//!
//! Must not let the text of a key choose a place: keys are foreign. Pure.

use std::fmt;

use super::line;
use crate::model::environment_id::EnvironmentId;
use crate::model::timestamp::parse_iso8601_ms;

const DAY_MS: i64 = 86_400_000;

/// How many characters of an environment's keys its folder's name has at most.
const LABEL_CHARS_MAX: usize = 64;

/// The length of an id as text.
const ID_CHARS: usize = 36;

/// The name of the folder of an environment: its label (`project:environment`) with other characters than letters, digits,
/// `.`, `_` and `-` as `_`, then `_` and its id; the id alone if that is the label.
pub fn folder(label: &str, id: EnvironmentId) -> String {
    let id = id.to_string();
    if label.is_empty() || label == id {
        return id;
    }
    let mut name = String::with_capacity(LABEL_CHARS_MAX + 1 + ID_CHARS);
    for character in label.chars().take(LABEL_CHARS_MAX) {
        let is_fine = match character {
            // Neither hidden, nor an option of a command, nor a way up.
            '.' | '-' => !name.is_empty() && !name.ends_with('.'),
            other => other.is_ascii_alphanumeric() || other == '_',
        };
        name.push(if is_fine { character } else { '_' });
    }
    name.push('_');
    name.push_str(&id);
    name
}

/// The id in the name of a folder; `None` if it is not the folder of an environment.
pub fn environment_of(folder: &str) -> Option<EnvironmentId> {
    let (label, id) = folder.split_at_checked(folder.len().checked_sub(ID_CHARS)?)?;
    let is_ours = label.is_empty() || label.ends_with('_');
    EnvironmentId::parse(id).filter(|_| is_ours)
}

/// A day of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day of a moment in Unix milliseconds. Days outside the years 1970 to 9999 become the first or last of these.
    pub fn of(ms: i64) -> Self {
        Self(ms.div_euclid(DAY_MS).clamp(0, 2_932_896))
    }

    /// When it begins, in Unix milliseconds.
    pub fn start_ms(self) -> i64 {
        self.0 * DAY_MS
    }

    /// So many days earlier.
    pub fn before(self, days: u64) -> Self {
        Self(self.0.saturating_sub_unsigned(days))
    }

    fn parse(text: &str) -> Option<Self> {
        let ms = parse_iso8601_ms(text).filter(|&ms| text.len() == 10 && ms >= 0)?;
        Some(Self::of(ms))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(line::time(self.start_ms()).get(..10).unwrap_or_default())
    }
}

/// No part has a higher number, so that there is always a next one.
const NUMBER_MAX: u32 = 999_999_999;

/// A part of a day. Those of a folder sort by when they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The day.
    pub day: Day,
    /// 1 for the first part of the day.
    pub number: u32,
}

/// Which form of a part a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileForm {
    /// `2026-11-30.ndjson`
    Plain,
    /// `2026-11-30.ndjson.gz`: complete.
    Compressed,
    /// `2026-11-30.ndjson.gz.tmp`: not complete; removed at the next start.
    Temporary,
}

impl FileForm {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Plain, ".ndjson"), (Self::Compressed, ".ndjson.gz"), (Self::Temporary, ".ndjson.gz.tmp")];
}

impl Part {
    /// The name of a file of this part.
    pub fn file(self, form: FileForm) -> String {
        let suffix = FileForm::ALL.iter().find(|(one, _)| *one == form).map_or("", |(_, suffix)| suffix);
        match self.number {
            0 | 1 => format!("{}{suffix}", self.day),
            number => format!("{}.{number}{suffix}", self.day),
        }
    }

    /// The part and form that a name stands for; `None` for files of others.
    pub fn parse(name: &str) -> Option<(Self, FileForm)> {
        let (form, stem) =
            FileForm::ALL.iter().find_map(|(form, suffix)| Some((*form, name.strip_suffix(suffix)?)))?;
        let (day, number) = match stem.split_once('.') {
            None => (stem, 1),
            Some((day, number)) => {
                let is_canonical =
                    number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
                (day, number.parse().ok().filter(|number| (2..=NUMBER_MAX).contains(number) && is_canonical)?)
            }
        };
        Some((Self { day: Day::parse(day)?, number }, form))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> EnvironmentId {
        EnvironmentId::parse("ad99d259-1f50-4ed9-a002-7c65e25487df").unwrap()
    }

    #[test]
    fn a_folder_says_which_environment_it_is_for() {
        let folder = |label: &str| folder(label, id());
        assert_eq!(folder("shop:prod"), "shop_prod_ad99d259-1f50-4ed9-a002-7c65e25487df");
        assert_eq!(folder(&id().to_string()), "ad99d259-1f50-4ed9-a002-7c65e25487df");
        assert_eq!(folder("../../etc:x/"), "_._.__etc_x__ad99d259-1f50-4ed9-a002-7c65e25487df");
    }

    #[test]
    fn names_of_files_and_no_others() {
        let day = Day::of(1_796_042_096_789);
        let first = Part { day, number: 1 };
        assert_eq!(first.file(FileForm::Plain), "2026-11-30.ndjson");
        assert_eq!(Part { day, number: 2 }.file(FileForm::Compressed), "2026-11-30.2.ndjson.gz");
        assert_eq!(first.file(FileForm::Temporary), "2026-11-30.ndjson.gz.tmp");
        for name in [
            "2026-11-30.1.ndjson",
            "2026-11-30.02.ndjson",
            "2026-11-30.+2.ndjson",
            "2026-11-31.ndjson",
            "2026-11-30.ndjson.bz2",
            "2026-11-30T00:00.ndjson",
            "1969-12-31.ndjson",
            "2026-11-30.4294967296.ndjson",
            // What went wrong: after a file with the highest number there was no name for another one that day.
            "2026-11-30.4294967295.ndjson",
            "lock",
            "",
        ] {
            assert_eq!(Part::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_folder_is_one_safe_name_whatever_the_keys_are(label in any::<String>(), other in "[./a:-]{0,80}") {
            for label in [label, other] {
                let name = folder(&label, id());
                prop_assert!(name.len() <= LABEL_CHARS_MAX + 1 + ID_CHARS);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
                prop_assert!(!name.contains("..") && !name.starts_with(['.', '-']));
                prop_assert_eq!(environment_of(&name), Some(id()));
            }
        }

        #[test]
        fn a_name_is_read_as_it_was_written(day in 0i64..200_000, number in 1..=NUMBER_MAX, form in 0usize..3) {
            let part = Part { day: Day(day), number };
            let form = FileForm::ALL[form].0;
            prop_assert_eq!(Part::parse(&part.file(form)), Some((part, form)));
        }

        #[test]
        fn no_name_of_others_is_taken_for_another(name in "[0-9.-]{0,14}(.ndjson)?(.gz)?(.tmp)?") {
            if let Some((part, form)) = Part::parse(&name) {
                prop_assert_eq!(part.file(form), name);
            }
        }
    }
}
