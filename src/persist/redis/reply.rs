//! Replies of the scripts, parsed.
//!
//! Must not trust them: Redis may hold what somebody else wrote.

use redis::{ErrorKind, RedisError, RedisResult, Value};

use crate::model::stamp::Edition;

use super::record::{Head, Register};
use super::text;

/// The error for a reply that no script gives.
pub(super) fn unexpected(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, what))
}

/// The bytes of a value.
pub(super) fn bytes(value: Value) -> RedisResult<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        _ => Err(unexpected("a reply without the text that belongs there")),
    }
}

/// The rest of a list in a reply.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    pub fn new(value: Value) -> RedisResult<Self> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(unexpected("a reply that is not a list")),
        }
    }

    fn next(&mut self) -> RedisResult<Value> {
        self.0.next().ok_or_else(|| unexpected("a reply that is too short"))
    }

    pub fn bytes(&mut self) -> RedisResult<Vec<u8>> {
        bytes(self.next()?)
    }

    pub fn text(&mut self) -> RedisResult<String> {
        String::from_utf8(self.bytes()?).map_err(|_| unexpected("a reply with bytes that are no text"))
    }

    pub fn number(&mut self) -> RedisResult<u64> {
        self.text()?.parse().map_err(|_| unexpected("a reply without the number that belongs there"))
    }

    /// A list; empty if there is none.
    pub fn list(&mut self) -> RedisResult<Vec<Value>> {
        match self.next()? {
            Value::Array(values) => Ok(values),
            Value::Nil => Ok(Vec::new()),
            _ => Err(unexpected("a reply without the list that belongs there")),
        }
    }

    /// The rest, as bytes or nothing.
    pub fn values(self) -> RedisResult<Vec<Option<Vec<u8>>>> {
        let one = |value| if matches!(value, Value::Nil) { Ok(None) } else { bytes(value).map(Some) };
        self.0.map(one).collect()
    }
}

/// The state of the cluster, and the heads of a page of records.
#[derive(Debug)]
pub(super) struct Page {
    pub meta: Meta,
    /// How many records Redis has.
    pub count: u64,
    /// How many records this page is about, unreadable ones too.
    pub rows: usize,
    /// The sequence of the last one.
    pub last: Option<u64>,
    /// The register, if it has changed since the caller read it.
    pub register: Option<Register>,
    /// The digests, if they have changed since the caller read them.
    pub digests: Vec<String>,
    pub heads: Vec<Found>,
    /// Records that no agent has written.
    pub unreadable: u64,
}

/// The state of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Another one when Redis was emptied.
    pub epoch: String,
    /// `None` if it cannot be read: it then counts as lower than all.
    pub edition: Option<Edition>,
    /// The last one given.
    pub sequence: u64,
    pub register_sequence: u64,
    pub files_sequence: u64,
    /// How many records were removed as no longer needed.
    pub forgotten: u64,
}

/// A record of a page.
#[derive(Debug)]
pub(super) struct Found {
    pub field: String,
    pub head: Head,
    pub bytes: usize,
}

impl Page {
    pub fn parse(mut reply: Reply) -> RedisResult<Self> {
        let meta = Meta {
            epoch: reply.text()?,
            edition: text::parse_edition(&reply.bytes()?),
            sequence: reply.number()?,
            register_sequence: reply.number()?,
            files_sequence: reply.number()?,
            forgotten: reply.number()?,
        };
        let count = reply.number()?;
        let rows = usize::try_from(reply.number()?).unwrap_or(usize::MAX);
        let last = match reply.next()? {
            Value::Nil => None,
            last => Some(parse_score(&bytes(last)?)?),
        };
        let register = parse_register(reply.list()?);
        let digests =
            reply.list()?.into_iter().filter_map(|digest| String::from_utf8(bytes(digest).ok()?).ok());
        let digests = digests.collect();
        let mut page = Self { meta, count, rows, last, register, digests, heads: Vec::new(), unreadable: 0 };
        let mut rows = reply.list()?.into_iter();
        while let (Some(field), Some(head), Some(size)) = (rows.next(), rows.next(), rows.next()) {
            match parse_row(field, head, size) {
                Some(found) => page.heads.push(found),
                None => page.unreadable += 1,
            }
        }
        Ok(page)
    }
}

/// A score is a sequence unless somebody else wrote it.
fn parse_score(text: &[u8]) -> RedisResult<u64> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.parse().map_err(|_| unexpected("an index with a score that is no sequence"))
}

