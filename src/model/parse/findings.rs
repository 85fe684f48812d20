//! Collects errors and warnings about a dump, with their places.
//!
//! Must not keep more than a person reads: beyond a limit findings are only counted. Paths are linked lists on the stack of
//! the readers, which cost nothing until one is written.

use std::fmt;

use crate::model::dataset::{Finding, LEFT_OUT_FAULTS_MAX, LeftOut, list_faults};

/// The most errors that a [`DatasetError`] lists; further ones are counted.
pub const FAULTS_MAX: usize = 20;

/// The most warnings of a dataset; further ones are counted in a last warning.
pub const WARNINGS_MAX: usize = 1000;

/// Why a dump or an item was refused: its first errors, each with its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetError {
    /// The first [`FAULTS_MAX`] errors, in the order of the dump.
    pub faults: Vec<Finding>,
    /// How many more there are.
    pub more: usize,
}

impl DatasetError {
    /// One error that ends parsing.
    pub(super) fn single(path: String, message: String) -> Self {
        Self { faults: vec![Finding { path, message }], more: 0 }
    }
}

/// All errors in one line, for the log or an HTTP response.
impl fmt::Display for DatasetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list_faults(&self.faults, self.more, f)
    }
}

impl std::error::Error for DatasetError {}

/// The place of a reader: a list linked towards the root, built on the stack and written only when needed.
#[derive(Clone, Copy)]
pub enum Path<'p> {
    /// The whole text, with a name for messages about the whole.
    Root(&'static str),
    /// A property of the object at the path.
    Key(&'p Path<'p>, &'static str),
    /// An element of the array that is a property of the object at the path.
    Item(&'p Path<'p>, &'static str, usize),
}

impl Path<'_> {
    /// The property `name` of the object here.
    pub fn key(&self, name: &'static str) -> Path<'_> {
        Path::Key(self, name)
    }

    /// The element `index` of the array that is the property `name` of the object here.
    pub fn item(&self, name: &'static str, index: usize) -> Path<'_> {
        Path::Item(self, name, index)
    }

    fn steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, name, index) = match self {
            Path::Root(_) => return Ok(()),
            Path::Key(parent, name) => (parent, name, None),
            Path::Item(parent, name, index) => (parent, name, Some(index)),
        };
        parent.steps(f)?;
        if !matches!(parent, Path::Root(_)) {
            f.write_str(".")?;
        }
        match index {
            None => f.write_str(name),
            Some(index) => write!(f, "{name}[{index}]"),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(name) => f.write_str(name),
            _ => self.steps(f),
        }
    }
}

/// Collects faults and warnings up to their limits.
#[derive(Default)]
pub struct Findings {
    faults: Vec<Finding>,
    faults_more: usize,
    warnings: Vec<Finding>,
    warnings_more: usize,
    /// The indexes of the warnings about harm to SDKs.
    harmful: Vec<usize>,
    /// Whether warnings are ignored.
    pub quiet: bool,
}

impl Findings {
    /// Collects errors only.
    pub fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// Adds an error: the whole text cannot be used.
    #[cold]
    pub fn fault(&mut self, path: &Path<'_>, message: impl fmt::Display) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Finding { path: path.to_string(), message: message.to_string() });
        } else {
            self.faults_more += 1;
        }
    }

    /// Adds a warning.
    #[cold]
    pub fn warn(&mut self, path: &Path<'_>, message: impl fmt::Display) {
        if self.quiet {
        } else if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(Finding { path: path.to_string(), message: message.to_string() });
        } else {
            self.warnings_more += 1;
        }
    }

    /// The number of errors so far.
    pub fn faults(&self) -> usize {
        self.faults.len() + self.faults_more
    }

    /// Moves the errors after the first `since` to `left_out`. Returns false if there are none.
    pub fn leave_out(&mut self, since: usize, left_out: &mut LeftOut<'_>) -> bool {
        let count = self.faults() - since;
        let kept = self.faults.len().min(since);
        let mut listed = 0;
        for fault in self.faults.drain(kept..) {
            if left_out.faults.len() < LEFT_OUT_FAULTS_MAX {
                left_out.faults.push(fault);
                listed += 1;
            }
        }
        left_out.more += count - listed;
        self.faults_more = since - kept;
        count > 0
    }

    /// Adds a warning about something that stops or breaks SDKs. The message names them.
    #[cold]
    pub fn harms(&mut self, path: &Path<'_>, message: impl fmt::Display) {
        let before = self.warnings.len();
        self.warn(path, message);
        if self.warnings.len() > before {
            self.harmful.push(before);
        }
    }

    /// The current number of findings, for [`Self::add_since`].
    pub fn mark(&self) -> (usize, usize) {
        (self.faults.len(), self.warnings.len())
    }

    /// Adds the name of their item to the findings since `mark`: people know its name, not its index.
    pub fn add_since(&mut self, (faults, warnings): (usize, usize), kind: &str, name: &str) {
        if name.is_empty() {
            return;
        }
        let new = self.faults.iter_mut().skip(faults).chain(self.warnings.iter_mut().skip(warnings));
        for finding in new {
            finding.message = format!("{} ({kind} {})", finding.message, Quoted(name));
        }
    }

    /// The warnings and the indexes of those about harm to SDKs, or the errors if there are any.
    pub fn finish(mut self) -> Result<(Vec<Finding>, Vec<usize>), DatasetError> {
        if !self.faults.is_empty() {
            return Err(DatasetError { faults: self.faults, more: self.faults_more });
        }
        if self.warnings_more > 0 {
            let message = format!("and {} more warnings", self.warnings_more);
            self.warnings.push(Finding { path: String::from("the dump"), message });
        }
        Ok((self.warnings, self.harmful))
    }
}

