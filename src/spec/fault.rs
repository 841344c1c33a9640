//! What can be wrong with a value: the structured errors of decoding, and their words.

use std::fmt;

use serde::de;

use super::diagnostic::Problem;
use super::suggest::{did_you_mean, listed};
use super::syntax::{Body, Kind, Node, Span, shortened};

/// What should have stood in a place.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// A string.
    Text,
    /// An integer; `true` if it may not be negative.
    Whole(bool),
    /// Any number.
    Number,
    /// `[..]`.
    List,
    /// `{..}`.
    Map,
    /// This many values in round brackets.
    Tuple(usize),
    /// The fields of this struct or variant.
    Fields(&'static str),
    /// One of the variants of this enum.
    Variant(&'static str, &'static [&'static str]),
    /// Anything else, in words.
    Words(String),
}

impl Expected {
    /// serde's words for what a visitor wants, made ours.
    pub(super) fn from_serde(words: &str) -> Self {
        match words {
            "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => Self::Whole(true),
            "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => Self::Whole(false),
            "f32" | "f64" => Self::Number,
            "a string" | "string" => Self::Text,
            "a sequence" => Self::List,
            "a map" => Self::Map,
            "a boolean" => Self::Words("`true` or `false`".to_owned()),
            "unit" => Self::Words("`()`".to_owned()),
            other => {
                let size = other.strip_prefix("a tuple of size ").and_then(|size| size.parse().ok());
                size.map_or_else(|| Self::Words(other.to_owned()), Self::Tuple)
            }
        }
    }

    /// How to turn what was found into what was expected, where that is clear.
    fn remedy(&self, found: &Node) -> Option<String> {
        match (self, &found.kind) {
            (Self::Text, Kind::Struct { name: Some(name), body: Body::Absent }) => {
                Some(format!("strings have quotes: `{:?}`", shortened(&name.text)))
            }
            (Self::Text, Kind::Number(literal)) => Some(format!("strings have quotes: `\"{}\"`", shortened(literal))),
            (Self::Whole(_), Kind::Number(literal)) => {
                let value: f64 =
                    literal.parse().ok().filter(|value: &f64| value.fract() == 0.0 && value.abs() < 1e15)?;
                let whole = format!("{value:.0}");
                (whole != *literal).then(|| format!("write `{whole}`"))
            }
            (Self::Whole(_) | Self::Number, Kind::Text(text)) if text.parse::<f64>().is_ok() => {
                Some(format!("numbers have no quotes: `{}`", shortened(text)))
            }
            (Self::List, _) => Some("a list is written `[a, b]`".to_owned()),
            (Self::Map, _) => Some("a map is written `{ \"name\": value, .. }`".to_owned()),
            (Self::Tuple(_), Kind::List(_)) => Some("use round brackets: `(a, b)`".to_owned()),
            (Self::Fields(name), _) => Some(format!("write `{name}(field: value, ..)`")),
            (Self::Variant(_, variants), Kind::Text(text)) => {
                let near = super::suggest::nearest(text, variants);
                Some(near.map_or_else(
                    || format!("names have no quotes: one of {}", listed(variants)),
                    |near| format!("names have no quotes: `{near}`"),
                ))
            }
            (Self::Variant(of, variants), _) if noun(of) != "value" => {
                Some(format!("write one of {}", listed(variants)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("a string"),
            Self::Whole(true) => f.write_str("a whole number of at least 0"),
            Self::Whole(false) => f.write_str("a whole number"),
            Self::Number => f.write_str("a number"),
            Self::List => f.write_str("a list"),
            Self::Map => f.write_str("a map"),
            Self::Tuple(size) => write!(f, "{size} values in round brackets"),
            Self::Fields(name) => write!(f, "`{name}(..)`"),
            Self::Variant(of, variants) => match noun(of) {
                "value" => write!(f, "one of {}", listed(variants)),
                noun => write!(f, "a {noun}"),
            },
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A field that its struct does not have.
    UnknownField {
        /// As written.
        name: String,
        /// The fields there are.
        expected: &'static [&'static str],
    },
    /// A variant that its enum does not have.
    UnknownVariant {
        /// As written.
        name: String,
        /// The enum.
        of: &'static str,
        /// The variants there are.
        expected: &'static [&'static str],
    },
    /// A field without default is not given.
    MissingField(&'static str),
    /// Another kind of value than the place takes.
    InvalidType(Expected),
    /// A variant that needs a value stands alone.
    NeedsValue(&'static str),
    /// A variant or struct that takes nothing in its brackets was given something.
    TakesNothing(String),
    /// Another number of values than the place takes.
    InvalidLength(usize, Expected),
    /// What a type's own rules say.
    Custom(String),
    /// The consequence of something that has been reported.
    Reported,
}

/// An error of decoding: what is wrong, and with which part of the tree.
#[derive(Debug, Clone)]
pub struct Error<'a> {
    fault: Fault,
    /// The struct or variant whose field it is.
    within: Option<String>,
    culprit: Option<&'a Node>,
    /// Where to point, when not at the culprit's head.
    at: Option<Span>,
}

impl<'a> Error<'a> {
    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, within: None, culprit: None, at: None }
    }

    /// Blames a node, unless a deeper one is blamed already.
    pub(super) fn blame(mut self, node: &'a Node) -> Self {
        self.culprit.get_or_insert(node);
        self
    }

    /// Points elsewhere than at the blamed node's head, unless that is decided already.
    pub(super) fn at(mut self, span: Span) -> Self {
        self.at.get_or_insert(span);
        self
    }

    /// Says whose field it is, unless that is said already.
    pub(super) fn within(mut self, name: &str) -> Self {
        self.within.get_or_insert_with(|| name.to_owned());
        self
    }

    /// Whether nobody is blamed yet: the error was raised by the value being visited just now.
    pub(super) fn is_fresh(&self) -> bool {
        self.culprit.is_none()
    }

    pub(super) fn fault(&self) -> &Fault {
        &self.fault
    }

    pub(super) fn culprit(&self) -> Option<&'a Node> {
        self.culprit
    }

    /// The error in words; nothing if it is only the consequence of another.
    pub(super) fn into_problem(self, otherwise: Span) -> Option<Problem> {
        let span = self.at.or(self.culprit.map(|node| node.head)).unwrap_or(otherwise);
        let within = self.within.as_deref();
        let of = within.map_or_else(String::new, |name| format!(" of `{name}`"));
        let found = self.culprit.map_or_else(|| "something else".to_owned(), Node::describe);
        Some(match self.fault {
            Fault::Reported => return None,
            Fault::UnknownField { name, expected } => {
                let introduction =
                    within.map_or_else(|| "the fields are".to_owned(), |name| format!("the fields of `{name}` are"));
                let hint = match expected {
                    [] => within
                        .map_or_else(|| "there are no fields".to_owned(), |name| format!("`{name}` has no fields")),
                    expected => did_you_mean(&name, expected, &introduction),
                };
                Problem::new(format!("unknown field `{}`{of}", shortened(&name)), span)
                    .label("not a field here")
                    .hint(hint)
            }
            Fault::UnknownVariant { name, of, expected } => {
                let noun = noun(of);
                let hint = did_you_mean(&name, expected, "one of these may stand here:");
                Problem::new(format!("unknown {noun} `{}`", shortened(&name)), span)
                    .label(format!("not a {noun}"))
                    .hint(hint)
            }
            Fault::MissingField(field) => Problem::new(format!("missing field `{field}`{of}"), span)
                .label("in this")
                .hint(format!("`{field}` has no default: add `{field}: ..`")),
            Fault::InvalidType(expected) => {
                let problem = Problem::new(format!("expected {expected}, found {found}"), span)
                    .label(format!("should be {expected}"));
                match self.culprit.and_then(|node| expected.remedy(node)) {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            }
            Fault::NeedsValue(name) => Problem::new(format!("`{name}` needs a value"), span)
                .label("without a value")
                .hint(format!("write `{name}(..)` with the value in the brackets")),
            Fault::TakesNothing(name) => {
                Problem::new(format!("`{name}` takes nothing in brackets"), span).hint(format!("write `{name}`"))
            }
            Fault::InvalidLength(length, expected) => {
                Problem::new(format!("expected {expected}, found {length}"), span)
                    .label(format!("should be {expected}"))
            }
            Fault::Custom(message) => Problem::new(message, span),
        })
    }
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nowhere = Span { source: 0, start: 0, end: 0 };
        let problem = self.clone().into_problem(nowhere);
        f.write_str(problem.as_ref().map_or("already reported", |problem| &problem.message))
    }
}

impl std::error::Error for Error<'_> {}

impl de::Error for Error<'_> {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Fault::Custom(message.to_string()))
    }

    fn invalid_type(_: de::Unexpected, expected: &dyn de::Expected) -> Self {
        Self::new(Fault::InvalidType(Expected::from_serde(&expected.to_string())))
    }

    fn invalid_value(_: de::Unexpected, expected: &dyn de::Expected) -> Self {
        Self::new(Fault::InvalidType(Expected::from_serde(&expected.to_string())))
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self::new(Fault::InvalidLength(length, Expected::from_serde(&expected.to_string())))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownField { name: field.to_owned(), expected })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownVariant { name: variant.to_owned(), of: "", expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Fault::MissingField(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Fault::Custom(format!("field `{field}` is given twice")))
    }
}

/// What a variant of an enum of the language is called in a sentence.
fn noun(of: &str) -> &'static str {
    match of {
        "Stage" => "stage kind",
        "Dataset" => "data set",
        "Arch" => "model architecture",
        "Balancer" => "balancer",
        "Optimizer" => "kind of optimizer",
        "Metric" => "metric",
        "Country" => "country",
        _ => "value",
    }
}
