//! The environments for which a session was replaced, since the server does not push changes of them on it.

use std::collections::HashSet;

use crate::model::environment_id::EnvironmentId;

/// Whether replacing a session once more may help. The server does not push an environment either because it was not
/// there when the session was opened, which another session mends, or for reasons that the agent cannot know.
#[derive(Debug, Default)]
pub(super) struct Uncovered {
    /// The environments for which a session was last replaced, as far as they have been in service, and
    /// no session was mapped to them, ever since.
    pub environments: HashSet<EnvironmentId>,
    /// Connections that were opened for them.
    tries: u32,
    /// Full syncs since the last one, which brought the environments although its successor is not mapped to them.
    fulls: u64,
    /// Whether the successor has yet to say what it is mapped to.
    awaits_answer: bool,
}

impl Uncovered {
    /// Whether these call for another session. A full sync is in service that was asked for on the newest one. The
    /// same environments may have been away for a moment, just as that one was opened, so that another is tried
    /// when further full syncs bring them: two, then four and so on.
    pub fn is_reason(&mut self, unmapped: &HashSet<EnvironmentId>) -> bool {
        if *unmapped != self.environments {
            self.tries = 0;
            return true;
        }
        self.fulls += 1;
        self.fulls >= 1 << self.tries.min(63)
    }

    /// A session is replaced for these.
    pub fn tried(&mut self, unmapped: HashSet<EnvironmentId>) {
        self.environments = unmapped;
        self.tries = self.tries.saturating_add(1);
        self.fulls = 0;
        self.awaits_answer = true;
    }

    /// Whether this is the first answer of a session that was opened because of them.
    pub fn take_first_answer(&mut self, number: u64, cover_from: u64) -> bool {
        number >= cover_from && std::mem::take(&mut self.awaits_answer)
    }

    /// Forgets the others: those that a session is mapped to, and those that a full sync does not bring any more. If one
    /// comes back, that is a new reason.
    pub fn keep_only(&mut self, wanted: impl Fn(EnvironmentId) -> bool) {
        self.environments.retain(|environment| wanted(*environment));
    }
}
