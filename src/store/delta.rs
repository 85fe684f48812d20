//! What one publish changed in the state that must survive a restart.
//!
//! Must not know how it is stored. [`Writer::delta`](super::Writer::delta) makes it; [`Replay`](super::Replay) applies it.

use std::sync::Arc;

use super::environment::ListedSecret;
use super::state::{Access, Contents, Head, ItemState, Removals, State, TombstoneState, Versions};
use crate::model::environment_id::EnvironmentId;

/// The difference between two states. Items are shared with the snapshot that they come from.
#[derive(Clone)]
pub struct Delta {
    /// Whether it is a whole state, which replaces everything before it.
    pub is_full_state: bool,
    /// What concerns the whole dataset.
    pub head: Head,
    /// The environments that changed; in a whole state all of them.
    pub environments: Vec<EnvironmentDelta>,
    /// The new list of environments and secrets, if it changed.
    pub access: Option<Access>,
}

/// The change of one environment.
#[derive(Clone, Debug)]
pub struct EnvironmentDelta {
    /// Its id.
    pub id: EnvironmentId,
    /// The versions that were used in it.
    pub versions: Versions,
    /// How its contents changed.
    pub contents: ContentsDelta,
}

/// How the contents of an environment changed.
#[derive(Clone, Debug)]
pub enum ContentsDelta {
    /// It is out of service.
    Gone,
    /// These replace the contents before.
    All(Contents),
    /// Only these parts changed.
    Some(ContentsPatch),
}

/// The changed parts of an environment.
#[derive(Clone, Debug)]
pub struct ContentsPatch {
    /// The secrets that the dataset lists for it, if they changed.
    pub secrets: Option<Arc<[ListedSecret]>>,
    /// Flags that are new, at the end, or replace the one with their id.
    pub flags: Vec<ItemState>,
    /// The same for segments.
    pub segments: Vec<ItemState>,
    /// What was sent with the last removals.
    pub removals: Removals,
    /// Removed items.
    pub removed: Vec<TombstoneState>,
}

impl From<State> for Delta {
    fn from(state: State) -> Self {
        let environments = state.environments.into_iter().map(|environment| EnvironmentDelta {
            id: environment.id,
            versions: environment.versions,
            contents: environment.contents.map_or(ContentsDelta::Gone, ContentsDelta::All),
        });
        Self {
            is_full_state: true,
            head: state.head,
            environments: environments.collect(),
            access: Some(state.access),
        }
    }
}

/// Prints counts only: secrets and items must not get into logs.
impl std::fmt::Debug for Delta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = if self.is_full_state { "whole, " } else { "" };
        write!(f, "Delta({whole}{} environments, {:?})", self.environments.len(), self.head.edition)
    }
}
