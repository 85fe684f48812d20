//! The scripts that agents run in Redis, and the keys that they work on.
//!
//! Every key of a cluster has the same prefix. It holds a hash tag, so that all keys lie in one slot of a Redis Cluster.
//! Must not hold anything else than names and texts; [`super::calls`] runs the scripts.

/// One script, with what all of them share before it.
#[derive(Debug)]
pub(super) struct Script {
    /// Its name, for errors.
    pub name: &'static str,
    /// The whole text.
    pub text: String,
    /// What Redis calls it: the SHA-1 of the text.
    pub sha: String,
}

impl Script {
    fn new(name: &'static str, own: &str) -> Self {
        let text = format!("{}{own}", include_str!("lua/common.lua"));
        let sha = redis::Script::new(&text).get_hash().to_owned();
        Self { name, text, sha }
    }
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub read: Script,
    pub values: Script,
    pub write: Script,
    pub stage: Script,
    pub open: Script,
    pub forget: Script,
    pub remove_environment: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            read: Script::new("the Lua script read", include_str!("lua/read.lua")),
            values: Script::new("the Lua script values", include_str!("lua/values.lua")),
            write: Script::new("the Lua script write", include_str!("lua/write.lua")),
            stage: Script::new("the Lua script stage", include_str!("lua/stage.lua")),
            open: Script::new("the Lua script open", include_str!("lua/open.lua")),
            forget: Script::new("the Lua script forget", include_str!("lua/forget.lua")),
            remove_environment: Script::new(
                "the Lua script remove_environment",
                include_str!("lua/remove_environment.lua"),
            ),
        }
    }
}

/// The keys and the channel of a cluster.
#[derive(Clone, Debug)]
pub struct Keys {
    /// A hash: format, epoch, edition, sequences and the register.
    pub meta: String,
    /// A hash: the records by their fields.
    pub items: String,
    /// A sorted set: the fields by the sequence at which they last changed.
    pub index: String,
    /// A sorted set: the digests of data files, in the order in which they came.
    pub files: String,
    /// The channel of announcements.
    pub changes: String,
    prefix: String,
}

impl Keys {
    /// The keys with this prefix.
    pub fn new(prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}{name}");
        Self {
            meta: key("meta"),
            items: key("items"),
            index: key("index"),
            files: key("files"),
            changes: key("changes"),
            prefix: prefix.to_owned(),
        }
    }

    /// The keys of items and index while an edition is written, before it is the current one.
    pub(super) fn staged(&self, token: &str) -> [String; 2] {
        ["items", "index"].map(|name| format!("{}opening:{token}:{name}", self.prefix))
    }
}
