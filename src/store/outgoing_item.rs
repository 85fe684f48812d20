//! A flag or segment in messages to server SDKs or relay agents, and the frames of patches.

use super::item::{FlagData, SegmentData, Served};
use super::table::Entry;
use crate::protocol::to_sdk::{ITEM_PATCH_BYTES_MAX, ItemText, append_item_patch};

/// A flag or segment that is sent to server SDKs or relay agents.
#[derive(Clone, Copy)]
pub(super) enum OutgoingItem<'a> {
    Flag(&'a Entry<FlagData>),
    Segment(&'a Entry<SegmentData>),
}

/// Which text of an item is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextKind {
    /// The text for SDKs.
    Served,
    /// The source's JSON, for relay agents.
    Source,
}

impl<'a> OutgoingItem<'a> {
    /// The item's JSON; `None` if it is for SDKs and they do not get the item.
    pub fn text(self, kind: TextKind) -> Option<&'a str> {
        match (self, kind) {
            (OutgoingItem::Flag(flag), TextKind::Served) => flag.served_text(),
            (OutgoingItem::Segment(segment), TextKind::Served) => segment.served_text(),
            (OutgoingItem::Flag(flag), TextKind::Source) => Some(&flag.source().raw),
            (OutgoingItem::Segment(segment), TextKind::Source) => Some(&segment.source().raw),
        }
    }

    fn item_text(self, kind: TextKind) -> Option<ItemText<'a>> {
        let text = self.text(kind)?;
        Some(match self {
            OutgoingItem::Flag(_) => ItemText::Flag(text),
            OutgoingItem::Segment(_) => ItemText::Segment(text),
        })
    }

    /// Whether SDKs get the item.
    pub fn is_served(self) -> bool {
        self.text(TextKind::Served).is_some()
    }

    /// Whether SDKs get the source's JSON.
    pub fn is_served_unmodified(self) -> bool {
        let (OutgoingItem::Flag(Entry { served, .. }) | OutgoingItem::Segment(Entry { served, .. })) = self;
        matches!(served, Served::Unmodified)
    }

    /// The version that server SDKs are sent.
    pub fn version_ms(self) -> i64 {
        match self {
            OutgoingItem::Flag(flag) => flag.version_ms,
            OutgoingItem::Segment(segment) => segment.version_ms,
        }
    }

    /// `updatedAt` as the source gave it, in Unix milliseconds.
    pub fn updated_at_ms(self) -> i64 {
        match self {
            OutgoingItem::Flag(flag) => flag.source().updated_at_ms,
            OutgoingItem::Segment(segment) => segment.source().updated_at_ms,
        }
    }
}

/// The frames of patches with one item each, in the given order.
pub(super) fn frames(changed: &[OutgoingItem<'_>], kind: TextKind) -> Vec<u8> {
    let texts = || changed.iter().filter_map(|item| item.item_text(kind));
    let bytes_max = |text: ItemText<'_>| {
        let (ItemText::Flag(text) | ItemText::Segment(text)) = text;
        ITEM_PATCH_BYTES_MAX + text.len()
    };
    let mut out = Vec::with_capacity(texts().map(bytes_max).sum());
    texts().for_each(|text| append_item_patch(text, &mut out));
    out
}
