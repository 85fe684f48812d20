//! Regular expressions with .NET's semantics, on Rust's engines.
//!
//! Must not run for long, whatever the pattern and the text: programs are limited in size, searches in steps. A pattern is
//! parsed as in .NET and translated for an engine: `regex-automata`, which takes linear time, or `fancy-regex` if it needs
//! backtracking. Two faster ways cover most patterns and texts: [`shape`] for patterns that are little more than texts,
//! [`table`] for ASCII texts.
//!
//! Deliberate differences from .NET: a character is a Unicode scalar value, not a UTF-16 unit (`.`
//! matches a whole `😀`); letters are matched regardless of case by Unicode's simple case folding, not by .NET's own
//! table; balancing groups, back-references to one of several groups, halves of surrogate pairs and conditions that
//! capture are not supported.

mod blocks;
mod class;
mod emit;
mod escape;
mod group;
mod parse;
mod shape;
mod slots;
mod split;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;

use regex_automata::meta;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};

use emit::{Dialect, Needs};
use parse::PatternError;
use shape::Shapes;
use syntax::Tree;
use table::Table;
pub use usage::PatternUsage;

/// Memory of a pattern in addition to its states, in bytes.
const PATTERN_BYTES: usize = 8 << 10;

/// Memory of `fancy-regex`: a multiple of the states of an automaton for everything that it delegates, plus bytes for each
/// look-around and boundary. Measured with patterns that need much memory; most need a tenth of that.
const DELEGATED_FACTOR: usize = 5;
const LOOK_BYTES: usize = 12 << 10;
const BOUNDARY_BYTES: usize = 32 << 10;

/// The error of a pattern that is larger than [`RegexLimits::program_bytes`].
pub(super) const TOO_LARGE: PatternError = "it is too large, see Limits__RegexProgramBytes";

/// Limits of regular expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegexLimits {
    /// Longest pattern that is compiled, in bytes.
    pub pattern_bytes: usize,
    /// Largest compiled program, in bytes. `\d{1000}` takes 6 MB, since there are hundreds of decimal digits.
    pub program_bytes: usize,
    /// All compiled programs together, in bytes. While data is being replaced, the old ones may take as much again.
    pub total_bytes: usize,
    /// Memory of one pattern's states that one thread may keep after a search, in bytes.
    pub states_bytes: usize,
    /// Largest table of states for ASCII texts, in bytes; patterns that need a larger one have none.
    pub table_bytes: usize,
    /// Backtracking steps after which a search is stopped.
    pub backtracks: usize,
    /// Longest text that is searched with backtracking, in bytes.
    pub backtracking_text_bytes: usize,
}

