//! Which SDK is connected, as far as it needs special treatment.
//!
//! Must not grow into a list of all SDKs: most accept everything that FeatBit's server sends. The others are recognized by
//! `User-Agent`, or by a field that replaces it. An SDK with no name, or an unknown one, is treated like most.

/// An SDK that needs special treatment, or any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sdk {
    /// `fb-java…`
    Java,
    /// `fb-go…`
    Go,
    /// `fb-python…`, and every other name that begins with `fb-`.
    Python,
    /// `featbit-ruby-server-sdk…`
    Ruby,
    /// `FeatBit-Android-SDK…`
    Android,
    /// All others.
    #[default]
    Other,
}

impl Sdk {
    /// The SDK of the first of `user_agents` that names a known one, in any letter case.
    pub fn of<'a>(user_agents: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let named = |agent: Option<&str>| Self::named(agent?);
        user_agents.into_iter().find_map(named).unwrap_or_default()
    }

    fn named(agent: &str) -> Option<Self> {
        const NAMES: [(&str, Sdk); 5] = [
            ("fb-java", Sdk::Java),
            ("fb-go", Sdk::Go),
            ("fb-", Sdk::Python),
            ("featbit-ruby-server-sdk", Sdk::Ruby),
            ("featbit-android-sdk", Sdk::Android),
        ];
        let agent = agent.as_bytes();
        let begins =
            |name: &str| agent.get(..name.len()).is_some_and(|a| a.eq_ignore_ascii_case(name.as_bytes()));
        NAMES.into_iter().find(|(name, _)| begins(name)).map(|(_, sdk)| sdk)
    }

    /// Whether it ignores a close frame, and everything after it, until its own next ping fails. If TCP ends without a close
    /// frame, it reconnects at once.
    pub fn waits_after_close(self) -> bool {
        match self {
            Sdk::Java => true,
            Sdk::Go | Sdk::Python | Sdk::Ruby | Sdk::Android | Sdk::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sdk;

    #[test]
    fn knows_the_sdks_by_the_beginning_of_their_user_agent() {
        for (agent, sdk) in [
            ("fb-java-server-sdk/1.4.4", Sdk::Java),
            ("FB-Go-server-sdk", Sdk::Go),
            ("fb-python-server-sdk", Sdk::Python),
            ("fb-something-new", Sdk::Python),
            ("featbit-ruby-server-sdk/1.0", Sdk::Ruby),
            ("FeatBit-Android-SDK/1.2", Sdk::Android),
            ("featbit-dotnet-server-sdk", Sdk::Other),
            ("Mozilla/5.0 fb-java", Sdk::Other),
            ("", Sdk::Other),
            ("fb", Sdk::Other),
        ] {
            assert_eq!(Sdk::of([Some(agent)]), sdk, "{agent}");
        }
        assert_eq!(Sdk::of([None]), Sdk::Other);
    }

    /// What went wrong: where `User-Agent` is not an SDK's to set, it was one of the many.
    #[test]
    fn the_first_field_that_names_a_known_sdk_decides() {
        let (ruby, android) = (Some("featbit-ruby-server-sdk/1"), Some("FeatBit-Android-SDK/1"));
        assert_eq!(Sdk::of([Some("okhttp/4"), None, android]), Sdk::Android);
        assert_eq!(Sdk::of([None, ruby, android]), Sdk::Ruby);
        assert_eq!(Sdk::of([android, ruby, None]), Sdk::Android);
        assert_eq!(Sdk::of([Some("Mozilla/5.0"), None, Some("Browser-Client-SDK/4")]), Sdk::Other);
    }
}
