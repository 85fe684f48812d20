//! Cross-origin rules (WHATWG Fetch): which pages of other origins may read an answer.

use crate::config::Origins;
use crate::wire::http1::head::{Head, Method};

/// What the answer to one request says about origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Not a cross-origin request, or one that is not allowed: nothing.
    #[default]
    Silent,
    /// Any origin.
    Any,
    /// This origin.
    This(Box<str>),
}

impl Allowed {
    /// What an answer to a request may say whose head could not be read: a page must be able to see even that.
    pub fn unread(origins: &Origins) -> Self {
        match origins {
            Origins::Any => Allowed::Any,
            Origins::List(_) => Allowed::Silent,
        }
    }

    /// What an answer to a request from `origin` may say.
    pub fn to(origin: Option<&str>, origins: &Origins) -> Self {
        match (origins, origin) {
            (_, None) => Allowed::Silent,
            (Origins::Any, Some(_)) => Allowed::Any,
            (Origins::List(list), Some(origin)) => {
                if list.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
                    Allowed::This(origin.into())
                } else {
                    Allowed::Silent
                }
            }
        }
    }

    /// The header field. Whether there is one, and what it says, differs by origin: the answer says so by `Vary`.
    pub fn field(&self) -> Option<(&'static str, &str)> {
        let value = match self {
            Allowed::Silent => return None,
            Allowed::Any => "*",
            Allowed::This(origin) => origin,
        };
        Some(("Access-Control-Allow-Origin", value))
    }
}

/// The header fields that answer a preflight, beside those of [`Allowed`]; `None` if the request is none. The
/// headers asked for are echoed: `*` would not cover `Authorization`.
pub(crate) fn preflight(
    head: &Head<'_>,
    allowed: &Allowed,
    max_age_seconds: u64,
) -> Option<Vec<(&'static str, String)>> {
    let method = head.access_control_request_method?;
    if head.method != Method::Options || head.origin.is_none() {
        return None;
    }
    let mut fields = Vec::new();
    if *allowed != Allowed::Silent {
        fields.push(("Access-Control-Allow-Methods", method.to_owned()));
        if let Some(headers) = head.access_control_request_headers {
            fields.push(("Access-Control-Allow-Headers", headers.to_owned()));
        }
        if head.access_control_request_private_network {
            fields.push(("Access-Control-Allow-Private-Network", "true".to_owned()));
        }
        fields.push(("Access-Control-Max-Age", max_age_seconds.to_string()));
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn origins(value: &str) -> Origins {
        let pairs = [("Mode", "offline"), ("ApiKey", "k"), ("Cors__Origins", value)];
        Settings::from_pairs(&pairs).unwrap().cors.origins
    }

    #[test]
    fn any_origin_is_allowed_without_naming_it() {
        let origins = origins("*");
        assert_eq!(Allowed::to(Some("https://shop.example"), &origins), Allowed::Any);
        assert_eq!(Allowed::to(None, &origins), Allowed::Silent);
    }

    #[test]
    fn a_list_allows_only_its_own() {
        let origins = origins("https://shop.example/");
        let allowed = Allowed::to(Some("https://Shop.example"), &origins);
        assert_eq!(allowed.field(), Some(("Access-Control-Allow-Origin", "https://Shop.example")));
        assert_eq!(Allowed::to(Some("https://evil.example"), &origins), Allowed::Silent);
    }
}
