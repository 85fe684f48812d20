//! What a request with an environment secret asks for.

use std::fmt;
use std::sync::Arc;

use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::metrics::Meter;
use crate::serve::shared::Shared;
use crate::store::{Environment, Snapshot, SyncKind};

/// A question that one environment's data answers. It may have to wait until its secret is judged, or until there is
/// memory for the answer.
pub(crate) trait Question: fmt::Debug + Send {
    /// The answer, and the kind of sync that it counts as.
    fn answer(
        &self,
        exchange: &Exchange,
        environment: &Arc<Environment>,
        from: &Source<'_>,
    ) -> (Answer, Option<SyncKind>);
}

/// What an answer is made from, beside the environment.
pub(crate) struct Source<'a> {
    pub view: &'a Snapshot,
    pub shared: &'a Shared,
    pub meter: &'a Meter,
}
