//! The measured operations, by name, and the reference of each.

mod events;
mod restart;

use std::hint::black_box;
use std::rc::Rc;

use featbit_agent::eval::{Flag, Segments};
use featbit_agent::model::dataset::Dataset;
use featbit_agent::model::parse::DatasetText;
use featbit_agent::model::user::User;
use featbit_agent::store::{Moment, Writer, WriterOptions};
use md5::{Digest, Md5};

use crate::fixtures::{dump, flags};

/// Something that is measured.
pub trait Work {
    /// How many operations [`Work::run`] carries out.
    fn operations(&self) -> u32;
    /// Gets ready for the next run; not measured.
    fn prepare(&mut self) {}
    /// What is measured.
    fn run(&mut self);
}

/// A cost, its yardstick, and how many times the yardstick it may be at most.
pub struct Pair {
    pub name: &'static str,
    pub beside: &'static str,
    goal: Option<f64>,
}

impl Pair {
    /// What is to be said of a ratio.
    pub fn verdict(&self, ratio: f64) -> String {
        match self.goal {
            None => String::new(),
            Some(goal) if ratio <= goal => format!("(at most {goal:.4})"),
            Some(goal) => format!("(at most {goal:.4}: MISSED)"),
        }
    }
}

const MD5: &str = "MD5 of the dispatch key";
const THIRD: Option<f64> = Some(1.0 / 3.0);

const fn pair(name: &'static str, beside: &'static str, goal: Option<f64>) -> Pair {
    Pair { name, beside, goal }
}

const TAPE: &str = "simd-json's tape of the dump";

/// Which operation is compared with which.
pub const PAIRS: [Pair; 17] = [
    pair("rollout", MD5, Some(1.5)),
    pair("rollout with experiment", MD5, None),
    pair("no rollout", MD5, THIRD),
    pair("Equal", MD5, THIRD),
    pair("number", MD5, THIRD),
    pair("target of 1,000", MD5, THIRD),
    pair("segment of 100,001", MD5, THIRD),
    pair(CROWD, MD5, None),
    pair("regex", MD5, THIRD),
    pair("regex with a class", MD5, THIRD),
    pair("regex with look-ahead", MD5, THIRD),
    pair("client payload of 1,000 flags", "serde_json of the decided flags", Some(1.0)),
    pair("patch of one flag among 10,000", "build of 10,000 flags", Some(1.0 / 300.0)),
    pair("dump of 10,000 flags to a snapshot", TAPE, Some(4.0)),
    pair("backup file of 10,000 flags to a full", TAPE, Some(3.0)),
    pair(events::SPLIT, events::CHECK, None),
    pair(events::PSEUDONYMIZE, events::SPLIT, None),
];

/// The same for other users each time, so that the data is not in the caches.
const CROWD: &str = "segment of 100,001, 20,000 users in turn";

/// The operation of that name.
pub fn make(name: &str) -> Box<dyn Work> {
    match name {
        MD5 => {
            let text = format!("{}{}", flags::KEY, flags::user().key_id());
            repeated(10_000, move || {
                black_box(Md5::digest(black_box(&text)));
            })
        }
        CROWD => {
            let (flag, segments) = kind("segment of 100,001");
            let (users, mut next) = (flags::crowd(), 0);
            repeated(20_000, move || {
                next = (next + 1) % users.len();
                black_box(black_box(&flag).evaluate(&users[next], black_box(&segments)));
            })
        }
        "client payload of 1,000 flags" => {
            let user = flags::user();
            let (compiled, _) = flags::thousand_compiled(&user);
            repeated(10, move || drop(black_box(flags::assemble(black_box(&compiled), black_box(&user)))))
        }
        "serde_json of the decided flags" => {
            let (_, decided) = flags::thousand_compiled(&flags::user());
            repeated(10, move || drop(black_box(serde_json::to_vec(black_box(&decided)))))
        }
        "patch of one flag among 10,000" => Box::new(Patches::new()),
        "build of 10,000 flags" => Box::new(Build::new()),
        "dump of 10,000 flags to a snapshot" => {
            Box::new(Load { dump: dump::dump().into(), bytes: None, made: None })
        }
        "backup file of 10,000 flags to a full" => Box::new(restart::Restart::new()),
        events::CHECK => events::check(),
        events::SPLIT => events::split(),
        events::PSEUDONYMIZE => events::pseudonymize(),
        TAPE => Box::new(Tape { dump: dump::dump().into(), bytes: Vec::new() }),
        name => {
            let (user, (flag, segments)): (User, _) = (flags::user(), kind(name));
            repeated(10_000, move || {
                black_box(black_box(&flag).evaluate(black_box(&user), black_box(&segments)));
            })
        }
    }
}

