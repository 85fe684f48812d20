//! The user that a client SDK sends: `{"keyId", "name", "customizedProperties": [{"name", "value"}]}`.
//!
//! Must not store or print a user: it only makes the packed form. As in FeatBit's server, names of properties are
//! case-insensitive, unknown ones are ignored, the last of several with the same name wins, and only strings (or null) are
//! accepted as strings.

use std::borrow::Cow;

use super::json::{Cursor, Kind, NotJson};
use crate::model::user::User;

/// Why a body has no usable user. All are answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserFault {
    /// Not JSON, or not of the form of a user.
    Malformed,
    /// `keyId` is missing or blank: FeatBit's `invalid end user`.
    Blank,
    /// It has more custom properties than allowed.
    TooManyProperties,
}

impl UserFault {
    /// The reason, for the body of the response.
    pub const fn reason(self) -> &'static str {
        match self {
            UserFault::Malformed => "the body is not a user",
            UserFault::Blank => "invalid end user",
            UserFault::TooManyProperties => "the user has too many custom properties",
        }
    }
}

impl From<NotJson> for UserFault {
    fn from(_: NotJson) -> Self {
        UserFault::Malformed
    }
}

/// Parses the body of a client SDK's poll. A user with a blank key is an error. Stops as soon as there are more than
/// `properties_max` custom properties.
pub fn parse_http(body: &[u8], properties_max: usize) -> Result<User, UserFault> {
    let text = simdutf8::basic::from_utf8(body).map_err(|_| UserFault::Malformed)?;
    let mut cursor = Cursor::new(text);
    let draft = Draft::read(&mut cursor, properties_max)?;
    cursor.end()?;
    draft.finish()
}

/// Reads the next value, of any type: a user, or the reason why it is none.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    properties_max: usize,
) -> Result<Result<User, UserFault>, NotJson> {
    let mut ahead = cursor.clone();
    match Draft::read(&mut ahead, properties_max) {
        Ok(draft) => {
            *cursor = ahead;
            Ok(draft.finish())
        }
        Err(fault) => cursor.skip().map(|_| Err(fault)),
    }
}

/// A user's texts before they are packed.
#[derive(Default)]
struct Draft<'t> {
    key_id: Option<Cow<'t, str>>,
    name: Option<Cow<'t, str>>,
    properties: Vec<Property<'t>>,
}

#[derive(Default)]
struct Property<'t> {
    name: Option<Cow<'t, str>>,
    value: Option<Cow<'t, str>>,
}

impl<'t> Draft<'t> {
    fn read(cursor: &mut Cursor<'t>, properties_max: usize) -> Result<Self, UserFault> {
        let mut draft = Draft::default();
        cursor.object(|cursor, name| {
            if name.is_in_any_case("keyId") {
                draft.key_id = text_or_null(cursor)?;
            } else if name.is_in_any_case("name") {
                draft.name = text_or_null(cursor)?;
            } else if name.is_in_any_case("customizedProperties") {
                draft.properties = properties(cursor, properties_max)?;
            } else {
                cursor.skip()?;
            }
            Ok::<(), UserFault>(())
        })?;
        Ok(draft)
    }

    fn finish(self) -> Result<User, UserFault> {
        // White space by Unicode, as .NET's `IsNullOrWhiteSpace`.
        let key_id = self.key_id.filter(|key_id| !key_id.trim().is_empty()).ok_or(UserFault::Blank)?;
        let properties: Vec<_> = self
            .properties
            .iter()
            .map(|property| (property.name.as_deref().unwrap_or(""), property.value.as_deref()))
            .collect();
        User::new(&key_id, self.name.as_deref(), &properties).ok_or(UserFault::Malformed)
    }
}

/// Reads the custom properties. Null means none, and a null among them is skipped.
fn properties<'t>(cursor: &mut Cursor<'t>, max: usize) -> Result<Vec<Property<'t>>, UserFault> {
    let mut properties = Vec::new();
    if cursor.null()? {
        return Ok(properties);
    }
    cursor.array(|cursor| {
        if cursor.null()? {
            return Ok(());
        }
        if properties.len() == max {
            return Err(UserFault::TooManyProperties);
        }
        let mut property = Property::default();
        cursor.object(|cursor, name| {
            if name.is_in_any_case("name") {
                property.name = text_or_null(cursor)?;
            } else if name.is_in_any_case("value") {
                property.value = text_or_null(cursor)?;
            } else {
                cursor.skip()?;
            }
            Ok::<(), UserFault>(())
        })?;
        properties.push(property);
        Ok::<(), UserFault>(())
    })?;
    Ok(properties)
}

fn text_or_null<'t>(cursor: &mut Cursor<'t>) -> Result<Option<Cow<'t, str>>, UserFault> {
    match cursor.kind()? {
        Kind::Null => {
            cursor.null()?;
            Ok(None)
        }
        Kind::Text => cursor.string()?.decode().map(Some).ok_or(UserFault::Malformed),
        _ => Err(UserFault::Malformed),
    }
}

#[cfg(test)]
mod tests;
