//! The events of one call of an SDK, each with its own JSON text, unchanged.
//!
//! Must not know what an event says: `items` reads that.

use std::fmt;

use bytes::Bytes;

use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;

/// JSON texts of events, joined by commas: the content of a JSON array.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Events {
    text: Bytes,
    /// Where each event ends in `text`. The next one begins behind the comma that follows.
    ends: Vec<u32>,
}

impl Events {
    /// No events, with room for a text of so many bytes.
    pub fn builder(bytes: usize) -> EventsBuilder {
        EventsBuilder { text: Vec::with_capacity(bytes), ends: Vec::new() }
    }

    /// The events whose texts are at these places of `text`, which holds nothing else but one byte between two of them. The
    /// caller has verified that: as after [`Events::text`] and [`Events::ends`]. `None` if the places do not fit the text.
    pub fn from_parts(text: Bytes, ends: Vec<u32>) -> Option<Self> {
        let rises = ends.windows(2).all(|pair| pair[0].checked_add(1).is_some_and(|next| next < pair[1]));
        let first = ends.first().is_none_or(|&end| end > 0);
        let last = ends.last().map_or(0, |&end| end as usize);
        let separated = ends
            .split_last()
            .is_none_or(|(_, ends)| ends.iter().all(|&end| text.get(end as usize) == Some(&b',')));
        (rises && first && last == text.len() && separated).then_some(Self { text, ends })
    }

    /// All texts, joined by commas.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Where each event ends in [`Events::text`].
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text of each event.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = self.text.get(start..end as usize).unwrap_or_default();
            start = end as usize + 1;
            text
        })
    }

    /// The first `count` events and the others, without copying a text.
    pub fn split_at(&self, count: usize) -> (Self, Self) {
        let count = count.min(self.len());
        let (first, others) = self.ends.split_at(count);
        let Some(&end) = first.last() else { return (Self::default(), self.clone()) };
        let start = end + 1;
        let rest = if others.is_empty() { Bytes::new() } else { self.text.slice(start as usize..) };
        let others = others.iter().map(|end| end - start).collect();
        (
            Self { text: self.text.slice(..end as usize), ends: first.to_vec() },
            Self { text: rest, ends: others },
        )
    }
}

/// Shows how much there is, never what: events hold user data.
impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Events({} in {} bytes)", self.len(), self.text.len())
    }
}

/// Collects texts of events.
#[derive(Default)]
pub struct EventsBuilder {
    text: Vec<u8>,
    ends: Vec<u32>,
}

impl EventsBuilder {
    /// Adds the JSON text of one event. It must not be empty. Texts beyond 4 GiB together are left out.
    pub fn add(&mut self, text: &[u8]) {
        let start = self.text.len() + usize::from(!self.ends.is_empty());
        let Ok(end) = u32::try_from(start + text.len()) else { return };
        if start > self.text.len() {
            self.text.push(b',');
        }
        self.text.extend_from_slice(text);
        self.ends.push(end);
    }

    /// The events added.
    pub fn build(self) -> Events {
        Events { text: self.text.into(), ends: self.ends }
    }
}

/// Whether events are as the SDK sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Byte for byte as the SDK sent them.
    Raw,
    /// Without what identifies a user.
    Pseudonymized,
}

/// The events of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The environment, from the secret.
    pub environment: EnvironmentId,
    /// The secret that the call carried.
    pub secret: Secret,
    /// The kind of that secret.
    pub kind: SecretKind,
    /// Whether the events were changed.
    pub form: Form,
    /// When the call came, in Unix milliseconds.
    pub received_ms: i64,
    /// The events.
    pub events: Events,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(texts: &[String]) -> Events {
        let mut builder = Events::builder(0);
        texts.iter().for_each(|text| builder.add(text.as_bytes()));
        builder.build()
    }

    fn texts(events: &Events) -> Vec<String> {
        events.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn events_come_back_as_they_were_added_and_wherever_they_are_split(
            given in prop::collection::vec("[a-z,]{1,5}", 0..8),
            at in 0usize..10,
        ) {
            let all = events(&given);
            prop_assert_eq!(texts(&all), given.clone());
            let joined = given.join(",");
            prop_assert_eq!(&all.text()[..], joined.as_bytes());
            let again = Events::from_parts(all.text().clone(), all.ends().to_vec());
            prop_assert_eq!(again.as_ref(), Some(&all));
            let (first, others) = all.split_at(at);
            prop_assert_eq!(texts(&first), given[..at.min(given.len())].to_vec());
            prop_assert_eq!(texts(&others), given[at.min(given.len())..].to_vec());
            for part in [first, others] {
                let again = Events::from_parts(part.text().clone(), part.ends().to_vec());
                prop_assert_eq!(again, Some(part));
            }
        }

        #[test]
        fn places_that_do_not_fit_the_text_are_refused(
            text in "[a,]{0,8}",
            ends in prop::collection::vec(0u32..10, 0..4),
        ) {
            let parts = Events::from_parts(text.clone().into(), ends.clone());
            if let Some(parts) = parts {
                prop_assert_eq!(texts(&parts).join(","), text);
                prop_assert_eq!(parts.len(), ends.len());
            }
        }
    }

    #[test]
    fn nothing_of_an_event_is_shown_in_debug_output() {
        assert_eq!(format!("{:?}", events(&["{\"keyId\":\"ann\"}".into()])), "Events(1 in 15 bytes)");
    }
}
