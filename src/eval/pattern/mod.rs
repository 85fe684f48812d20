//! Regular expressions as .NET means them, on Rust's engines.
//!
//! Must not run for long, whatever the pattern and the text: programs are bounded in size, searches in steps. A
//! pattern is parsed as .NET parses it and written anew for the engine that can run it: `regex`, whose time is
//! linear, or `fancy-regex` for what takes backtracking.
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
mod syntax;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

use emit::{Dialect, Needs};
use parse::Fault;

/// Bounds on what a regular expression may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegexLimits {
    /// Longest pattern that is compiled, in bytes.
    pub pattern_bytes: usize,
    /// Largest compiled program, in bytes. `\d{1000}` takes 6 MB, since there are hundreds of decimal digits.
    pub program_bytes: usize,
    /// What one thread may keep of one pattern's states once it has searched, in bytes.
    pub states_bytes: usize,
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
    Automaton(regex::Regex),
    /// With backtracking.
    Backtracking(Box<fancy_regex::Regex>),
    /// Boundaries of words mean the same in both for ASCII texts, so that most searches take linear time.
    Boundaries { ascii: regex::Regex, other: Box<fancy_regex::Regex> },
}

impl Pattern {
    /// Compiles a .NET pattern, or says why it cannot be used, without quoting it.
    pub(super) fn new(pattern: &str, limits: &RegexLimits) -> Result<Self, Fault> {
        if pattern.len() > limits.pattern_bytes {
            return Err("it is too long");
        }
        let tree = parse::parse(pattern)?;
        let needs = emit::needs(&tree.node, true);
        let automaton = || automaton(&emit::emit(&tree, Dialect::Automaton)?, limits);
        let backtracking = || backtracking(&emit::emit(&tree, Dialect::Backtracking)?, limits);
        let engine = match needs {
            Needs { backtracking: true, .. } => Engine::Backtracking(backtracking()?),
            Needs { boundaries: true, .. } => {
                Engine::Boundaries { ascii: automaton()?, other: backtracking()? }
            }
            _ => Engine::Automaton(automaton()?),
        };
        Ok(Self { engine, backtracking_text_bytes: limits.backtracking_text_bytes })
    }

    /// Whether the pattern matches anywhere in `text`. `None` if that takes more than the limits allow.
    pub(super) fn is_match(&self, text: &str) -> Option<bool> {
        match &self.engine {
            Engine::Automaton(regex) => Some(regex.is_match(text)),
            Engine::Boundaries { ascii, .. } if text.is_ascii() => Some(ascii.is_match(text)),
            Engine::Boundaries { other: regex, .. } | Engine::Backtracking(regex) => {
                if text.len() > self.backtracking_text_bytes {
                    return None;
                }
                regex.is_match(text).ok()
            }
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
