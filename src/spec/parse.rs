//! Text to syntax tree: a recursive-descent parser for the structure of RON. Numbers, strings and characters are handed
//! to the `ron` crate, so their forms and escapes are RON's own.
//!
//! The parser goes on after what it can mend (a missing comma, a bad literal, a repeated field), so that one run reports
//! it all.

use std::collections::HashMap;

use super::diagnostic::Problem;
use super::syntax::{Body, Kind, Name, Node, Span};

/// Deepest nesting of brackets: far more than any pipeline needs, far less than the stack holds.
const MAX_DEPTH: usize = 128;

/// More problems than this in one text are of no use to anybody.
pub(super) const MAX_PROBLEMS: usize = 100;

/// Parses a whole file.
///
/// Without a tree there is at least one problem; with problems the tree holds what could be made out.
pub fn parse_file(text: &str, source: usize) -> (Option<Node>, Vec<Problem>) {
    let mut parser = Parser::new(text, source, 0);
    parser.rest_consumed("\u{feff}");
    let node = parser.attributes().and_then(|()| parser.document());
    parser.finish(node)
}

/// Parses the value that begins at byte `start` and takes up the rest of the text.
pub fn parse_value(text: &str, source: usize, start: usize) -> (Option<Node>, Vec<Problem>) {
    let mut parser = Parser::new(text, source, start);
    let node = parser.document();
    parser.finish(node)
}

/// Parsing stopped; boxed because it is the rare case.
struct Fatal(Box<Problem>);

type Parsed<T> = Result<T, Fatal>;

