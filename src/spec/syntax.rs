//! The syntax tree of RON: what a file says, and where it says it.

/// A stretch of one source, in bytes; the source is an index into [`Problems::sources`](super::Problems::sources).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which source: the pipeline file is 0, the `--set` arguments follow in order.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// Whether `other` lies within this stretch.
    pub fn covers(&self, other: Span) -> bool {
        self.source == other.source && self.start <= other.start && other.end <= self.end
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The whole value.
    pub span: Span,
    /// What to point at when the value as a whole is meant: its name or opening bracket, a scalar itself.
    pub head: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a value is, before anybody knows its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `true`, `false`.
    Bool(bool),
    /// A number as it was written; `ron` has accepted it.
    Number(String),
    /// A character, decoded.
    Char(char),
    /// A string, decoded.
    Text(String),
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{a: b}`.
    Map(Vec<(Node, Node)>),
    /// Whatever has a name, round brackets, or both: `ES`, `()`, `(1, 2)`, `(a: 1)`, `Random(0.2)`, `Famo(gamma: 1e-3)`.
    Struct {
        /// The name, if there is one.
        name: Option<Name>,
        /// What the round brackets hold.
        body: Body,
    },
    /// A literal that could not be read; the parser has reported it.
    Broken,
}

/// An identifier and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// Where.
    pub span: Span,
    /// The identifier.
    pub text: String,
    /// Written `r#name`: a name even where `name` alone would be a word of RON, as in `r#None`.
    pub raw: bool,
}

/// What the round brackets hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// There are no brackets.
    Absent,
    /// `()`, `(a, b)`.
    Items(Vec<Node>),
    /// `(x: a, y: b)`.
    Fields(Vec<(Name, Node)>),
}

impl Node {
    /// The part of this value that `key` names: a field, the value of a map's key, an index. A lone value in round
    /// brackets, as in `Some(..)`, is looked through.
    pub fn child(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::List(items) => items.get(key.parse::<usize>().ok()?),
            Kind::Map(entries) => {
                entries.iter().find(|(k, _)| matches!(&k.kind, Kind::Text(text) if text == key)).map(|(_, v)| v)
            }
            Kind::Struct { body: Body::Fields(fields), .. } => {
                fields.iter().find(|(name, _)| name.text == key).map(|(_, value)| value)
            }
            Kind::Struct { body: Body::Items(items), .. } => match (key.parse::<usize>(), items.as_slice()) {
                (Ok(index), items) => items.get(index),
                (Err(_), [only]) => only.child(key),
                (Err(_), _) => None,
            },
            _ => None,
        }
    }

    /// The deepest part that is written out on the way down `path`; the value itself where nothing is.
    pub fn locate(&self, path: &[&str]) -> &Node {
        path.iter().try_fold(self, |node, key| node.child(key).ok_or(node)).unwrap_or_else(|deepest| deepest)
    }

    /// The map's key of this text.
    pub fn key(&self, key: &str) -> Option<&Node> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().map(|(k, _)| k).find(|k| matches!(&k.kind, Kind::Text(text) if text == key))
    }

    /// The name in front of the brackets, or standing alone.
    pub fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Struct { name: Some(name), .. } => Some(&name.text),
            _ => None,
        }
    }

    /// Takes the positions of `original`, a tree of the same meaning; what is not written out there stands at
    /// `otherwise`, the nearest thing that is.
    pub(super) fn adopt(&mut self, original: Option<&Node>, otherwise: Span) {
        (self.span, self.head) = original.map_or((otherwise, otherwise), |o| (o.span, o.head));
        let head = self.head;
        // `Some(x)` may be written as plain `x`.
        let bare = original.filter(|o| o.name() != Some("Some"));
        let some = self.name() == Some("Some");
        let child = |key: &str| original.and_then(|o| o.child(key));
        match &mut self.kind {
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.adopt(child(&index.to_string()), head);
                }
            }
            Kind::Map(entries) => {
                for (key, value) in entries {
                    let Kind::Text(text) = &key.kind else { continue };
                    let text = text.clone();
                    key.adopt(original.and_then(|o| o.key(&text)), head);
                    value.adopt(child(&text), key.head);
                }
            }
            Kind::Struct { name, body } => {
                if let Some(name) = name {
                    name.span = head;
                }
                match body {
                    Body::Absent => {}
                    Body::Items(items) => {
                        for (index, item) in items.iter_mut().enumerate() {
                            let part = if some && bare.is_some() { bare } else { child(&index.to_string()) };
                            item.adopt(part, head);
                        }
                    }
                    Body::Fields(fields) => {
                        for (name, value) in fields {
                            value.adopt(child(&name.text), head);
                            name.span = value.head;
                        }
                    }
                }
            }
            Kind::Bool(_) | Kind::Number(_) | Kind::Char(_) | Kind::Text(_) | Kind::Broken => {}
        }
    }

    /// What it is, in words, for "expected .., found ..".
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Bool(value) => format!("`{value}`"),
            Kind::Number(literal) => format!("the number `{}`", shortened(literal)),
            Kind::Char(value) => format!("the character {value:?}"),
            Kind::Text(text) => format!("the string {:?}", shortened(text)),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
            Kind::Struct { name: Some(name), body: Body::Absent } => format!("the name `{}`", shortened(&name.text)),
            Kind::Struct { name: Some(name), .. } => format!("`{}(..)`", shortened(&name.text)),
            Kind::Struct { name: None, body: Body::Fields(_) } => "named fields in round brackets".to_owned(),
            Kind::Struct { name: None, body: Body::Items(items) } if items.is_empty() => "`()`".to_owned(),
            Kind::Struct { name: None, .. } => "values in round brackets".to_owned(),
            Kind::Broken => "something unreadable".to_owned(),
        }
    }
}

/// The one-line canonical form: no spaces, names of structs and variants kept, numbers and strings as they were read.
impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn list<T>(
            f: &mut std::fmt::Formatter<'_>,
            open: char,
            items: &[T],
            close: char,
            write: impl Fn(&mut std::fmt::Formatter<'_>, &T) -> std::fmt::Result,
        ) -> std::fmt::Result {
            write!(f, "{open}")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    f.write_str(",")?;
                }
                write(f, item)?;
            }
            write!(f, "{close}")
        }
        match &self.kind {
            Kind::Bool(value) => write!(f, "{value}"),
            Kind::Number(literal) => f.write_str(literal),
            Kind::Char(value) => write!(f, "{value:?}"),
            Kind::Text(text) => write!(f, "{text:?}"),
            Kind::List(items) => list(f, '[', items, ']', |f, item| write!(f, "{item}")),
            Kind::Map(entries) => list(f, '{', entries, '}', |f, (key, value)| write!(f, "{key}:{value}")),
            Kind::Struct { name, body } => {
                if let Some(name) = name {
                    f.write_str(&name.text)?;
                }
                match body {
                    Body::Absent => Ok(()),
                    Body::Items(items) => list(f, '(', items, ')', |f, item| write!(f, "{item}")),
                    Body::Fields(fields) => {
                        list(f, '(', fields, ')', |f, (name, value)| write!(f, "{}:{value}", name.text))
                    }
                }
            }
            Kind::Broken => f.write_str("?"),
        }
    }
}

/// At most forty characters of a text, for messages.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