impl Default for RegexLimits {
    /// At most some 100 ms to compile a pattern and a few milliseconds to search with one.
    fn default() -> Self {
        Self {
            pattern_bytes: 16 << 10,
            program_bytes: 10 << 20,
            total_bytes: 256 << 20,
            states_bytes: 256 << 10,
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
    bytes: usize,
    usage: Arc<PatternUsage>,
}

#[derive(Debug)]
enum Engine {
    /// In linear time.
    Automaton(Automaton),
    /// With backtracking.
    Backtracking(Backtracking),
    /// Word boundaries mean the same in both engines for ASCII texts, so that most searches take linear time.
    Boundaries { ascii: Automaton, other: Backtracking },
    /// Look-aheads at the start of the text and what follows them: each must match, or must not match.
    All(Box<[(Engine, bool)]>),
}

/// Three ways to search, the fastest first. One of them always has an answer.
#[derive(Debug)]
struct Automaton {
    shapes: Option<Shapes>,
    /// For ASCII texts.
    table: Option<Table>,
    /// For all others, if there are any.
    regex: Option<meta::Regex>,
}

/// A search that goes back.
#[derive(Debug)]
struct Backtracking {
    regex: Box<fancy_regex::Regex>,
    /// Its memory, at most.
    bytes: usize,
}

impl Pattern {
    /// Compiles a .NET pattern, or says why it cannot be used, without quoting it.
    pub(super) fn new(
        pattern: &str,
        limits: &RegexLimits,
        usage: &Arc<PatternUsage>,
    ) -> Result<Self, PatternError> {
        if pattern.len() > limits.pattern_bytes {
            return Err("it is too long");
        }
        let tree = parse::parse(pattern)?;
        let engine = match Engine::all(&tree, limits) {
            Some(engine) => engine,
            None => Engine::new(&tree, limits)?,
        };
        let bytes = engine.bytes() + PATTERN_BYTES;
        usage.taken(bytes);
        let usage = usage.clone();
        Ok(Self { engine, backtracking_text_bytes: limits.backtracking_text_bytes, bytes, usage })
    }

    /// Memory of the program in bytes, as far as it can be measured.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the pattern matches anywhere in `text`. `None` if that takes more than the limits allow.
    pub(super) fn is_match(&self, text: &str) -> Option<bool> {
        let found = self.engine.is_match(text, self.backtracking_text_bytes);
        if found.is_none() {
            self.usage.count_given_up();
        }
        found
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        self.usage.given_back(self.bytes);
    }
}

impl Engine {
    /// Separates look-aheads at the start from the rest of the pattern, if there are any and it is possible.
    fn all(tree: &Tree, limits: &RegexLimits) -> Option<Self> {
        let parts = split::at_start(tree)?;
        // Together they may take what one may.
        let limits = RegexLimits { program_bytes: limits.program_bytes / parts.len(), ..*limits };
        let engines = parts.iter().map(|(tree, wanted)| Some((Engine::new(tree, &limits).ok()?, *wanted)));
        engines.collect::<Option<Box<[_]>>>().map(Engine::All)
    }

    fn new(tree: &Tree, limits: &RegexLimits) -> Result<Self, PatternError> {
        let automaton = |ascii| Automaton::new(&emit::emit(tree, Dialect::Automaton)?, limits, ascii);
        let needs = emit::needs(&tree.node, true);
        let backtracking = || Backtracking::new(tree, &needs, limits);
        Ok(match needs {
            Needs { looks: 1.., .. } => Engine::Backtracking(backtracking()?),
            Needs { boundaries: 1.., .. } => {
                Engine::Boundaries { ascii: automaton(true)?, other: backtracking()? }
            }
            _ => Engine::Automaton(automaton(false)?),
        })
    }

    fn is_match(&self, text: &str, backtracking_text_bytes: usize) -> Option<bool> {
        match self {
            Engine::Automaton(automaton) => Some(automaton.is_match(text)),
            Engine::Boundaries { ascii, .. } if text.is_ascii() => Some(ascii.is_match(text)),
            Engine::Boundaries { other: Backtracking { regex, .. }, .. }
            | Engine::Backtracking(Backtracking { regex, .. }) => {
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

    fn bytes(&self) -> usize {
        match self {
            Engine::Automaton(automaton) => automaton.bytes(),
            Engine::Backtracking(backtracking) => backtracking.bytes,
            Engine::Boundaries { ascii, other } => ascii.bytes() + other.bytes,
            Engine::All(parts) => parts.iter().map(|(engine, _)| engine.bytes()).sum(),
        }
    }
}

impl Automaton {
    /// `ascii`: only ASCII texts will be searched.
    fn new(pattern: &str, limits: &RegexLimits, ascii: bool) -> Result<Self, PatternError> {
        // A parse error is reported below.
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

    fn bytes(&self) -> usize {
        self.shapes.as_ref().map_or(0, Shapes::memory_bytes)
            + self.table.as_ref().map_or(0, Table::memory_bytes)
            + self.regex.as_ref().map_or(0, meta::Regex::memory_usage)
    }
}

impl Backtracking {
    fn new(tree: &Tree, needs: &Needs, limits: &RegexLimits) -> Result<Self, PatternError> {
        let bytes = delegated_bytes(&emit::emit(tree, Dialect::Delegated)?, needs, limits)?;
        let regex = backtracking(&emit::emit(tree, Dialect::Backtracking)?, limits)?;
        Ok(Self { regex, bytes })
    }
}

/// An automaton that finds whether there is a match, without what is only needed to find where.
fn automaton(pattern: &str, limits: &RegexLimits) -> Result<meta::Regex, PatternError> {
    let config = meta::Config::new()
        .nfa_size_limit(Some(limits.program_bytes))
        .hybrid_cache_capacity(limits.states_bytes)
        .which_captures(WhichCaptures::None)
        .onepass(false);
    meta::Builder::new().configure(config).build(pattern).map_err(|error| match error.size_limit() {
        Some(_) => TOO_LARGE,
        None => "it is not supported",
    })
}

/// The most memory that `fancy-regex` will take for a pattern, given as one automaton of everything that it delegates.
fn delegated_bytes(pattern: &str, needs: &Needs, limits: &RegexLimits) -> Result<usize, PatternError> {
    let beside = needs.looks * LOOK_BYTES + needs.boundaries * BOUNDARY_BYTES;
    let left = limits.program_bytes.checked_sub(beside).ok_or(TOO_LARGE)? / DELEGATED_FACTOR;
    let config = thompson::Config::new().nfa_size_limit(Some(left)).which_captures(WhichCaptures::None);
    match NFA::compiler().configure(config).build(pattern) {
        Ok(automaton) => Ok(beside + automaton.memory_usage() * DELEGATED_FACTOR),
        Err(error) if error.size_limit().is_some() => Err(TOO_LARGE),
        Err(_) => Err("it is not supported"),
    }
}

fn backtracking(pattern: &str, limits: &RegexLimits) -> Result<Box<fancy_regex::Regex>, PatternError> {
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
