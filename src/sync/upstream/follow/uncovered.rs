//! The environments that the server did not push on a session, so that the session was replaced.

use std::collections::HashSet;

use crate::model::environment_id::EnvironmentId;

/// Decides whether another session may help. A server does not push an environment because it was added after the session
/// was opened, which another session corrects, or for a reason that the agent cannot know.
#[derive(Debug, Default)]
pub(super) struct Uncovered {
    /// The environments for which a session was last replaced, and which since then have always been in service without a
    /// session mapped to them.
    pub environments: HashSet<EnvironmentId>,
    /// How many sessions were opened for them.
    tries: u32,
    /// How many full syncs since the last try contained them although the new session is not mapped to them.
    fulls: u64,
    /// Whether the new session has not listed its environments yet.
    awaits_answer: bool,
}

impl Uncovered {
    /// Whether to open another session for these environments, which a full sync of the newest session contains. They may
    /// have been missing just when that session was opened, so the same environments are tried again, but only after two
    /// further full syncs, then four, and so on.
    pub fn is_reason(&mut self, unmapped: &HashSet<EnvironmentId>) -> bool {
        if *unmapped != self.environments {
            self.tries = 0;
            return true;
        }
        self.fulls += 1;
        self.fulls >= 1 << self.tries.min(63)
    }

    /// A session is being replaced for these environments.
    pub fn tried(&mut self, unmapped: HashSet<EnvironmentId>) {
        self.environments = unmapped;
        self.tries = self.tries.saturating_add(1);
        self.fulls = 0;
        self.awaits_answer = true;
    }

    /// Whether this is the first list from a session that was opened for them. True once.
    pub fn take_first_answer(&mut self, number: u64, cover_from: u64) -> bool {
        number >= cover_from && std::mem::take(&mut self.awaits_answer)
    }

    /// Forgets all other environments: those that a session is mapped to, and those that a full sync lacks. If one of them
    /// is uncovered again, that is a new reason for another session.
    pub fn keep_only(&mut self, wanted: impl Fn(EnvironmentId) -> bool) {
        self.environments.retain(|environment| wanted(*environment));
    }
}
