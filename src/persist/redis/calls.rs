//! One method for each script: runs it and parses its reply.
//!
//! Must not decide what follows from a reply, and must not trust it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use redis::{Cmd, ConnectionLike, ErrorKind, RedisError, ServerErrorKind, cmd};

use crate::model::stamp::Edition;

use super::record::{Record, Register};
use super::reply::{Forgotten, Page, Reply, Written, bytes, unexpected};
use super::scripts::{Keys, Script, Scripts};
use super::text;

/// How many heads are read at once.
pub(super) const PAGE: usize = 1024;

/// How many fields one step of a search looks at.
const SEARCH: usize = 1000;

/// How long Redis keeps an edition that an agent began to write and did not finish.
const STAGED_MS: u64 = 3_600_000;

/// Why a call was not carried out.
#[derive(Debug)]
pub(super) enum Problem {
    /// The connection or Redis, in answer to this command or script.
    Redis(&'static str, RedisError),
    /// A newer agent has written a format that this one does not know.
    Format(String),
    /// The worker is being stopped.
    Stopped,
}

/// What came of a call for an edition.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    Done(T),
    /// Redis has no data.
    Empty,
    /// Redis has a lower edition.
    Lower,
    /// Redis has this edition already.
    Equal,
    /// Redis has a higher edition.
    Higher,
    /// Redis has another edition or epoch than the one being read.
    Moved,
    /// Redis has dropped what was staged.
    Lost,
    /// The environment is in the register.
    Listed,
}

/// Runs scripts on one connection.
pub(super) struct Calls<'a> {
    pub connection: Box<dyn ConnectionLike + Send>,
    pub keys: &'a Keys,
    pub scripts: &'a Scripts,
    /// Counts the commands.
    pub commands: Arc<AtomicU64>,
}

