//! Regular expressions as .NET means them, on Rust's engines.
//!
//! Must not run for long, whatever the pattern and the text: programs are bounded in size, searches in steps. A
//! pattern is parsed as .NET parses it and written anew for the engine that can run it: `regex`, whose time is
//! linear, or `fancy-regex` for what takes backtracking. Before the first of them come two quicker ways for what most
//! patterns and most texts are: [`shape`] for patterns that are little more than texts, [`table`] for texts of ASCII.
//!
//! What stays different from .NET, on purpose: a character is a Unicode scalar value, not a UTF-16 unit (`.`
//! matches a whole `😀`); letters are matched regardless of case by Unicode's simple case folding, not by .NET's own
//! table; balancing groups, back-references to one of several groups, halves of surrogate pairs and conditions that
//! capture are not supported.

mod blocks;
mod class;
mod emit;
mod escape;
mod group;
mod parse;
#[cfg(test)]
mod quick_tests;
mod shape;
mod split;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

use emit::{Dialect, Needs};
use parse::Fault;
use shape::Shapes;
use syntax::Tree;
use table::Table;

/// Bounds on what a regular expression may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegexLimits {
    /// Longest pattern that is compiled, in bytes.
    pub pattern_bytes: usize,
    /// Largest compiled program, in bytes. `\d{1000}` takes 6 MB, since there are hundreds of decimal digits.
    pub program_bytes: usize,
    /// What one thread may keep of one pattern's states once it has searched, in bytes.
    pub states_bytes: usize,
    /// Largest table of states for texts of ASCII, in bytes; patterns that need a larger one do without.
    pub table_bytes: usize,
    /// How often a backtracking search may go back before it is given up.
    pub backtracks: usize,
    /// Longest text that is searched with backtracking, in bytes.
    pub backtracking_text_bytes: usize,
}

impl Default for RegexLimits {
    /// At most some 40 ms to compile a pattern and a few milliseconds to search with one.
    fn default() -> Self {
        Self {
            pattern_bytes: 16 << 10,
            program_bytes: 10 << 20,
            states_bytes: 1 << 20,
            table_bytes: 32 << 10,
            backtracks: 100_000,
            backtracking_text_bytes: 8 << 10,
        }
    }
}

/// A compiled regular expression.
#[derive(Debug)]
pub(super) struct Pattern {
    engine: Engine,
    backtracking_text_bytes: usize,
}

#[derive(Debug)]
enum Engine {
    /// In linear time.
    Automaton(Automaton),
    /// With backtracking.
    Backtracking(Box<fancy_regex::Regex>),
    /// Boundaries of words mean the same in both for ASCII texts, so that most searches take linear time.
    Boundaries { ascii: Automaton, other: Box<fancy_regex::Regex> },
    /// Look-aheads at the start of the text and what follows them: each has to match, or must not.
    All(Box<[(Engine, bool)]>),
}

/// Three ways to one answer, the quickest first. One of them always has it.
#[derive(Debug)]
struct Automaton {
    shapes: Option<Shapes>,
    /// For texts of ASCII.
    table: Option<Table>,
    /// For all others, if there are any.
    regex: Option<regex::Regex>,
}

impl Pattern {
    /// Compiles a .NET pattern, or says why it cannot be used, without quoting it.
    pub(super) fn new(pattern: &str, limits: &RegexLimits) -> Result<Self, Fault> {
        if pattern.len() > limits.pattern_bytes {
            return Err("it is too long");
        }
        let tree = parse::parse(pattern)?;
        let engine = match Engine::all(&tree, limits) {
            Some(engine) => engine,
            None => Engine::new(&tree, limits)?,
        };
        Ok(Self { engine, backtracking_text_bytes: limits.backtracking_text_bytes })
    }

    /// Whether the pattern matches anywhere in `text`. `None` if that takes more than the limits allow.
    pub(super) fn is_match(&self, text: &str) -> Option<bool> {
        self.engine.is_match(text, self.backtracking_text_bytes)
    }
}

