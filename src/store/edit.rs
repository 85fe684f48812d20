//! What one publish did to one environment, and what that means for its SDKs.
//!
//! Must not change an item: tables have taken everything in before.

use super::environment::{Environment, History, Lateness};
use super::item::{FlagData, SegmentData};
use super::message::Changed;
use super::resolution::Resolved;
use super::ring::{Push, Ring};
use super::server::push_of;
use super::table::Entry;

/// What happened to one environment. Its tables have taken it in already, its history has not.
#[derive(Default)]
pub(super) struct Edit {
    /// It was not in service before.
    pub created: bool,
    pub flags: Vec<(Entry<FlagData>, Option<i64>)>,
    pub segments: Vec<(Entry<SegmentData>, Option<i64>)>,
    pub flags_gone: usize,
    pub flags_back: bool,
    pub segments_gone: usize,
    pub segments_back: bool,
    /// Flags that did not change but use a segment that did.
    pub restamped: Vec<Entry<FlagData>>,
    /// The last `updatedAt` given to an item that was changed without one, if they are to get one.
    pub stamp_ms: Option<i64>,
}

impl Edit {
    /// Whether server SDKs lack anything now.
    pub fn changes_server(&self) -> bool {
        self.changes_flags() || !self.segments.is_empty() || self.segments_gone > 0
    }

    /// Whether client SDKs can lack anything now.
    pub fn changes_client(&self) -> bool {
        self.changes_flags() || !self.restamped.is_empty()
    }

    fn changes_flags(&self) -> bool {
        self.created || !self.flags.is_empty() || self.flags_gone > 0
    }

    /// Writes into the environment's history what happened to it.
    pub fn settle(&self, environment: &mut Environment, resolved: &Resolved, sequence: u64) {
        let (server, client) = (environment.server, environment.client);
        let late = |ms: i64, before: History| ms <= before.highest_ms;
        let newest_ms = environment.flags.newest.updated_at_ms;
        if self.changes_server() {
            let flags_late = self.flags.iter().any(|(entry, _)| late(entry.data.text.updated_at_ms, server));
            let segments_late =
                self.segments.iter().any(|(entry, _)| late(entry.data.text.updated_at_ms, server));
            let gone = self.flags_gone + self.segments_gone > 0 || self.flags_back || self.segments_back;
            environment.server = server.after(
                sequence,
                self.created || gone,
                flags_late || segments_late,
                newest_ms.max(environment.segments.newest.updated_at_ms),
            );
            if self.created {
                // Who was connected to an environment of this id before is gone: nobody lacks anything.
                environment.lateness = Lateness::default();
            } else {
                let newer = environment.server.highest_ms > server.highest_ms;
                let all_newer = !(gone || flags_late || segments_late);
                environment.lateness = environment.lateness.after(sequence, newer, all_newer);
            }
            environment.ring = self.ring(environment, gone, sequence);
        }
        if self.changes_client() {
            let mut entries = self.flags.iter().map(|(entry, _)| entry).chain(&self.restamped);
            let flags_late = entries.clone().any(|entry| late(entry.client_version_ms, client));
            let segments_back = entries.any(|entry| resolved.went_back(entry.data.flag.segment_slots()));
            let gone = self.flags_gone > 0 || self.flags_back || segments_back;
            environment.client = client.after(sequence, self.created || gone, flags_late, newest_ms);
        }
    }

    fn ring(&self, environment: &Environment, gone: bool, sequence: u64) -> Ring {
        if self.created {
            return Ring::begun_at(sequence);
        }
        let push = if gone {
            Push::Full
        } else {
            let flags = self.flags.iter().map(|(entry, _)| Changed::Flag(&entry.data));
            let segments = self.segments.iter().map(|(entry, _)| Changed::Segment(&entry.data));
            push_of(environment, flags.chain(segments).collect(), sequence)
        };
        environment.ring.with(sequence, push)
    }
}
