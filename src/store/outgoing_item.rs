//! A flag or a segment on its way to server SDKs or to other agents, and the frames of patches.

use super::item::{FlagData, SegmentData, Served};
use super::table::Entry;
use crate::protocol::sdk::Sdk;
use crate::protocol::to_sdk::{ITEM_PATCH_BYTES_MAX, ItemText, append_item_patch};

/// A flag or a segment on its way to server SDKs or to other agents.
#[derive(Clone, Copy)]
pub(super) enum OutgoingItem<'a> {
    Flag(&'a Entry<FlagData>),
    Segment(&'a Entry<SegmentData>),
}

/// How a patch of several items is cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    /// A `data-sync` is answered by one message with all items, in the environment's order, as FeatBit does it.
    Batch,
    /// One item a message, ascending by version, and a full instead of many: Python, Java and Go take an item only if it
    /// is newer than all they have. Python before 1.2 loses others without a word, Java and Go close the connection and
    /// come back, and Go takes the items of a batch in random order.
    OnePerItem,
}

impl PatchForm {
    /// What an SDK takes in.
    pub fn of(sdk: Sdk) -> Self {
        match sdk {
            Sdk::Java | Sdk::Go | Sdk::Python => Self::OnePerItem,
            Sdk::Ruby | Sdk::Android | Sdk::Other => Self::Batch,
        }
    }
}

/// Whose text of an item goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextKind {
    /// That for SDKs.
    Served,
    /// The source's own, for other agents.
    Own,
}

impl<'a> OutgoingItem<'a> {
    /// The item's JSON; `None` if SDKs get nothing of it.
    pub fn text(self, words: TextKind) -> Option<&'a str> {
        match (self, words) {
            (OutgoingItem::Flag(flag), TextKind::Served) => flag.served_text(),
            (OutgoingItem::Segment(segment), TextKind::Served) => segment.served_text(),
            (OutgoingItem::Flag(flag), TextKind::Own) => Some(&flag.own().raw),
            (OutgoingItem::Segment(segment), TextKind::Own) => Some(&segment.own().raw),
        }
    }

    fn item_text(self, words: TextKind) -> Option<ItemText<'a>> {
        let text = self.text(words)?;
        Some(match self {
            OutgoingItem::Flag(_) => ItemText::Flag(text),
            OutgoingItem::Segment(_) => ItemText::Segment(text),
        })
    }

    /// Whether SDKs get anything of it.
    pub fn is_served(self) -> bool {
        self.text(TextKind::Served).is_some()
    }

    /// Whether SDKs get the source's own words.
    pub fn is_as_it_is(self) -> bool {
        let (OutgoingItem::Flag(Entry { served, .. }) | OutgoingItem::Segment(Entry { served, .. })) = self;
        matches!(served, Served::AsItIs)
    }

    /// The version that server SDKs are told.
    pub fn version_ms(self) -> i64 {
        match self {
            OutgoingItem::Flag(flag) => flag.version_ms,
            OutgoingItem::Segment(segment) => segment.version_ms,
        }
    }

    /// `updatedAt` as the source gave it, in Unix milliseconds.
    pub fn updated_at_ms(self) -> i64 {
        match self {
            OutgoingItem::Flag(flag) => flag.own().updated_at_ms,
            OutgoingItem::Segment(segment) => segment.own().updated_at_ms,
        }
    }
}

/// The frames of patches with one item each, in the given order.
pub(super) fn frames(changed: &[OutgoingItem<'_>], words: TextKind) -> Vec<u8> {
    let texts = || changed.iter().filter_map(|item| item.item_text(words));
    let bytes_max = |text: ItemText<'_>| {
        let (ItemText::Flag(text) | ItemText::Segment(text)) = text;
        ITEM_PATCH_BYTES_MAX + text.len()
    };
    let mut out = Vec::with_capacity(texts().map(bytes_max).sum());
    texts().for_each(|text| append_item_patch(text, &mut out));
    out
}
