//! Bytes on their way out, shared by reference between connections and snapshots.
//!
//! Must not copy shared bytes, and knows nothing of HTTP, WebSocket or sockets. Each connection keeps its own offset in a
//! [`Payload`], so that many connections can send the same one.

use std::io::IoSlice;
use std::sync::Arc;

/// Immutable output that is cheap to clone: a clone is a reference.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Constant bytes, such as the pong message.
    Static(&'static [u8]),
    /// One run of bytes that many connections share, such as the frame of a pushed flag.
    Shared(Arc<[u8]>),
    /// Several shared runs that are sent one after the other, such as the chunks of a large full payload.
    Parts(Arc<Parts>),
    /// Bytes for one connection only, such as the evaluated flags of a user. They count as private memory.
    Private(Arc<Vec<u8>>),
}

/// Several runs of bytes and the sum of their lengths.
#[derive(Debug)]
pub struct Parts {
    runs: Box<[Arc<[u8]>]>,
    len: usize,
}

impl Parts {
    /// The given runs, in order.
    pub fn new(runs: Vec<Arc<[u8]>>) -> Self {
        let len = runs.iter().map(|run| run.len()).sum();
        Self { runs: runs.into_boxed_slice(), len }
    }
}

impl Payload {
    /// A payload that belongs to one connection only.
    pub fn private(bytes: Vec<u8>) -> Self {
        Payload::Private(Arc::new(bytes))
    }

    /// Bytes in total.
    pub fn len(&self) -> usize {
        match self {
            Payload::Static(bytes) => bytes.len(),
            Payload::Shared(bytes) => bytes.len(),
            Payload::Parts(parts) => parts.len,
            Payload::Private(bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that no other connection shares, in bytes: the cost of this payload while a slow reader holds it.
    pub fn private_bytes(&self) -> usize {
        match self {
            Payload::Private(bytes) => bytes.capacity(),
            _ => 0,
        }
    }

    /// The bytes from `offset` on, if the payload is one run.
    pub fn run(&self, offset: usize) -> Option<&[u8]> {
        match self {
            Payload::Static(bytes) => bytes.get(offset..),
            Payload::Shared(bytes) => bytes.get(offset..),
            Payload::Private(bytes) => bytes.get(offset..),
            Payload::Parts(_) => None,
        }
    }

    /// Fills `into` with the runs of bytes from `offset` on, as far as there is room. Returns how many slices were filled.
    pub fn slices<'a>(&'a self, offset: usize, into: &mut [IoSlice<'a>]) -> usize {
        let single = |bytes: &'a [u8], into: &mut [IoSlice<'a>]| {
            if offset >= bytes.len() || into.is_empty() {
                return 0;
            }
            into[0] = IoSlice::new(&bytes[offset..]);
            1
        };
        match self {
            Payload::Static(bytes) => single(bytes, into),
            Payload::Shared(bytes) => single(bytes, into),
            Payload::Private(bytes) => single(bytes, into),
            Payload::Parts(parts) => {
                let mut skip = offset;
                let mut filled = 0;
                for run in &parts.runs {
                    if skip >= run.len() {
                        skip -= run.len();
                        continue;
                    }
                    if filled == into.len() {
                        break;
                    }
                    into[filled] = IoSlice::new(&run[skip..]);
                    filled += 1;
                    skip = 0;
                }
                filled
            }
        }
    }

    /// The whole payload as one vector. For tests and for slow paths such as compression.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Payload::Static(bytes) => bytes.to_vec(),
            Payload::Shared(bytes) => bytes.to_vec(),
            Payload::Private(bytes) => bytes.to_vec(),
            Payload::Parts(parts) => parts.runs.concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(payload: &Payload, offset: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 2];
        let mut out = Vec::new();
        let mut at = offset;
        loop {
            let filled = payload.slices(at, &mut slices);
            if filled == 0 {
                return out;
            }
            for slice in &slices[..filled] {
                out.extend_from_slice(slice);
                at += slice.len();
            }
        }
    }

    #[test]
    fn every_form_yields_its_bytes_from_any_offset() {
        let text = b"0123456789";
        let parts = vec![
            Arc::from(&text[..3]),
            Arc::from(&text[3..3]),
            Arc::from(&text[3..9]),
            Arc::from(&text[9..]),
        ];
        let forms = [
            Payload::Static(text),
            Payload::Shared(Arc::from(&text[..])),
            Payload::private(text.to_vec()),
            Payload::Parts(Arc::new(Parts::new(parts))),
        ];
        for form in forms {
            assert_eq!(form.len(), 10);
            assert_eq!(form.to_vec(), text);
            for offset in 0..=10 {
                assert_eq!(collect(&form, offset), &text[offset..]);
                assert!(form.run(offset).is_none_or(|run| *run == text[offset..]));
            }
        }
    }
}
