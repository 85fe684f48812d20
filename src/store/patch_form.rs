//! How a patch is cut into messages for each kind of SDK.

use crate::protocol::sdk::Sdk;

/// How several changed items are split into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    /// One message with all items, in the environment's order, as FeatBit answers a `data-sync`.
    Batch,
    /// One message per item, ascending by version, and a full instead of many messages. Python, Java and Go SDKs accept an
    /// item only if it is newer than all they have. Python before 1.2 silently loses any other; Java and Go close the
    /// connection and reconnect; Go also handles the items of a batch in random order.
    OnePerItem,
}

impl PatchForm {
    /// The form that an SDK needs.
    pub fn of(sdk: Sdk) -> Self {
        match sdk {
            Sdk::Java | Sdk::Go | Sdk::Python => Self::OnePerItem,
            Sdk::Ruby | Sdk::Android | Sdk::Other => Self::Batch,
        }
    }
}