fn parse_row(field: Value, head: Value, size: Value) -> Option<Found> {
    let field = String::from_utf8(bytes(field).ok()?).ok()?;
    let head = Head::parse(&bytes(head).ok()?)?;
    let size = std::str::from_utf8(&bytes(size).ok()?).ok()?.parse().ok()?;
    Some(Found { field, head, bytes: size })
}

fn parse_register(parts: Vec<Value>) -> Option<Register> {
    let mut parts = parts.into_iter().map_while(|part| bytes(part).ok());
    let (stamp, body, environments) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Register {
        stamp: text::parse_stamp(&stamp)?,
        body,
        environments: serde_json::from_slice(&environments).ok()?,
    })
}

/// What a write has changed.
#[derive(Debug)]
pub(super) struct Written {
    pub epoch: String,
    /// The last sequence before it.
    pub before: u64,
    /// The last sequence after it.
    pub last: u64,
    pub register_sequence: u64,
    pub files_sequence: u64,
    /// Whether the others could be told.
    pub announced: bool,
    /// For each record: `0` not stored, since Redis has a newer one; `1` stored; `2` only versions were raised; `3` Redis
    /// had the same.
    pub marks: Vec<u8>,
}

impl Written {
    pub fn parse(mut reply: Reply) -> RedisResult<Self> {
        Ok(Self {
            epoch: reply.text()?,
            before: reply.number()?,
            last: reply.number()?,
            register_sequence: reply.number()?,
            files_sequence: reply.number()?,
            announced: reply.number()? == 1,
            marks: reply.bytes()?,
        })
    }
}

/// What a removal of records that nobody needs has changed.
#[derive(Debug)]
pub(super) struct Forgotten {
    pub epoch: String,
    /// How many were removed before, ever.
    pub before: u64,
    pub after: u64,
    /// For each field: `1` if it was removed.
    pub marks: Vec<u8>,
}

impl Forgotten {
    pub fn parse(mut reply: Reply) -> RedisResult<Self> {
        Ok(Self {
            epoch: reply.text()?,
            before: reply.number()?,
            after: reply.number()?,
            marks: reply.bytes()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn page(heads: Vec<Value>) -> Vec<Value> {
        let mut values: Vec<_> =
            ["e", "8000000000000001:a", "7", "6", "5", "0", "3", "3", "7"].map(text).to_vec();
        values.push(Value::Array(["8000000000000002:b", "{}", r#"["x"]"#].map(text).to_vec()));
        values.extend([Value::Nil, Value::Array(heads)]);
        values
    }

    /// Any reply of few parts, some of them as the scripts give them.
    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[0-9]{1,3}", Just("8000000000000001:a".to_owned()), ".{0,20}"];
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<i64>().prop_map(Value::Int),
            any::<bool>().prop_map(Value::Boolean),
            text.prop_map(|text| Value::BulkString(text.into_bytes())),
            proptest::collection::vec(any::<u8>(), 0..80).prop_map(Value::BulkString),
        ];
        leaf.prop_recursive(3, 40, 14, |inner| proptest::collection::vec(inner, 0..14).prop_map(Value::Array))
    }

    proptest! {
        #[test]
        fn no_reply_makes_an_agent_panic(values in proptest::collection::vec(value(), 0..14)) {
            let reply = || Reply::new(Value::Array(values.clone())).unwrap();
            let _ = Written::parse(reply());
            let _ = Forgotten::parse(reply());
            let _ = reply().values();
            if let Ok(page) = Page::parse(reply()) {
                prop_assert!(values.len() >= 12);
                prop_assert!(page.heads.len() * 3 <= 40);
            }
        }
    }

    #[test]
    fn a_page_without_its_end_is_an_error_and_rows_of_others_are_left_out() {
        let head = format!("1{0}0{1:08x}{0}{0}{1:016x}", "8000000000000000", 1);
        let heads = vec![text("f"), text(&head), Value::Int(80), text("g"), text("junk"), Value::Int(4)];
        let whole = page(heads);
        for end in 0..whole.len() {
            assert!(Page::parse(Reply::new(Value::Array(whole[..end].to_vec())).unwrap()).is_err());
        }
        let page = Page::parse(Reply::new(Value::Array(whole)).unwrap()).unwrap();
        assert_eq!((page.heads.len(), page.unreadable, page.last), (1, 1, Some(7)));
        assert_eq!(page.heads[0].bytes, 80);
        assert_eq!(page.meta.edition, Some(Edition { opened_at_ms: 1, instance: "a".to_owned() }));
        assert_eq!(page.register.unwrap().environments, ["x"]);
    }
}
