//! Reads what is known of an event, and everything that it says of its user.
//!
//! Must not decide what leaves the machine. Names of members are read in any letter case, the last one of a double counts;
//! what was said of the user before still identifies him.

use std::borrow::Cow;

use crate::protocol::json::{Cursor, Kind, NotJson, RawText};

/// What is known of an event.
#[derive(Default)]
pub struct Event<'t> {
    pub user: User<'t>,
    /// The text that all of `user` is from; `None` if it is from several.
    pub user_text: Option<&'t str>,
    pub evaluations: Vec<Evaluation<'t>>,
    pub metrics: Vec<Metric<'t>>,
}

/// What an event says of its user.
#[derive(Default)]
pub struct User<'t> {
    pub key: Option<Cow<'t, str>>,
    pub properties: Vec<Property<'t>>,
    /// All else that is said of the user, and of former users of the event: the name, and whatever is not known.
    pub others: Vec<Cow<'t, str>>,
}

/// A custom property.
#[derive(Default)]
pub struct Property<'t> {
    pub name: Option<Cow<'t, str>>,
    pub value: Option<Cow<'t, str>>,
}

/// An evaluation of a flag.
#[derive(Default)]
pub struct Evaluation<'t> {
    pub flag_key: Option<Cow<'t, str>>,
    pub send_to_experiment: Option<bool>,
    pub timestamp: Option<&'t str>,
    pub variation: Option<Variation<'t>>,
}

/// What an evaluation resulted in.
#[derive(Default)]
pub struct Variation<'t> {
    pub id: Option<Cow<'t, str>>,
    pub value: Option<Cow<'t, str>>,
}

/// A custom metric.
#[derive(Default)]
pub struct Metric<'t> {
    pub route: Option<Cow<'t, str>>,
    pub kind: Option<Cow<'t, str>>,
    pub event_name: Option<Cow<'t, str>>,
    pub numeric_value: Option<&'t str>,
    pub app_type: Option<Cow<'t, str>>,
    pub timestamp: Option<&'t str>,
}

/// Reads an event, which is one object.
pub fn event(text: &str) -> Result<Event<'_>, NotJson> {
    let mut cursor = Cursor::new(text);
    let mut event = Event::default();
    let mut users = 0;
    cursor.object(|cursor, name| {
        if name.is_in_any_case("user") {
            cursor.kind()?;
            let start = cursor.position();
            user(cursor, &mut event.user)?;
            event.user_text = if users == 0 { text.get(start..cursor.position()) } else { None };
            users += 1;
            Ok(())
        } else if name.is_in_any_case("variations") {
            event.evaluations = list(cursor, evaluation)?;
            Ok(())
        } else if name.is_in_any_case("metrics") {
            event.metrics = list(cursor, metric)?;
            Ok(())
        } else {
            cursor.skip().map(drop)
        }
    })?;
    cursor.end()?;
    Ok(event)
}

fn user<'t>(cursor: &mut Cursor<'t>, user: &mut User<'t>) -> Result<(), NotJson> {
    user.others.extend(user.key.take());
    user.others.extend(user.properties.drain(..).filter_map(|property| property.value));
    if cursor.kind()? != Kind::Object {
        return leaves(cursor, &mut user.others);
    }
    cursor.object(|cursor, name| {
        if name.is_in_any_case("keyId") {
            user.others.extend(user.key.take());
            user.key = text_or_leaves(cursor, &mut user.others)?;
            Ok(())
        } else if name.is_in_any_case("customizedProperties") && cursor.kind()? == Kind::Array {
            user.others.extend(user.properties.drain(..).filter_map(|property| property.value));
            let User { properties, others, .. } = user;
            cursor.array(|cursor| property(cursor, properties, others))
        } else {
            leaves(cursor, &mut user.others)
        }
    })
}

fn property<'t>(
    cursor: &mut Cursor<'t>,
    properties: &mut Vec<Property<'t>>,
    others: &mut Vec<Cow<'t, str>>,
) -> Result<(), NotJson> {
    if cursor.kind()? != Kind::Object {
        return leaves(cursor, others);
    }
    let mut property = Property::default();
    cursor.object(|cursor, name| {
        if name.is_in_any_case("name") && cursor.kind()? == Kind::Text {
            property.name = cursor.string()?.decode();
        } else if name.is_in_any_case("value") {
            others.extend(property.value.take());
            property.value = text_or_leaves(cursor, others)?;
        } else {
            leaves(cursor, others)?;
        }
        Ok::<(), NotJson>(())
    })?;
    properties.push(property);
    Ok(())
}

