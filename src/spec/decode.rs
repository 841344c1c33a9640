//! Syntax tree to types: a serde `Deserializer` over [`Node`], so that the language is plain `#[derive(Deserialize)]`.
//!
//! Beyond strict RON, a variant that holds a struct takes its fields directly (`Famo(gamma: 1e-3)`) or none at all
//! (`Famo()`, `Famo`), an optional value may stand without `Some`, and a number without its variant where that is called
//! `Number`.
//!
//! serde stops at the first error. [`decode`] therefore records it, sets the innermost faulty value aside and decodes
//! again, until all that is left is right; a field that is missing only because it was set aside is not reported again.

use std::collections::HashSet;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::diagnostic::Problem;
use super::fault::{Error, Expected, Fault};
use super::parse::MAX_PROBLEMS;
use super::suggest::nearest;
use super::syntax::{Body, Kind, Name, Node, Span};

/// What decoding a tree gave.
#[derive(Debug)]
pub struct Decoded<T> {
    /// The value; present in spite of problems when what is left without the faulty parts still makes sense.
    pub value: Option<T>,
    /// Everything wrong, in the order of discovery.
    pub problems: Vec<Problem>,
    /// The tree without the faulty parts.
    pub sound: Node,
    /// Where the faulty parts stood.
    pub faulty: Vec<Span>,
}

/// Nodes set aside, by address: the tree is borrowed, hence does not move, as long as this lives.
type Aside = HashSet<*const Node>;

/// Decodes a tree and finds all its problems. There is a value, or at least one problem, or the tree holds a
/// [`Kind::Broken`] that the parser has reported.
pub fn decode<T: DeserializeOwned>(root: &Node) -> Decoded<T> {
    let mut aside = Aside::new();
    let mut problems = Vec::new();
    let mut faulty = Vec::new();
    let value = loop {
        let error = match T::deserialize(De { node: root, aside: &aside }) {
            Ok(value) => break Some(value),
            Err(error) => error,
        };
        let (culprit, span) =
            error.culprit().map_or((std::ptr::from_ref(root), root.span), |node| (std::ptr::from_ref(node), node.span));
        problems.extend(error.into_problem(root.head));
        faulty.push(span);
        let settled = !aside.insert(culprit) || std::ptr::eq(culprit, root);
        if settled || problems.len() >= MAX_PROBLEMS || aside.len() >= 10 * MAX_PROBLEMS {
            break None;
        }
    };
    let sound = without(root, &aside);
    Decoded { value, problems, sound, faulty }
}

/// A copy of the tree that lacks what was set aside.
fn without(node: &Node, aside: &Aside) -> Node {
    let kept = |node: &&Node| !aside.contains(&std::ptr::from_ref(*node));
    let items = |items: &[Node]| items.iter().filter(kept).map(|item| without(item, aside)).collect();
    let kind = match &node.kind {
        Kind::List(list) => Kind::List(items(list)),
        Kind::Map(entries) => Kind::Map(
            entries
                .iter()
                .filter(|(key, value)| kept(&key) && kept(&value))
                .map(|(key, value)| (key.clone(), without(value, aside)))
                .collect(),
        ),
        Kind::Struct { name, body } => {
            let body = match body {
                Body::Absent => Body::Absent,
                Body::Items(list) => Body::Items(items(list)),
                Body::Fields(fields) => Body::Fields(
                    fields
                        .iter()
                        .filter(|(_, value)| kept(&value))
                        .map(|(name, value)| (name.clone(), without(value, aside)))
                        .collect(),
                ),
            };
            Kind::Struct { name: name.clone(), body }
        }
        scalar => scalar.clone(),
    };
    Node { span: node.span, head: node.head, kind }
}

/// A node as a serde deserializer.
#[derive(Clone, Copy)]
struct De<'a> {
    node: &'a Node,
    aside: &'a Aside,
}

impl<'a> De<'a> {
    fn with(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    fn is_aside(self, node: &'a Node) -> bool {
        self.aside.contains(&std::ptr::from_ref(node))
    }

    fn wrong<T>(self, expected: Expected) -> Result<T, Error<'a>> {
        self.fails(Fault::InvalidType(expected))
    }

