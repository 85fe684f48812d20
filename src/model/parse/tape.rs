//! A view of simd-json's tape that treats duplicate properties as .NET does.
//!
//! Must not recurse: values that are not read are skipped by the counts on the tape, so nesting needs no stack. simd-json's
//! value types do not define the effect of duplicate keys; here readers see every property in order, and the last one with a
//! name wins.

use simd_json::{Node, StaticNode};

/// A JSON value: the tape from its node on.
#[derive(Clone, Copy)]
pub struct Value<'t, 'a>(&'t [Node<'a>]);

impl<'t, 'a> Value<'t, 'a> {
    /// The value at the start of `nodes`.
    pub fn new(nodes: &'t [Node<'a>]) -> Self {
        Self(nodes)
    }

    fn node(&self) -> Node<'a> {
        self.0.first().copied().unwrap_or(Node::Static(StaticNode::Null))
    }

    /// The tape behind this value.
    fn rest(&self) -> &'t [Node<'a>] {
        let nodes = match self.node() {
            Node::Object { count, .. } | Node::Array { count, .. } => count + 1,
            _ => 1,
        };
        self.0.get(nodes..).unwrap_or(&[])
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.node(), Node::Static(StaticNode::Null))
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&'a str> {
        match self.node() {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false`, if it is one of them.
    pub fn as_bool(&self) -> Option<bool> {
        match self.node() {
            Node::Static(StaticNode::Bool(value)) => Some(value),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self.node() {
            Node::Static(StaticNode::F64(value)) => Some(value),
            Node::Static(StaticNode::I64(value)) => Some(value as f64),
            Node::Static(StaticNode::U64(value)) => Some(value as f64),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self.node() {
            Node::Static(StaticNode::U64(value)) => Some(value),
            Node::Static(StaticNode::I64(value)) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// The properties of an object, in order, duplicates included.
    pub fn fields(&self) -> Option<Fields<'t, 'a>> {
        match self.node() {
            Node::Object { len, .. } => Some(Fields { nodes: self.0.get(1..).unwrap_or(&[]), left: len }),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn elements(&self) -> Option<Elements<'t, 'a>> {
        match self.node() {
            Node::Array { len, .. } => Some(Elements { nodes: self.0.get(1..).unwrap_or(&[]), left: len }),
            _ => None,
        }
    }

    /// The kind of the value, for messages.
    pub fn kind(&self) -> &'static str {
        match self.node() {
            Node::String(_) => "a string",
            Node::Object { .. } => "an object",
            Node::Array { .. } => "an array",
            Node::Static(StaticNode::Bool(_)) => "true or false",
            Node::Static(StaticNode::Null) => "null",
            Node::Static(_) => "a number",
        }
    }
}

/// The properties of an object.
#[derive(Clone, Default)]
pub struct Fields<'t, 'a> {
    nodes: &'t [Node<'a>],
    left: usize,
}

impl<'t, 'a> Iterator for Fields<'t, 'a> {
    type Item = (&'a str, Value<'t, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (Node::String(key), value) = self.nodes.split_first()? else {
            return None;
        };
        let value = Value(value);
        self.nodes = value.rest();
        Some((key, value))
    }
}

/// The elements of an array.
#[derive(Clone, Default)]
pub struct Elements<'t, 'a> {
    nodes: &'t [Node<'a>],
    left: usize,
}

impl<'t, 'a> Iterator for Elements<'t, 'a> {
    type Item = Value<'t, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let value = Value(self.nodes);
        self.nodes = value.rest();
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_, '_> {}

/// Binds the named properties of an object to variables of type `Option<Value>`; of duplicates the last wins.
macro_rules! pick {
    ($fields:expr => $($name:ident: $key:literal),+ $(,)?) => {
        let fields = $fields;
        $(let mut $name = None;)+
        for (name, value) in fields {
            match name {
                $($key => $name = Some(value),)+
                _ => {}
            }
        }
    };
}
pub(crate) use pick;