impl Engine {
    /// Look-aheads at the start apart from what follows them, if there are any and it can be done.
    fn all(tree: &Tree, limits: &RegexLimits) -> Option<Self> {
        let parts = split::at_start(tree)?;
        // Together they may take what one may.
        let limits = RegexLimits { program_bytes: limits.program_bytes / parts.len(), ..*limits };
        let engines = parts.iter().map(|(tree, wanted)| Some((Engine::new(tree, &limits).ok()?, *wanted)));
        engines.collect::<Option<Box<[_]>>>().map(Engine::All)
    }

    fn new(tree: &Tree, limits: &RegexLimits) -> Result<Self, Fault> {
        let automaton = |ascii| Automaton::new(&emit::emit(tree, Dialect::Automaton)?, limits, ascii);
        let backtracking = || backtracking(&emit::emit(tree, Dialect::Backtracking)?, limits);
        Ok(match emit::needs(&tree.node, true) {
            Needs { backtracking: true, .. } => Engine::Backtracking(backtracking()?),
            Needs { boundaries: true, .. } => {
                Engine::Boundaries { ascii: automaton(true)?, other: backtracking()? }
            }
            _ => Engine::Automaton(automaton(false)?),
        })
    }

    fn is_match(&self, text: &str, backtracking_text_bytes: usize) -> Option<bool> {
        match self {
            Engine::Automaton(automaton) => Some(automaton.is_match(text)),
            Engine::Boundaries { ascii, .. } if text.is_ascii() => Some(ascii.is_match(text)),
            Engine::Boundaries { other: regex, .. } | Engine::Backtracking(regex) => {
                if text.len() > backtracking_text_bytes {
                    return None;
                }
                regex.is_match(text).ok()
            }
            Engine::All(parts) => {
                for (engine, wanted) in parts {
                    if engine.is_match(text, backtracking_text_bytes)? != *wanted {
                        return Some(false);
                    }
                }
                Some(true)
            }
        }
    }
}

impl Automaton {
    /// `ascii`: no other texts will come.
    fn new(pattern: &str, limits: &RegexLimits, ascii: bool) -> Result<Self, Fault> {
        // What cannot be parsed here is refused below, with the right words.
        let parsed = regex_syntax::parse(pattern).ok();
        let shapes = parsed.as_ref().and_then(Shapes::of);
        if shapes.as_ref().is_some_and(Shapes::is_certain) {
            return Ok(Self { shapes, table: None, regex: None });
        }
        let table = parsed.and_then(|parsed| Table::of(&parsed, limits.table_bytes));
        let regex = if ascii && table.is_some() { None } else { Some(automaton(pattern, limits)?) };
        Ok(Self { shapes, table, regex })
    }

    fn is_match(&self, text: &str) -> bool {
        if let Some(found) = self.shapes.as_ref().and_then(|shapes| shapes.is_match(text)) {
            return found;
        }
        match &self.table {
            Some(table) if text.is_ascii() => table.is_match(text),
            _ => self.regex.as_ref().is_some_and(|regex| regex.is_match(text)),
        }
    }
}

fn automaton(pattern: &str, limits: &RegexLimits) -> Result<regex::Regex, Fault> {
    regex::RegexBuilder::new(pattern)
        .size_limit(limits.program_bytes)
        .dfa_size_limit(limits.states_bytes)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large",
            _ => "it is not supported",
        })
}

fn backtracking(pattern: &str, limits: &RegexLimits) -> Result<Box<fancy_regex::Regex>, Fault> {
    fancy_regex::RegexOptionsBuilder::new()
        .delegate_size_limit(limits.program_bytes)
        .delegate_dfa_size_limit(limits.states_bytes)
        .delegate_dfa_skip_cache_capacity_check(false)
        .max_prog_size(limits.program_bytes / 64)
        .backtrack_limit(limits.backtracks)
        .build(pattern.to_owned())
        .map(Box::new)
        .map_err(|_| "it is too large or not supported")
}