    fn fails<T>(self, fault: Fault) -> Result<T, Error<'a>> {
        let fault = if self.node.kind == Kind::Broken { Fault::Reported } else { fault };
        Err(Error::new(fault).blame(self.node))
    }

    /// Blames this node for an error that the visitor itself raised.
    fn blamed<T>(self, result: Result<T, Error<'a>>) -> Result<T, Error<'a>> {
        result.map_err(|error| error.blame(self.node))
    }

    /// A number is handed to `ron` as it was written.
    fn number<V: Visitor<'a>>(self, literal: &'a str, visitor: V) -> Result<V::Value, Error<'a>> {
        let visited = ron::Deserializer::from_str(literal)
            .map_err(|error| error.code)
            .and_then(|mut ron| ron.deserialize_any(visitor));
        self.blamed(visited.map_err(|error| match error {
            ron::Error::InvalidValueForType { expected, .. } => {
                Error::new(Fault::InvalidType(Expected::from_serde(&expected)))
            }
            other => Error::custom(other),
        }))
    }

    /// The items, all of them: one that was set aside makes the whole fail, silently.
    fn all(self, items: &'a [Node]) -> Result<&'a [Node], Error<'a>> {
        if items.iter().any(|item| self.is_aside(item)) { self.fails(Fault::Reported) } else { Ok(items) }
    }

    /// Visits fields by name; `name` is the struct or variant they belong to.
    fn fields<V: Visitor<'a>>(self, name: &str, fields: &'a [(Name, Node)], visitor: V) -> Result<V::Value, Error<'a>> {
        let access = Fields { de: self, rest: fields.iter(), value: None };
        visitor.visit_map(access).map_err(|error| {
            // Missing only because it was set aside: wrong itself, or under a name that was probably meant to be it.
            let knock_on = error.is_fresh()
                && matches!(error.fault(), Fault::MissingField(missing)
                    if fields.iter().any(|(name, at)| self.is_aside(at) && nearest(&name.text, &[missing]).is_some()));
            let error = if knock_on { Error::new(Fault::Reported) } else { error };
            error.within(name).blame(self.node)
        })
    }

    /// Visits the list `items` without what was set aside.
    fn sequence<V: Visitor<'a>>(self, items: &'a [Node], visitor: V) -> Result<V::Value, Error<'a>> {
        self.blamed(visitor.visit_seq(Items { de: self, rest: items.iter() }))
    }

    fn name(self) -> String {
        self.node.name().unwrap_or_default().to_owned()
    }
}

macro_rules! number {
    ($($method:ident: $expected:expr),+ $(,)?) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
            match &self.node.kind {
                Kind::Number(literal) => self.number(literal, visitor),
                _ => self.wrong($expected),
            }
        })+
    };
}