fn kind(name: &str) -> (Flag, Segments) {
    let (kinds, segments) = flags::kinds(&flags::user());
    let flag = kinds.into_iter().find(|(known, _)| *known == name);
    (flag.unwrap_or_else(|| panic!("there is no operation `{name}`")).1, segments)
}

struct Repeated<F>(u32, F);

impl<F: FnMut()> Work for Repeated<F> {
    fn operations(&self) -> u32 {
        self.0
    }
    fn run(&mut self) {
        for _ in 0..self.0 {
            (self.1)();
        }
    }
}

fn repeated(times: u32, operation: impl FnMut() + 'static) -> Box<dyn Work> {
    Box::new(Repeated(times, operation))
}

/// From the dump's bytes to a served snapshot.
struct Load {
    dump: Rc<str>,
    bytes: Option<Vec<u8>>,
    made: Option<(DatasetText, Writer)>,
}

impl Work for Load {
    fn operations(&self) -> u32 {
        1
    }
    fn prepare(&mut self) {
        self.made = None;
        self.bytes = Some(self.dump.as_bytes().to_vec());
    }
    fn run(&mut self) {
        self.made = self.bytes.take().map(dump::load);
    }
}

/// What simd-json alone does with the same bytes.
struct Tape {
    dump: Rc<str>,
    bytes: Vec<u8>,
}

impl Work for Tape {
    fn operations(&self) -> u32 {
        1
    }
    fn prepare(&mut self) {
        self.bytes = self.dump.as_bytes().to_vec();
    }
    fn run(&mut self) {
        black_box(dump::tape(&mut self.bytes));
    }
}

/// From the parsed dump to a served snapshot.
struct Build {
    dataset: Dataset<'static>,
    made: Option<Writer>,
}

impl Build {
    fn new() -> Self {
        // Once a process: the dataset borrows from its text.
        let text = Box::leak(Box::new(DatasetText::new(dump::dump().into_bytes())));
        Self {
            dataset: text.parse().unwrap_or_else(|fault| panic!("the dump is valid: {fault:?}")),
            made: None,
        }
    }
}

impl Work for Build {
    fn operations(&self) -> u32 {
        1
    }
    fn prepare(&mut self) {
        self.made = None;
    }
    fn run(&mut self) {
        let mut writer = Writer::new(WriterOptions::default());
        black_box(writer.replace(&self.dataset, Moment::default()).change.is_some());
        self.made = Some(writer);
    }
}

/// Newer versions of one flag after the other, each parsed, compiled, encoded and published.
struct Patches {
    writer: Writer,
    made: i64,
    raw: Vec<String>,
}

impl Patches {
    fn new() -> Self {
        let (_, writer) = dump::load(dump::dump().into_bytes());
        dump::ask_for_full(&writer);
        Self { writer, made: 0, raw: Vec::new() }
    }
}

impl Work for Patches {
    fn operations(&self) -> u32 {
        100
    }
    fn prepare(&mut self) {
        self.raw = (0..self.operations() as usize)
            .map(|number| {
                self.made += 1;
                dump::flag(number * 97, dump::BORN_MS + 1_000_000 + self.made)
            })
            .collect();
    }
    fn run(&mut self) {
        for raw in &self.raw {
            dump::upsert(&mut self.writer, raw);
        }
    }
}