impl Calls<'_> {
    /// Runs a script by its hash, or by its text if Redis does not know it (after a restart or SCRIPT FLUSH).
    fn run<T>(
        &mut self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
        parse: impl FnOnce(Reply) -> redis::RedisResult<T>,
    ) -> Result<Outcome<T>, Problem> {
        let command = |name: &str, script: &str| {
            let mut command = cmd(name);
            command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        let mut answer = self.query(&command("EVALSHA", &script.sha));
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            answer = self.query(&command("EVAL", &script.text));
        }
        let problem = |error| Problem::Redis(script.name, error);
        let mut reply = answer.and_then(Reply::new).map_err(problem)?;
        match reply.text().map_err(problem)?.as_str() {
            "done" => Ok(Outcome::Done(parse(reply).map_err(problem)?)),
            "empty" => Ok(Outcome::Empty),
            "lower" => Ok(Outcome::Lower),
            "equal" => Ok(Outcome::Equal),
            "higher" => Ok(Outcome::Higher),
            "moved" => Ok(Outcome::Moved),
            "lost" => Ok(Outcome::Lost),
            "listed" => Ok(Outcome::Listed),
            "format" => Err(Problem::Format(reply.text().map_err(problem)?)),
            _ => Err(problem(unexpected("an unknown outcome of a script"))),
        }
    }

    fn query(&mut self, command: &Cmd) -> redis::RedisResult<redis::Value> {
        self.commands.fetch_add(1, Relaxed);
        command.query(&mut *self.connection)
    }

    /// The state, and a page of heads after a sequence. Register and digests come only if their sequences have changed.
    pub fn read(&mut self, after: u64, register: u64, files: u64) -> Result<Outcome<Page>, Problem> {
        let (keys, scripts) = (self.keys, self.scripts);
        let numbers = [after, PAGE as u64, register, files].map(|number| number.to_string());
        let arguments = numbers.each_ref().map(|number| number.as_bytes());
        self.run(&scripts.read, &[&keys.meta, &keys.items, &keys.index, &keys.files], &arguments, Page::parse)
    }

    /// The values of these fields, in their order; nothing for one that is gone.
    pub fn values(
        &mut self,
        epoch: &str,
        edition: &Edition,
        fields: &[&str],
    ) -> Result<Outcome<Vec<Option<Vec<u8>>>>, Problem> {
        let (keys, scripts) = (self.keys, self.scripts);
        let edition = text::edition(edition);
        let mut arguments = vec![epoch.as_bytes(), edition.as_bytes()];
        arguments.extend(fields.iter().map(|field| field.as_bytes()));
        self.run(&scripts.values, &[&keys.meta, &keys.items], &arguments, Reply::values)
    }

    /// Merges into the current edition.
    pub fn write(
        &mut self,
        edition: &Edition,
        instance: &str,
        records: &[Record],
        register: Option<&Register>,
        digests: &[String],
    ) -> Result<Outcome<Written>, Problem> {
        let (keys, scripts) = (self.keys, self.scripts);
        let edition = text::edition(edition);
        let [stamp, environments] = register.map(register_texts).unwrap_or_default();
        let body = register.map_or(&[][..], |register| &register.body);
        let count = digests.len().to_string();
        let has_register: &[u8] = if register.is_some() { b"1" } else { b"0" };
        let mut arguments = vec![
            edition.as_bytes(),
            instance.as_bytes(),
            keys.changes.as_bytes(),
            has_register,
            stamp.as_bytes(),
            body,
            environments.as_bytes(),
            count.as_bytes(),
        ];
        arguments.extend(digests.iter().map(|digest| digest.as_bytes()));
        let values: Vec<_> = records.iter().map(Record::value).collect();
        arguments.extend(pairs(records, &values));
        let keys = [&*keys.meta, &keys.items, &keys.index, &keys.files];
        self.run(&scripts.write, &keys, &arguments, Written::parse)
    }

    /// Writes records of an edition that is not yet the current one. Returns how many fields are new there, and the last
    /// sequence.
    pub fn stage(
        &mut self,
        edition: &Edition,
        staged: &[String; 2],
        after: u64,
        records: &[Record],
    ) -> Result<Outcome<(u64, u64)>, Problem> {
        let (keys, scripts) = (self.keys, self.scripts);
        let [items, index] = staged;
        let (edition, after, alive) = (text::edition(edition), after.to_string(), STAGED_MS.to_string());
        let values: Vec<_> = records.iter().map(Record::value).collect();
        let mut arguments = vec![edition.as_bytes(), after.as_bytes(), alive.as_bytes()];
        arguments.extend(pairs(records, &values));
        self.run(&scripts.stage, &[&keys.meta, items, index], &arguments, |mut reply| {
            Ok((reply.number()?, reply.number()?))
        })
    }

    /// Makes the staged edition the current one. Returns its epoch, its last sequence, and whether it was announced.
    pub fn open(
        &mut self,
        edition: &Edition,
        instance: &str,
        new_epoch: &str,
        staged: &Staged,
        register: &Register,
        digests: &[String],
    ) -> Result<Outcome<(String, u64, bool)>, Problem> {
        let (keys, scripts) = (self.keys, self.scripts);
        let edition = text::edition(edition);
        let [stamp, environments] = register_texts(register);
        let (count, last) = (staged.fields.to_string(), staged.last.to_string());
        let mut arguments: Vec<&[u8]> =
            [&*edition, instance, &keys.changes, new_epoch, &count, &last, &stamp]
                .map(str::as_bytes)
                .to_vec();
        arguments.push(&register.body);
        arguments.push(environments.as_bytes());
        arguments.extend(digests.iter().map(|digest| digest.as_bytes()));
        let [items, index] = &staged.keys;
        let keys = [&*keys.meta, &keys.items, &keys.index, &keys.files, items, index];
        self.run(&scripts.open, &keys, &arguments, |mut reply| {
            Ok((reply.text()?, reply.number()?, reply.number()? == 1))
        })
    }

    /// Removes tombstones, given as field and stamp, that are still the same.
    pub fn forget(
        &mut self,
        edition: &Edition,
        tombstones: &[(Box<str>, i64)],
    ) -> Result<Outcome<Forgotten>, Problem> {
        let (keys, scripts) = (self.keys, self.scripts);
        let edition = text::edition(edition);
        let stamps: Vec<_> = tombstones.iter().map(|(_, stamp_ms)| text::hex64_signed(*stamp_ms)).collect();
        let mut arguments = vec![edition.as_bytes()];
        for ((field, _), stamp) in tombstones.iter().zip(&stamps) {
            arguments.extend([field.as_bytes(), stamp.as_bytes()]);
        }
        self.run(&scripts.forget, &[&keys.meta, &keys.items, &keys.index], &arguments, Forgotten::parse)
    }

    /// Removes these records of an environment, unless the register lists it.
    pub fn remove_environment(
        &mut self,
        edition: &Edition,
        environment: &str,
        fields: &[Box<str>],
    ) -> Result<Outcome<Forgotten>, Problem> {
        let (keys, scripts) = (self.keys, self.scripts);
        let edition = text::edition(edition);
        let mut arguments = vec![edition.as_bytes(), environment.as_bytes()];
        arguments.extend(fields.iter().map(|field| field.as_bytes()));
        let keys = [&*keys.meta, &keys.items, &keys.index];
        self.run(&scripts.remove_environment, &keys, &arguments, Forgotten::parse)
    }

    /// One step of a search for the fields of an environment. Returns where to go on (0 at the end), and fields.
    pub fn search(&mut self, environment: &str, cursor: u64) -> Result<(u64, Vec<Box<str>>), Problem> {
        let mut pattern = String::new();
        for character in environment.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push_str(":*");
        let mut command = cmd("ZSCAN");
        command.arg(&self.keys.index).arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SEARCH);
        let parse = |mut reply: Reply| {
            let cursor = reply.number()?;
            let found = reply.list()?.into_iter().step_by(2);
            let fields = found.filter_map(|field| String::from_utf8(bytes(field).ok()?).ok());
            Ok((cursor, fields.map(Into::into).collect()))
        };
        let answer = self.query(&command).and_then(Reply::new).and_then(parse);
        answer.map_err(|error| Problem::Redis("ZSCAN", error))
    }
}

/// An edition that was written and is not yet the current one.
#[derive(Debug)]
pub(super) struct Staged {
    pub keys: [String; 2],
    /// How many fields it has.
    pub fields: u64,
    /// The sequence of its last record.
    pub last: u64,
}

fn pairs<'a>(records: &'a [Record], values: &'a [Vec<u8>]) -> impl Iterator<Item = &'a [u8]> {
    records.iter().zip(values).flat_map(|(record, value)| [record.field.as_bytes(), value.as_slice()])
}

/// The stamp and the environments of a register, as Redis keeps them.
fn register_texts(register: &Register) -> [String; 2] {
    let (ms, instance) = &register.stamp;
    let environments = serde_json::to_string(&register.environments);
    [text::stamp(*ms, instance), environments.unwrap_or_else(|_| "[]".to_owned())]
}