impl<'a> Deserializer<'a> for De<'a> {
    type Error = Error<'a>;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        match &self.node.kind {
            Kind::Bool(value) => self.blamed(visitor.visit_bool(*value)),
            Kind::Number(literal) => self.number(literal, visitor),
            Kind::Char(value) => self.blamed(visitor.visit_char(*value)),
            Kind::Text(text) => self.blamed(visitor.visit_borrowed_str(text)),
            Kind::List(items) => self.sequence(items, visitor),
            Kind::Map(entries) => {
                self.blamed(visitor.visit_map(Entries { de: self, rest: entries.iter(), value: None }))
            }
            Kind::Struct { name: Some(name), .. } if !name.raw && matches!(name.text.as_str(), "Some" | "None") => {
                self.deserialize_option(visitor)
            }
            Kind::Struct { body: Body::Fields(fields), .. } => self.fields(&self.name(), fields, visitor),
            Kind::Struct { name: None, body: Body::Items(items) } if items.is_empty() => {
                self.blamed(visitor.visit_unit())
            }
            Kind::Struct { body: Body::Items(items), .. } => self.sequence(items, visitor),
            Kind::Struct { body: Body::Absent, .. } => self.blamed(visitor.visit_unit()),
            Kind::Broken => self.fails(Fault::Reported),
        }
    }

    number! {
        deserialize_i8: Expected::Whole(false), deserialize_i16: Expected::Whole(false),
        deserialize_i32: Expected::Whole(false), deserialize_i64: Expected::Whole(false),
        deserialize_u8: Expected::Whole(true), deserialize_u16: Expected::Whole(true),
        deserialize_u32: Expected::Whole(true), deserialize_u64: Expected::Whole(true),
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        let Kind::Number(literal) = &self.node.kind else { return self.wrong(Expected::Number) };
        match ron::from_str(literal) {
            Ok(value) => self.blamed(visitor.visit_f32(value)),
            Err(_) => self.number(literal, visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        let Kind::Number(literal) = &self.node.kind else { return self.wrong(Expected::Number) };
        match ron::from_str(literal) {
            Ok(value) => self.blamed(visitor.visit_f64(value)),
            Err(_) => self.number(literal, visitor),
        }
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        match &self.node.kind {
            Kind::Text(text) => self.blamed(visitor.visit_borrowed_str(text)),
            _ => self.wrong(Expected::Text),
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        let Kind::Struct { name: Some(name), body } = &self.node.kind else {
            return self.blamed(visitor.visit_some(self));
        };
        match (name.text.as_str(), body) {
            _ if name.raw => self.blamed(visitor.visit_some(self)),
            ("None", Body::Absent) => self.blamed(visitor.visit_none()),
            ("None", _) => self.fails(Fault::TakesNothing("None".to_owned())),
            ("Some", Body::Items(items)) => match self.all(items)? {
                [only] => self.blamed(visitor.visit_some(self.with(only))),
                several => self.fails(Fault::InvalidLength(several.len(), Expected::Words("one value".to_owned()))),
            },
            ("Some", Body::Fields(_)) => self.blamed(visitor.visit_some(Payload { de: self, variant: "Some" })),
            ("Some", Body::Absent) => self.fails(Fault::NeedsValue("Some")),
            _ => self.blamed(visitor.visit_some(self)),
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        match &self.node.kind {
            Kind::List(items) => self.sequence(items, visitor),
            _ => self.wrong(Expected::List),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, size: usize, visitor: V) -> Result<V::Value, Error<'a>> {
        match &self.node.kind {
            Kind::Struct { name: None, body: Body::Items(items) } => match self.all(items)? {
                items if items.len() == size => self.sequence(items, visitor),
                items => self.fails(Fault::InvalidLength(items.len(), Expected::Tuple(size))),
            },
            _ => self.wrong(Expected::Tuple(size)),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        size: usize,
        visitor: V,
    ) -> Result<V::Value, Error<'a>> {
        self.deserialize_tuple(size, visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        match &self.node.kind {
            Kind::Map(entries) => {
                self.blamed(visitor.visit_map(Entries { de: self, rest: entries.iter(), value: None }))
            }
            _ => self.wrong(Expected::Map),
        }
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error<'a>> {
        if self.node.name().is_some_and(|found| found != name) {
            return self.wrong(Expected::Fields(name));
        }
        Payload { de: self, variant: name }.deserialize_struct(name, &[], visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error<'a>> {
        match &self.node.kind {
            Kind::Struct { name: Some(found), body: Body::Items(items) } if found.text == name => {
                match self.all(items)? {
                    [only] => self.blamed(visitor.visit_newtype_struct(self.with(only))),
                    several => self.fails(Fault::InvalidLength(several.len(), Expected::Words("one value".to_owned()))),
                }
            }
            _ => self.blamed(visitor.visit_newtype_struct(self)),
        }
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error<'a>> {
        if let (Kind::Number(_), Some(variant)) = (&self.node.kind, variants.iter().find(|known| **known == "Number")) {
            return self.blamed(visitor.visit_enum(Variant { de: self, variant }));
        }
        let Kind::Struct { name: Some(variant), .. } = &self.node.kind else {
            return self.wrong(Expected::Variant(name, variants));
        };
        let Some(variant) = variants.iter().copied().find(|known| *known == variant.text) else {
            return self.fails(Fault::UnknownVariant { name: variant.text.clone(), of: name, expected: variants });
        };
        self.blamed(visitor.visit_enum(Variant { de: self, variant }))
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        match &self.node.kind {
            Kind::Struct { name: None, body: Body::Items(items) } if items.is_empty() => {
                self.blamed(visitor.visit_unit())
            }
            _ => self.wrong(Expected::Words("`()`".to_owned())),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error<'a>> {
        if self.node.name() == Some(name) { self.blamed(visitor.visit_unit()) } else { self.deserialize_unit(visitor) }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        self.blamed(visitor.visit_unit())
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        match self.node.kind {
            Kind::Bool(value) => self.blamed(visitor.visit_bool(value)),
            _ => self.wrong(Expected::Words("`true` or `false`".to_owned())),
        }
    }

    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error<'a>> {
        match self.node.kind {
            Kind::Char(value) => self.blamed(visitor.visit_char(value)),
            _ => self.wrong(Expected::Words("a character in single quotes".to_owned())),
        }
    }

    forward_to_deserialize_any! { <V: Visitor<'a>> i128 u128 bytes byte_buf identifier }
}

/// What a newtype variant holds when no value of its own stands in its brackets: a struct takes what is there as its
/// fields, anything else finds its value missing.
struct Payload<'a> {
    de: De<'a>,
    variant: &'static str,
}

impl<'a> Deserializer<'a> for Payload<'a> {
    type Error = Error<'a>;

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error<'a>> {
        match &self.de.node.kind {
            Kind::Struct { body: Body::Fields(fields), .. } => self.de.fields(name, fields, visitor),
            Kind::Struct { body: Body::Absent, .. } => self.de.fields(name, &[], visitor),
            Kind::Struct { body: Body::Items(items), .. } if items.is_empty() => self.de.fields(name, &[], visitor),
            _ => self.de.wrong(Expected::Fields(name)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error<'a>> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'a>>(self, _: V) -> Result<V::Value, Error<'a>> {
        self.de.fails(Fault::NeedsValue(self.variant))
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The items of a list, without those set aside.
struct Items<'a> {
    de: De<'a>,
    rest: std::slice::Iter<'a, Node>,
}

impl<'a> de::SeqAccess<'a> for Items<'a> {
    type Error = Error<'a>;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error<'a>> {
        let de = self.de;
        let next = self.rest.find(|item| !de.is_aside(item));
        next.map(|item| seed.deserialize(de.with(item)).map_err(|error| error.blame(item))).transpose()
    }
}

/// The entries of a map, without those set aside.
struct Entries<'a> {
    de: De<'a>,
    rest: std::slice::Iter<'a, (Node, Node)>,
    value: Option<&'a Node>,
}

impl<'a> de::MapAccess<'a> for Entries<'a> {
    type Error = Error<'a>;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error<'a>> {
        let de = self.de;
        let Some((key, value)) = self.rest.find(|(key, value)| !de.is_aside(value) && !de.is_aside(key)) else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(de.with(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error<'a>> {
        let value = self.value.take().ok_or_else(|| Error::custom("a value was asked for before its key"))?;
        seed.deserialize(self.de.with(value)).map_err(|error| error.blame(value))
    }
}

/// The fields of a struct, without those set aside.
struct Fields<'a> {
    de: De<'a>,
    rest: std::slice::Iter<'a, (Name, Node)>,
    value: Option<&'a Node>,
}

impl<'a> de::MapAccess<'a> for Fields<'a> {
    type Error = Error<'a>;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error<'a>> {
        let de = self.de;
        let Some((name, value)) = self.rest.find(|(_, value)| !de.is_aside(value)) else { return Ok(None) };
        self.value = Some(value);
        let key: StrDeserializer<'_, Error<'a>> = name.text.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.blame(value).at(name.span))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error<'a>> {
        let value = self.value.take().ok_or_else(|| Error::custom("a value was asked for before its field"))?;
        seed.deserialize(self.de.with(value)).map_err(|error| error.blame(value))
    }
}

/// A variant of an enum.
struct Variant<'a> {
    de: De<'a>,
    variant: &'static str,
}

impl<'a> de::EnumAccess<'a> for Variant<'a> {
    type Error = Error<'a>;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), Error<'a>> {
        let name: StrDeserializer<'_, Error<'a>> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'a> Variant<'a> {
    fn body(&self) -> &'a Body {
        match &self.de.node.kind {
            Kind::Struct { body, .. } => body,
            _ => &Body::Absent,
        }
    }
}

impl<'a> de::VariantAccess<'a> for Variant<'a> {
    type Error = Error<'a>;

    fn unit_variant(self) -> Result<(), Error<'a>> {
        match self.body() {
            Body::Absent => Ok(()),
            Body::Items(items) if items.is_empty() => Ok(()),
            _ => self.de.fails(Fault::TakesNothing(self.variant.to_owned())),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Error<'a>> {
        if let Kind::Number(_) = self.de.node.kind {
            return seed.deserialize(self.de);
        }
        match self.body() {
            Body::Items(items) => match self.de.all(items)? {
                [only] => self.de.blamed(seed.deserialize(self.de.with(only))),
                [] => self.de.blamed(seed.deserialize(Payload { de: self.de, variant: self.variant })),
                several => self.de.fails(Fault::InvalidLength(several.len(), Expected::Words("one value".to_owned()))),
            },
            Body::Absent | Body::Fields(_) => {
                self.de.blamed(seed.deserialize(Payload { de: self.de, variant: self.variant }))
            }
        }
    }

    fn tuple_variant<V: Visitor<'a>>(self, size: usize, visitor: V) -> Result<V::Value, Error<'a>> {
        match self.body() {
            Body::Items(items) => match self.de.all(items)? {
                items if items.len() == size => self.de.sequence(items, visitor),
                items => self.de.fails(Fault::InvalidLength(items.len(), Expected::Tuple(size))),
            },
            _ => self.de.fails(Fault::NeedsValue(self.variant)),
        }
    }

    fn struct_variant<V: Visitor<'a>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error<'a>> {
        Payload { de: self.de, variant: self.variant }.deserialize_struct(self.variant, &[], visitor)
    }
}
