//! The user for whom a flag is evaluated, and what their SDK needs.

use crate::model::user::User;

/// How the payload for a client SDK represents a flag without a variation for the user: the flag is archived, or its rules
/// name a variation that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoVariation {
    /// `null`, as FeatBit's server does.
    #[default]
    Null,
    /// `""`, for SDKs that ignore an item whose variation is `null` and would keep the flag's old value.
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

/// A user, and special needs of their SDK. `From<&User>` is for SDKs without special needs.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'u> {
    /// The user for whom flags are evaluated.
    pub user: &'u User,
    /// How their SDK is sent a flag without a variation.
    pub no_variation: NoVariation,
}

impl<'u> From<&'u User> for Audience<'u> {
    fn from(user: &'u User) -> Self {
        Self { user, no_variation: NoVariation::default() }
    }
}
