//! CORS (WHATWG Fetch): which pages of other origins may read an answer.

use crate::config::Origins;
use crate::wire::http1::head::{Head, Method};

/// The origin that the answer to one request allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// None: it is no cross-origin request, or its origin is not allowed.
    #[default]
    Nothing,
    /// Any origin.
    Any,
    /// This origin.
    This(Box<str>),
}

impl Allowed {
    /// What the answer allows if the request's head, and so its origin, could not be parsed. Pages must be able to read
    /// that error too.
    pub fn for_unparsed(origins: &Origins) -> Self {
        match origins {
            Origins::Any => Allowed::Any,
            Origins::List(_) => Allowed::Nothing,
        }
    }

    /// What the answer to a request from `origin` allows.
    pub fn for_origin(origin: Option<&str>, origins: &Origins) -> Self {
        match (origins, origin) {
            (_, None) => Allowed::Nothing,
            (Origins::Any, Some(_)) => Allowed::Any,
            (Origins::List(list), Some(origin)) => {
                if list.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
                    Allowed::This(origin.into())
                } else {
                    Allowed::Nothing
                }
            }
        }
    }

    /// The header field; `None` if nothing is allowed. It depends on the request's origin, so every answer has `Vary: Origin`.
    pub fn field(&self) -> Option<(&'static str, &str)> {
        let value = match self {
            Allowed::Nothing => return None,
            Allowed::Any => "*",
            Allowed::This(origin) => origin,
        };
        Some(("Access-Control-Allow-Origin", value))
    }
}

/// The header fields that answer a preflight request, in addition to that of [`Allowed`]; `None` if this is no preflight.
/// The requested header names are repeated, since `*` would not cover `Authorization`.
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
    if *allowed != Allowed::Nothing {
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
        assert_eq!(Allowed::for_origin(Some("https://shop.example"), &origins), Allowed::Any);
        assert_eq!(Allowed::for_origin(None, &origins), Allowed::Nothing);
    }

    #[test]
    fn a_list_allows_only_its_own_origins() {
        let origins = origins("https://shop.example/");
        let allowed = Allowed::for_origin(Some("https://Shop.example"), &origins);
        assert_eq!(allowed.field(), Some(("Access-Control-Allow-Origin", "https://Shop.example")));
        assert_eq!(Allowed::for_origin(Some("https://evil.example"), &origins), Allowed::Nothing);
    }
}
