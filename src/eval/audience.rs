//! For whom a flag is evaluated.

use crate::model::user::User;

/// How the payload of a client SDK says that a flag has no variation for the user: it is archived, or what its rules name
/// is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoVariation {
    /// `null`, as FeatBit's server does.
    #[default]
    Null,
    /// `""`, for SDKs that pass over an item whose variation is `null`, and would keep the flag's old value.
    EmptyText,
}

impl NoVariation {
    pub(super) fn json(self) -> &'static [u8] {
        match self {
            NoVariation::Null => b"null",
            NoVariation::EmptyText => br#""""#,
        }
    }
}

/// A user, and what their SDK needs to be told in a way of its own. A user alone is one of an SDK that needs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'u> {
    /// Whom flags are evaluated for.
    pub user: &'u User,
    /// How their SDK is told that there is no variation.
    pub no_variation: NoVariation,
}

impl<'u> From<&'u User> for Audience<'u> {
    fn from(user: &'u User) -> Self {
        Self { user, no_variation: NoVariation::default() }
    }
}