fn evaluation<'t>(
    cursor: &mut Cursor<'t>,
    name: RawText<'t>,
    to: &mut Evaluation<'t>,
) -> Result<(), NotJson> {
    if name.is_in_any_case("featureFlagKey") {
        to.flag_key = text(cursor)?;
    } else if name.is_in_any_case("sendToExperiment") {
        to.send_to_experiment = match cursor.skip()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
    } else if name.is_in_any_case("timestamp") {
        to.timestamp = number(cursor)?;
    } else if name.is_in_any_case("variation") {
        to.variation = None;
        if cursor.kind()? != Kind::Object {
            return cursor.skip().map(drop);
        }
        let mut variation = Variation::default();
        cursor.object(|cursor, name| {
            if name.is_in_any_case("id") {
                variation.id = text(cursor)?;
            } else if name.is_in_any_case("value") {
                variation.value = text(cursor)?;
            } else {
                cursor.skip()?;
            }
            Ok::<(), NotJson>(())
        })?;
        to.variation = Some(variation);
    } else {
        cursor.skip()?;
    }
    Ok(())
}

fn metric<'t>(cursor: &mut Cursor<'t>, name: RawText<'t>, to: &mut Metric<'t>) -> Result<(), NotJson> {
    if name.is_in_any_case("route") {
        to.route = text(cursor)?;
    } else if name.is_in_any_case("type") {
        to.kind = text(cursor)?;
    } else if name.is_in_any_case("eventName") {
        to.event_name = text(cursor)?;
    } else if name.is_in_any_case("numericValue") {
        to.numeric_value = number(cursor)?;
    } else if name.is_in_any_case("appType") {
        to.app_type = text(cursor)?;
    } else if name.is_in_any_case("timestamp") {
        to.timestamp = number(cursor)?;
    } else {
        cursor.skip()?;
    }
    Ok(())
}

/// The objects of an array; none of anything else.
fn list<'t, T: Default>(
    cursor: &mut Cursor<'t>,
    member: impl Fn(&mut Cursor<'t>, RawText<'t>, &mut T) -> Result<(), NotJson>,
) -> Result<Vec<T>, NotJson> {
    let mut list = Vec::new();
    if cursor.kind()? != Kind::Array {
        cursor.skip()?;
        return Ok(list);
    }
    cursor.array(|cursor| {
        if cursor.kind()? != Kind::Object {
            return cursor.skip().map(drop);
        }
        let mut one = T::default();
        cursor.object(|cursor, name| member(cursor, name, &mut one))?;
        list.push(one);
        Ok::<(), NotJson>(())
    })?;
    Ok(list)
}

/// A string that UTF-8 can express; nothing of another type.
fn text<'t>(cursor: &mut Cursor<'t>) -> Result<Option<Cow<'t, str>>, NotJson> {
    if cursor.kind()? == Kind::Text {
        return Ok(cursor.string()?.decode());
    }
    cursor.skip()?;
    Ok(None)
}

fn number<'t>(cursor: &mut Cursor<'t>) -> Result<Option<&'t str>, NotJson> {
    if cursor.kind()? == Kind::Number {
        return cursor.number().map(Some);
    }
    cursor.skip()?;
    Ok(None)
}

fn text_or_leaves<'t>(
    cursor: &mut Cursor<'t>,
    others: &mut Vec<Cow<'t, str>>,
) -> Result<Option<Cow<'t, str>>, NotJson> {
    if cursor.kind()? == Kind::Text {
        return text(cursor);
    }
    leaves(cursor, others)?;
    Ok(None)
}

/// Reads a value of any type and collects its strings and numbers.
fn leaves<'t>(cursor: &mut Cursor<'t>, others: &mut Vec<Cow<'t, str>>) -> Result<(), NotJson> {
    match cursor.kind()? {
        Kind::Object => cursor.object(|cursor, _| leaves(cursor, others)),
        Kind::Array => cursor.array(|cursor| leaves(cursor, others)),
        Kind::Text => {
            others.extend(cursor.string()?.decode());
            Ok(())
        }
        Kind::Number => {
            others.push(Cow::Borrowed(cursor.number()?));
            Ok(())
        }
        _ => cursor.skip().map(drop),
    }
}
