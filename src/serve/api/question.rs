//! What a request that sends an environment secret asks for.

use std::fmt;
use std::sync::Arc;

use crate::fanout::mailbox::Mailbox;
use crate::net::slab::Key;
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::metrics::Meter;
use crate::serve::shared::Shared;
use crate::store::{Environment, Snapshot, SyncKind};

/// A question that the data of one environment answers. It waits if its secret cannot be judged yet, or if memory for the
/// answer is short.
pub(crate) trait Question: fmt::Debug + Send {
    /// Answers it, or hands it over to the thread that will. It is asked again only after an answer that did not fit into
    /// memory.
    fn answer(&mut self, exchange: &Exchange, environment: &Arc<Environment>, from: &Source<'_>) -> Answered;
}

/// How a question was answered.
#[derive(Debug)]
pub(crate) enum Answered {
    /// With this answer, which the metrics count as this kind of sync (`None`: as none).
    Now(Answer, Option<SyncKind>),
    /// The thread of usage events will reply.
    ByEvents,
}

/// What an answer is made from, in addition to the environment.
pub(crate) struct Source<'a> {
    pub view: &'a Snapshot,
    /// This reactor's mailbox, for replies.
    pub mailbox: &'a Mailbox,
    /// The connection that asks.
    pub key: Key,
    pub shared: &'a Shared,
    pub meter: &'a Meter,
}