struct Parser<'a> {
    text: &'a str,
    source: usize,
    at: usize,
    depth: usize,
    problems: Vec<Problem>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, source: usize, at: usize) -> Self {
        Self { text, source, at, depth: 0, problems: Vec::new() }
    }

    fn finish(mut self, node: Parsed<Node>) -> (Option<Node>, Vec<Problem>) {
        match node {
            Ok(node) => (Some(node), self.problems),
            Err(Fatal(problem)) => {
                self.problems.push(*problem);
                (None, self.problems)
            }
        }
    }

    // --- characters ---

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over `prefix` if the rest begins with it.
    fn rest_consumed(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !accept(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn span(&self, start: usize) -> Span {
        Span { source: self.source, start, end: self.at }
    }

    /// The next character, or the empty stretch at the end.
    fn here(&self) -> Span {
        Span { source: self.source, start: self.at, end: self.at + self.peek().map_or(0, char::len_utf8) }
    }

    /// What stands here, for "expected .., found ..".
    fn found(&self) -> String {
        match self.peek() {
            None => "the end".to_owned(),
            Some('"') => "a string".to_owned(),
            Some(c) if is_name_start(c) => {
                let rest = self.rest();
                format!("`{}`", super::syntax::shortened(&rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]))
            }
            Some(c) if c.is_control() => format!("{c:?}"),
            Some(c) => format!("`{c}`"),
        }
    }

    /// Whitespace and comments; block comments nest.
    fn trivia(&mut self) -> Parsed<()> {
        loop {
            self.take_while(is_space);
            let start = self.at;
            if self.rest_consumed("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest_consumed("/*") {
                let opened = self.span(start);
                let mut open = 1;
                while open > 0 {
                    if self.rest_consumed("/*") {
                        open += 1;
                    } else if self.rest_consumed("*/") {
                        open -= 1;
                    } else if let Some(c) = self.peek() {
                        self.at += c.len_utf8();
                    } else {
                        return Err(fatal(
                            Problem::new("unclosed comment", opened).label("opened here").hint("close it with `*/`"),
                        ));
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    // --- the document ---

    fn document(&mut self) -> Parsed<Node> {
        self.trivia()?;
        let node = self.value()?;
        self.trivia()?;
        if self.at < self.text.len() {
            let message = format!("expected nothing more, found {}", self.found());
            return Err(fatal(Problem::new(message, self.here()).label("the value is complete before this")));
        }
        Ok(node)
    }

    /// `#![enable(..)]`, `#![type = ".."]`, `#![schema = ".."]`: what they allow is allowed here anyway.
    fn attributes(&mut self) -> Parsed<()> {
        loop {
            self.trivia()?;
            let start = self.at;
            if !self.rest_consumed("#") {
                return Ok(());
            }
            self.expect("!", start)?;
            self.expect("[", start)?;
            self.trivia()?;
            let name = self.take_while(is_name);
            match name {
                "enable" => {
                    self.expect("(", start)?;
                    self.trivia()?;
                    while !self.rest_consumed(")") {
                        self.extension()?;
                        self.trivia()?;
                        if !self.rest_consumed(",") {
                            self.expect(")", start)?;
                            break;
                        }
                        self.trivia()?;
                    }
                }
                "type" | "schema" => {
                    self.expect("=", start)?;
                    self.trivia()?;
                    self.value()?;
                }
                _ => {
                    return Err(fatal(
                        Problem::new("unknown attribute", self.span(start))
                            .hint("only `#![enable(..)]` is of use here"),
                    ));
                }
            }
            self.expect("]", start)?;
        }
    }

    fn extension(&mut self) -> Parsed<()> {
        const HARMLESS: [&str; 3] = ["unwrap_newtypes", "implicit_some", "unwrap_variant_newtypes"];
        let start = self.at;
        let name = self.take_while(is_name);
        if HARMLESS.contains(&name) {
            return Ok(());
        }
        let hint = super::suggest::did_you_mean(name, &HARMLESS, "the extensions are");
        Err(fatal(Problem::new(format!("unsupported extension `{name}`"), self.span(start)).hint(hint)))
    }

    fn expect(&mut self, token: &str, start: usize) -> Parsed<()> {
        self.trivia()?;
        if self.rest_consumed(token) {
            return Ok(());
        }
        let message = format!("expected `{token}`, found {}", self.found());
        Err(fatal(
            Problem::new(message, self.here())
                .related(Span { source: self.source, start, end: start + 1 }, "in the attribute that begins here"),
        ))
    }

    // --- values ---

    fn value(&mut self) -> Parsed<Node> {
        if self.depth == MAX_DEPTH {
            return Err(fatal(Problem::new(format!("nested more than {MAX_DEPTH} brackets deep"), self.here())));
        }
        self.depth += 1;
        let node = self.value_at_this_depth();
        self.depth -= 1;
        node
    }

    fn value_at_this_depth(&mut self) -> Parsed<Node> {
        let start = self.at;
        let rest = self.rest();
        let Some(first) = self.peek() else {
            return Err(fatal(Problem::new("expected a value, found the end", self.here())));
        };
        match first {
            '(' => {
                let body = self.body()?;
                Ok(self.node(start, start + 1, Kind::Struct { name: None, body }))
            }
            '[' => {
                let items = self.bracketed(']', Self::value)?;
                Ok(self.node(start, start + 1, Kind::List(items)))
            }
            '{' => {
                let entries = self.map()?;
                Ok(self.node(start, start + 1, Kind::Map(entries)))
            }
            '"' => self.string(),
            'r' if ["r\"", "r#\"", "r##"].iter().any(|prefix| rest.starts_with(prefix)) => self.raw_string(),
            'b' if ["b\"", "b'", "br\"", "br#"].iter().any(|prefix| rest.starts_with(prefix)) => {
                let message = "byte strings have no place in a pipeline";
                Err(fatal(Problem::new(message, self.here()).hint("write a plain string: `\"..\"`")))
            }
            '\'' => self.character(),
            '0'..='9' | '+' | '-' | '.' => Ok(self.number()),
            c if is_name_start(c) => self.named(),
            _ => Err(fatal(Problem::new(format!("expected a value, found {}", self.found()), self.here()))),
        }
    }

    fn node(&self, start: usize, head_end: usize, kind: Kind) -> Node {
        let span = self.span(start);
        Node { span, head: Span { end: head_end, ..span }, kind }
    }

    fn scalar(&self, start: usize, kind: Kind) -> Node {
        self.node(start, self.at, kind)
    }

    /// A name, perhaps with round brackets after it.
    fn named(&mut self) -> Parsed<Node> {
        let start = self.at;
        let name = self.name();
        match name.text.as_str() {
            _ if name.raw => {}
            "true" => return Ok(self.scalar(start, Kind::Bool(true))),
            "false" => return Ok(self.scalar(start, Kind::Bool(false))),
            "inf" | "inff32" | "inff64" | "NaN" | "NaNf32" | "NaNf64" => {
                return Ok(self.scalar(start, Kind::Number(name.text)));
            }
            _ => {}
        }
        let end = self.at;
        self.trivia()?;
        if self.peek() == Some('(') {
            let body = self.body()?;
            return Ok(self.node(start, end, Kind::Struct { name: Some(name), body }));
        }
        self.at = end;
        Ok(self.scalar(start, Kind::Struct { name: Some(name), body: Body::Absent }))
    }

    /// A name; `r#name` is the same, and how `ron` itself writes a name that means something else to it.
    fn name(&mut self) -> Name {
        let start = self.at;
        let raw = self.rest().strip_prefix("r#").is_some_and(|rest| rest.starts_with(is_name));
        let text = if raw {
            self.at += 2;
            self.take_while(|c| is_name(c) || matches!(c, '.' | '+' | '-'))
        } else {
            self.take_while(is_name)
        };
        Name { span: self.span(start), text: text.to_owned(), raw }
    }

    /// Round brackets and what they hold: fields if the first thing is a name and a colon, else values.
    fn body(&mut self) -> Parsed<Body> {
        if self.begins_with_field()? {
            let mut fields = self.bracketed(')', Self::field)?;
            self.without_repeats(&mut fields, "field", |(name, _)| Some((name.text.clone(), name.span)));
            return Ok(Body::Fields(fields));
        }
        Ok(Body::Items(self.bracketed(')', Self::value)?))
    }

    fn begins_with_field(&mut self) -> Parsed<bool> {
        let start = self.at;
        self.at += 1;
        self.trivia()?;
        let named = self.peek().is_some_and(is_name_start) && !self.name().text.is_empty();
        self.trivia()?;
        // `=` is what people write by habit; `field` says what to write instead.
        let field = named && matches!(self.peek(), Some(':' | '='));
        self.at = start;
        Ok(field)
    }

    fn field(&mut self) -> Parsed<(Name, Node)> {
        if !self.peek().is_some_and(is_name_start) {
            let message = format!("expected a field's name, found {}", self.found());
            return Err(fatal(Problem::new(message, self.here()).hint("fields are written `name: value`")));
        }
        let name = self.name();
        self.colon()?;
        Ok((name, self.value()?))
    }

    fn map(&mut self) -> Parsed<Vec<(Node, Node)>> {
        let mut entries = self.bracketed('}', |parser| {
            let key = parser.value()?;
            parser.colon()?;
            Ok((key, parser.value()?))
        })?;
        self.without_repeats(&mut entries, "key", |(key, _)| Some((key.to_string(), key.head)));
        Ok(entries)
    }

    fn colon(&mut self) -> Parsed<()> {
        self.trivia()?;
        if !self.rest_consumed(":") {
            let problem = Problem::new(format!("expected `:`, found {}", self.found()), self.here());
            if !self.rest_consumed("=") {
                return Err(fatal(problem));
            }
            self.problems.push(problem.hint("a name and its value are joined by `:`"));
        }
        self.trivia()
    }

    /// From an opening bracket to its partner: entries with commas between them, one more allowed at the end.
    fn bracketed<T>(&mut self, close: char, mut entry: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let opened = self.here();
        let mut entries = Vec::new();
        self.at += 1;
        loop {
            self.trivia()?;
            match self.peek() {
                Some(c) if c == close => {
                    self.at += 1;
                    return Ok(entries);
                }
                None | Some(')' | ']' | '}') => return Err(self.unclosed(opened, close)),
                Some(_) => entries.push(entry(self)?),
            }
            let end = self.at;
            self.trivia()?;
            match self.peek() {
                Some(',') => self.at += 1,
                Some(')' | ']' | '}') | None => {}
                Some(found) => {
                    let message = format!("expected `,` or `{close}`, found {}", self.found());
                    let problem = Problem::new(message, self.here());
                    let mendable = found == ';' || found == '"' || is_name_start(found);
                    if !mendable || self.problems.len() >= MAX_PROBLEMS {
                        return Err(fatal(problem.related(opened, "inside this bracket")));
                    }
                    let gap = Span { source: self.source, start: end, end };
                    self.problems.push(problem.related(gap, "a comma is missing here").hint("separate with `,`"));
                    self.rest_consumed(";");
                }
            }
        }
    }

    fn unclosed(&self, opened: Span, close: char) -> Fatal {
        let open = &self.text[opened.start..opened.end];
        let problem = match self.peek() {
            None => Problem::new(format!("unclosed `{open}`: expected `{close}`, found the end"), opened)
                .label("opened here")
                .related(self.here(), format!("`{close}` is missing")),
            Some(found) => Problem::new(format!("expected `{close}`, found `{found}`"), self.here())
                .related(opened, format!("this `{open}` is still open")),
        };
        fatal(problem)
    }

    /// Reports and removes entries whose key was there before.
    fn without_repeats<T>(&mut self, entries: &mut Vec<T>, what: &str, key: impl Fn(&T) -> Option<(String, Span)>) {
        let mut seen: HashMap<String, Span> = HashMap::new();
        entries.retain(|entry| {
            let Some((text, span)) = key(entry) else { return true };
            let Some(first) = seen.get(&text) else {
                seen.insert(text, span);
                return true;
            };
            if self.problems.len() < MAX_PROBLEMS {
                let shown = super::syntax::shortened(text.trim_matches('"'));
                self.problems.push(
                    Problem::new(format!("{what} `{shown}` is given twice"), span)
                        .label("again here")
                        .related(*first, "first given here")
                        .hint("remove one of the two"),
                );
            }
            false
        });
    }

    // --- literals ---

    fn number(&mut self) -> Node {
        let start = self.at;
        let hexadecimal = self.rest().trim_start_matches(['+', '-']).starts_with("0x");
        self.at += 1;
        while let Some(c) = self.peek() {
            let exponent = !hexadecimal && self.text[start..self.at].ends_with(['e', 'E']);
            if !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || (exponent && matches!(c, '+' | '-'))) {
                break;
            }
            self.at += 1;
        }
        let literal = &self.text[start..self.at];
        let why = match ron::from_str::<ron::Value>(literal) {
            Ok(ron::Value::Number(_)) => return self.scalar(start, Kind::Number(literal.to_owned())),
            Ok(_) => "ranges have no place here".to_owned(),
            Err(error) => lower(&error.code.to_string()),
        };
        self.broken(start, "number", why)
    }

    fn string(&mut self) -> Parsed<Node> {
        let start = self.at;
        self.quoted('"', "string")?;
        let literal = &self.text[start..self.at];
        Ok(match ron::from_str::<String>(literal) {
            Ok(text) => self.scalar(start, Kind::Text(text)),
            Err(error) => self.broken(start, "string", lower(&error.code.to_string())),
        })
    }

    fn raw_string(&mut self) -> Parsed<Node> {
        let start = self.at;
        self.at += 1;
        let hashes = self.take_while(|c| c == '#');
        if !self.rest_consumed("\"") {
            let message = format!("expected `\"` of a raw string, found {}", self.found());
            return Err(fatal(Problem::new(message, self.here())));
        }
        let end = format!("\"{hashes}");
        let Some(length) = self.rest().find(&end) else {
            return Err(fatal(
                Problem::new("unclosed raw string", self.span(start))
                    .label("opened here")
                    .hint(format!("close it with `{end}`")),
            ));
        };
        let text = self.rest()[..length].to_owned();
        self.at += length + end.len();
        Ok(self.scalar(start, Kind::Text(text)))
    }

    fn character(&mut self) -> Parsed<Node> {
        let start = self.at;
        self.quoted('\'', "character")?;
        let literal = &self.text[start..self.at];
        Ok(match ron::from_str::<char>(literal) {
            Ok(value) => self.scalar(start, Kind::Char(value)),
            Err(_) => {
                let why = "single quotes hold one character; strings have double quotes".to_owned();
                self.broken(start, "character", why)
            }
        })
    }

    /// Steps over a literal in quotes; a backslash guards the next character.
    fn quoted(&mut self, quote: char, what: &str) -> Parsed<()> {
        let opened = self.here();
        self.at += 1;
        let mut guarded = false;
        // `'''` is the quote itself.
        let quote_itself = quote == '\'' && self.rest().starts_with("''");
        for (offset, c) in self.rest().char_indices() {
            if c == quote && !guarded && !(quote_itself && offset == 0) {
                self.at += offset + 1;
                return Ok(());
            }
            guarded = c == '\\' && !guarded;
        }
        Err(fatal(
            Problem::new(format!("unclosed {what}"), opened)
                .label("opened here")
                .hint(format!("close it with `{quote}`")),
        ))
    }

    fn broken(&mut self, start: usize, what: &str, why: String) -> Node {
        let span = self.span(start);
        let shown = super::syntax::shortened(&self.text[start..self.at]);
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem::new(format!("`{shown}` is no {what}"), span).label(why));
        }
        self.scalar(start, Kind::Broken)
    }
}

fn fatal(problem: Problem) -> Fatal {
    Fatal(Box::new(problem))
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// RON's whitespace.
fn is_space(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\n' | '\r' | '\x0B' | '\x0C' | '\u{85}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}'
    )
}

/// `ron` begins its messages with a capital, ours begin without.
fn lower(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
