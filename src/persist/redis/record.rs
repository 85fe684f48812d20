//! Records as the cluster keeps them: a head of fixed size, then the body. Which of two records is newer is decided by
//! the script `lua/write.lua`; this file only writes and parses them.
//!
//! Must not know what a body means.

use md5::{Digest, Md5};

use super::text::{hex64, hex64_signed, parse_hex64, parse_hex64_signed};

/// The format of a value, as its first byte.
const FORMAT: u8 = b'1';

/// Bytes of a head: format, stamp, removed, place, two versions, the hash of the body.
pub const HEAD_BYTES: usize = 1 + 16 + 1 + 8 + 16 + 16 + 16;

/// One flag, segment or removal, as other agents get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name in the cluster. It starts with the environment's id and a colon.
    pub field: Box<str>,
    /// Decides which of two records of one field is newer, in Unix milliseconds. Then a removal wins, then the greater
    /// bytes of the body.
    pub stamp_ms: i64,
    /// Whether this is a removal.
    pub removed: bool,
    /// The position within its environment. If two records are otherwise equal, the greater position stays.
    pub place: u32,
    /// The version that server SDKs get, in Unix milliseconds. It is raised, never lowered, while the record stays.
    pub version_ms: i64,
    /// The version that client SDKs get. Raised like `version_ms`.
    pub client_version_ms: i64,
    /// The JSON of the item; for a removal, when it was removed.
    pub body: Box<[u8]>,
}

impl Record {
    /// The memory that it takes, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.field.len() + self.body.len()
    }

    /// The value of its field.
    pub fn value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD_BYTES + self.body.len());
        Head::of(self).append(&mut value);
        value.extend_from_slice(&self.body);
        value
    }

    /// The record that is stored as `value`; `None` if it was not written by an agent.
    pub fn parse(field: &str, value: &[u8]) -> Option<Self> {
        let (head, body) = value.split_at_checked(HEAD_BYTES)?;
        let head = Head::parse(head)?;
        Some(Self {
            field: field.into(),
            stamp_ms: head.stamp_ms,
            removed: head.removed,
            place: head.place,
            version_ms: head.version_ms,
            client_version_ms: head.client_version_ms,
            body: body.into(),
        })
    }
}

/// What the mirror keeps of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// As in the record.
    pub stamp_ms: i64,
    /// As in the record.
    pub version_ms: i64,
    /// As in the record.
    pub client_version_ms: i64,
    /// The first 8 bytes of the body's MD5, big-endian. It finds differences; it proves nothing.
    pub body_hash: u64,
    /// As in the record.
    pub place: u32,
    /// As in the record.
    pub removed: bool,
}

impl Head {
    /// The head of a record.
    pub fn of(record: &Record) -> Self {
        let digest: [u8; 16] = Md5::digest(&record.body).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self {
            stamp_ms: record.stamp_ms,
            version_ms: record.version_ms,
            client_version_ms: record.client_version_ms,
            body_hash: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            place: record.place,
            removed: record.removed,
        }
    }

    fn append(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(hex64_signed(self.stamp_ms).as_bytes());
        out.push(if self.removed { b'1' } else { b'0' });
        out.extend_from_slice(format!("{:08x}", self.place).as_bytes());
        out.extend_from_slice(hex64_signed(self.version_ms).as_bytes());
        out.extend_from_slice(hex64_signed(self.client_version_ms).as_bytes());
        out.extend_from_slice(hex64(self.body_hash).as_bytes());
    }

