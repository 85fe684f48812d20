//! Which SDK is at the other end, as far as that decides what it is sent.
//!
//! Must not grow into a list of all SDKs: most take whatever FeatBit's server sends. The others say who they are in
//! `User-Agent`; an SDK that says nothing, or another name, is treated as one of the many.

/// An SDK that needs something of its own, or one of the many that do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sdk {
    /// `fb-java…`
    Java,
    /// `fb-go…`
    Go,
    /// `fb-python…`, and whatever else begins with `fb-`.
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
    /// The SDK that a `User-Agent` names, in any letter case.
    pub fn of(user_agent: Option<&str>) -> Self {
        const NAMES: [(&str, Sdk); 5] = [
            ("fb-java", Sdk::Java),
            ("fb-go", Sdk::Go),
            ("fb-", Sdk::Python),
            ("featbit-ruby-server-sdk", Sdk::Ruby),
            ("featbit-android-sdk", Sdk::Android),
        ];
        let agent = user_agent.unwrap_or_default().as_bytes();
        let begins =
            |name: &str| agent.get(..name.len()).is_some_and(|a| a.eq_ignore_ascii_case(name.as_bytes()));
        NAMES.into_iter().find(|(name, _)| begins(name)).map_or(Sdk::Other, |(_, sdk)| sdk)
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
            assert_eq!(Sdk::of(Some(agent)), sdk, "{agent}");
        }
        assert_eq!(Sdk::of(None), Sdk::Other);
    }
}
