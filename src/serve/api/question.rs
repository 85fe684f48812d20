//! What a request that sends an environment secret asks for.

use std::fmt;
use std::sync::Arc;

use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::metrics::Meter;
use crate::serve::shared::Shared;
use crate::store::{Environment, Snapshot, SyncKind};

/// A question that the data of one environment answers. It waits if its secret cannot be judged yet, or if memory for the
/// answer is short.
pub(crate) trait Question: fmt::Debug + Send {
    /// The answer, and as which kind of sync the metrics count it (`None`: as none).
    fn answer(
        &self,
        exchange: &Exchange,
        environment: &Arc<Environment>,
        from: &Source<'_>,
    ) -> (Answer, Option<SyncKind>);
}

/// What an answer is made from, in addition to the environment.
pub(crate) struct Source<'a> {
    pub view: &'a Snapshot,
    pub shared: &'a Shared,
    pub meter: &'a Meter,
}