    /// The head that these bytes are; `None` if they are something else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.try_into().ok()?;
        let (format, rest) = bytes.split_first()?;
        let (stamp, rest) = rest.split_at_checked(16)?;
        let (removed, rest) = rest.split_first()?;
        let (place, rest) = rest.split_at_checked(8)?;
        let (version, rest) = rest.split_at_checked(16)?;
        let (client_version, body_hash) = rest.split_at_checked(16)?;
        if *format != FORMAT {
            return None;
        }
        Some(Self {
            stamp_ms: parse_hex64_signed(stamp)?,
            version_ms: parse_hex64_signed(version)?,
            client_version_ms: parse_hex64_signed(client_version)?,
            body_hash: parse_hex64(body_hash)?,
            place: parse_hex64(place)?.try_into().ok()?,
            removed: match removed {
                b'0' => false,
                b'1' => true,
                _ => return None,
            },
        })
    }

    /// Whether writing `own` over a record with this head certainly changes nothing.
    pub(super) fn covers(&self, own: &Self) -> bool {
        match (self.stamp_ms, self.removed).cmp(&(own.stamp_ms, own.removed)) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            // Which body is greater only the script can tell.
            std::cmp::Ordering::Equal => self.body_hash == own.body_hash && self.raised(own) == *self,
        }
    }

    /// This head with the versions of `other` where they are greater.
    pub(super) fn raised(&self, other: &Self) -> Self {
        Self {
            version_ms: self.version_ms.max(other.version_ms),
            client_version_ms: self.client_version_ms.max(other.client_version_ms),
            place: self.place.max(other.place),
            ..*self
        }
    }
}

/// What has no stamp of its own and is replaced as one: the list of environments, secrets and grace periods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The greater stamp wins: Unix milliseconds, then the instance that changed it. Of two with one stamp, the greater
    /// body wins.
    pub stamp: (i64, String),
    /// JSON that only its users understand.
    pub body: Vec<u8>,
    /// The ids of the environments. Records of others may be removed.
    pub environments: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::{HEAD_BYTES, Head, Record};
    use proptest::prelude::*;

    /// 10,000 records are 0.5 MB in the mirror with their hashes.
    #[test]
    fn a_head_in_the_mirror_takes_40_bytes() {
        assert_eq!(size_of::<Head>(), 40);
    }

    fn record() -> impl Strategy<Value = Record> {
        let numbers = (any::<i64>(), any::<bool>(), any::<u32>(), any::<i64>(), any::<i64>());
        (numbers, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(numbers, body)| Record {
            field: "e:f:1".into(),
            stamp_ms: numbers.0,
            removed: numbers.1,
            place: numbers.2,
            version_ms: numbers.3,
            client_version_ms: numbers.4,
            body: body.into(),
        })
    }

    proptest! {
        #[test]
        fn a_written_record_is_parsed_as_the_same(record in record()) {
            let value = record.value();
            prop_assert_eq!(value.len(), HEAD_BYTES + record.body.len());
            prop_assert_eq!(Head::parse(&value[..HEAD_BYTES]), Some(Head::of(&record)));
            prop_assert_eq!(Record::parse("e:f:1", &value), Some(record));
        }

        #[test]
        fn bytes_of_others_are_no_record(mut value in proptest::collection::vec(any::<u8>(), 0..90)) {
            if let Some(record) = Record::parse("f", &value) {
                prop_assert_eq!(record.value().len(), value.len());
            }
            value.truncate(HEAD_BYTES - 1);
            prop_assert_eq!(Record::parse("f", &value), None);
        }

        #[test]
        fn a_head_covers_itself_and_everything_older(one in record(), other in record()) {
            let (one, other) = (Head::of(&one), Head::of(&other));
            prop_assert!(one.covers(&one));
            let older = Head { stamp_ms: one.stamp_ms.saturating_sub(1), ..other };
            prop_assert!(older.stamp_ms == one.stamp_ms || one.covers(&older));
            prop_assert!(one.raised(&other).covers(&one));
        }
    }

    #[test]
    fn a_value_has_its_documented_form() {
        let record = Record {
            field: "e:f:1".into(),
            stamp_ms: 1,
            removed: true,
            place: 255,
            version_ms: -1,
            client_version_ms: 0,
            body: b"a".as_slice().into(),
        };
        let text = String::from_utf8(record.value()).unwrap();
        let parts = ["1", "8000000000000001", "1", "000000ff", "7fffffffffffffff", "8000000000000000"];
        assert_eq!(text, format!("{}0cc175b9c0f1b6a8a", parts.concat()));
    }
}