/// A text of the dump for a message: quoted, without control characters, and shortened.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARS_MAX: usize = 60;
        match self.0.char_indices().nth(CHARS_MAX) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FAULTS_MAX, Findings, Path, Quoted, WARNINGS_MAX};

    #[test]
    fn renders_paths_from_the_root() {
        let root = Path::Root("the dump");
        assert_eq!(root.to_string(), "the dump");
        let item = root.item("items", 1);
        let rule = item.item("featureFlags", 3);
        let rule = rule.item("rules", 0);
        let condition = rule.item("conditions", 2);
        assert_eq!(condition.key("op").to_string(), "items[1].featureFlags[3].rules[0].conditions[2].op");
        assert_eq!(root.key("eventType").to_string(), "eventType");
    }

    #[test]
    fn keeps_the_first_findings_and_counts_the_rest() {
        let root = Path::Root("the dump");
        let mut findings = Findings::default();
        for index in 0..WARNINGS_MAX + 5 {
            findings.warn(&root.item("items", index), "odd");
        }
        let (warnings, harmful) = findings.finish().unwrap();
        assert!(harmful.is_empty());
        assert_eq!(warnings.len(), WARNINGS_MAX + 1);
        assert_eq!(warnings[WARNINGS_MAX].message, "and 5 more warnings");

        let mut findings = Findings::default();
        for index in 0..WARNINGS_MAX + 2 {
            match index % 2 {
                0 => findings.warn(&root.item("items", index), "odd"),
                _ => findings.harms(&root.item("items", index), "breaks something"),
            }
        }
        let (warnings, harmful) = findings.finish().unwrap();
        assert_eq!((harmful.len(), harmful[1]), (WARNINGS_MAX / 2, 3));
        assert!(harmful.iter().all(|index| warnings[*index].message == "breaks something"));

        let mut findings = Findings::default();
        for index in 0..FAULTS_MAX + 2 {
            findings.fault(&root.item("items", index), "broken");
        }
        let error = findings.finish().unwrap_err();
        assert_eq!((error.faults.len(), error.more), (FAULTS_MAX, 2));
        let line = error.to_string();
        assert!(line.starts_with("items[0]: broken; items[1]: broken; "), "{line}");
        assert!(line.ends_with("items[19]: broken; and 2 more"), "{line}");
    }

    #[test]
    fn quotes_foreign_text_in_one_short_line() {
        assert_eq!(Quoted("a\nb").to_string(), "\"a\\nb\"");
        assert_eq!(Quoted(&"é".repeat(61)).to_string(), format!("\"{}\"…", "é".repeat(60)));
    }
}
