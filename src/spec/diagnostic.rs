//! Everything that is wrong with a pipeline, and the one place that shows it to people and programs.

use std::fmt;
use std::io::IsTerminal;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents};
use miette::{SourceCode, SourceSpan, SpanContents};

use super::syntax::Span;

/// Where a text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, by the name the user gave.
    File(String),
    /// The argument of one `--set`.
    Set,
    /// Another argument of a command.
    Argument,
}

/// A text that problems point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it comes from.
    pub origin: Origin,
    /// The text itself.
    pub text: String,
}

impl Source {
    /// The file's name, or the whole `--set ..` argument.
    pub fn name(&self) -> String {
        match &self.origin {
            Origin::File(name) => name.clone(),
            Origin::Set => format!("--set {}", super::syntax::shortened(&self.text)),
            Origin::Argument => super::syntax::shortened(&self.text),
        }
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// `file:line:column` of a byte.
    pub fn place(&self, byte: usize) -> String {
        let (line, column) = self.position(byte);
        format!("{}:{line}:{column}", self.name())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to write at the caret; may be empty.
    pub label: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Other places that matter, and why.
    pub related: Vec<(Span, String)>,
}

impl Problem {
    /// A problem without label or hint.
    pub fn new(message: impl Into<String>, span: Span) -> Self {
        Self { message: message.into(), span, label: String::new(), hint: None, related: Vec::new() }
    }

    /// Says something at the caret.
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// Says what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Points at another place that matters.
    pub fn related(mut self, span: Span, why: impl Into<String>) -> Self {
        self.related.push((span, why.into()));
        self
    }
}

/// All that is wrong with one pipeline and its `--set` arguments, in the order of the text; never empty as an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Problems {
    /// The texts the problems point into.
    pub sources: Vec<Source>,
    /// The problems.
    pub list: Vec<Problem>,
}

/// How problems are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// ASCII without colour: logs, pipes, editors.
    Plain,
    /// Box drawing, with or without colour.
    Terminal {
        /// Whether to colour.
        color: bool,
    },
}

impl Look {
    /// What suits the stream that it goes to; `NO_COLOR` is respected.
    pub fn of(stream: &impl IsTerminal) -> Self {
        if stream.is_terminal() {
            Look::Terminal { color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
        } else {
            Look::Plain
        }
    }
}

impl Problems {
    pub(super) fn new(sources: Vec<Source>, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.span.source, problem.span.start));
        Self { sources, list }
    }

    /// The source a stretch lies in.
    fn source(&self, span: Span) -> Option<&Source> {
        self.sources.get(span.source)
    }

    /// `file:line:column` of a stretch's beginning.
    fn place(&self, span: Span) -> String {
        self.source(span).map_or_else(String::new, |source| source.place(span.start))
    }

    /// Every problem with its line `file:line:column: message`, the text around it and the hint.
    pub fn render(&self, look: Look) -> String {
        let theme = match look {
            Look::Terminal { color: true } => GraphicalTheme::unicode(),
            Look::Terminal { color: false } => GraphicalTheme::unicode_nocolor(),
            Look::Plain => {
                let mut theme = GraphicalTheme::none();
                // No sign in front: an editor looks for `file:line:column:` at the beginning of a line.
                theme.characters.error = String::new();
                theme
            }
        };
        let handler =
            GraphicalReportHandler::new_themed(theme).with_wrap_lines(false).with_context_lines(1).with_links(false);
        let mut out = String::new();
        for problem in &self.list {
            let mut one = String::new();
            let shown = Shown { problem, problems: self };
            if handler.render_report(&mut one, &shown).is_err() {
                one = format!("{shown}\n");
            }
            out.push_str(if look == Look::Plain { one.trim_start() } else { &one });
            out.push('\n');
        }
        out
    }

    /// A list of `{file, line, column, message, hint}`.
    pub fn to_json(&self) -> serde_json::Value {
        let one = |problem: &Problem| {
            let source = self.source(problem.span);
            let position = source.map(|source| source.position(problem.span.start));
            serde_json::json!({
                "file": source.map(Source::name),
                "line": position.map(|(line, _)| line),
                "column": position.map(|(_, column)| column),
                "message": problem.message,
                "hint": problem.hint,
            })
        };
        self.list.iter().map(one).collect()
    }
}

/// One line a problem: `file:line:column: message`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}: {}", self.place(problem.span), problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A problem together with the texts: what miette shows.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    problems: &'a Problems,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problems.place(self.problem.span), self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problems.source(self.problem.span).filter(|source| !source.text.is_empty()).map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let source = self.problems.source(self.problem.span)?;
        if source.text.is_empty() {
            return None;
        }
        let label = |span: Span, text: &str| {
            let start = span.start.min(source.text.len());
            let range = start..span.end.clamp(start, source.text.len());
            (range, (!text.is_empty()).then(|| text.to_owned()))
        };
        let (range, text) = label(self.problem.span, &self.problem.label);
        let first = LabeledSpan::new_primary_with_span(text, range);
        let same_text = self.problem.related.iter().filter(|(span, _)| span.source == self.problem.span.source);
        let others = same_text.map(move |(span, why)| {
            let (range, text) = label(*span, why);
            LabeledSpan::new_with_span(text, range)
        });
        Some(Box::new(std::iter::once(first).chain(others)))
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        let elsewhere = self.problem.related.iter().filter(|(span, _)| span.source != self.problem.span.source);
        let lines: Vec<String> = self
            .problem
            .hint
            .iter()
            .cloned()
            .chain(elsewhere.map(|(span, why)| format!("{}: {why}", self.problems.place(*span))))
            .collect();
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn fmt::Display>)
    }
}

/// As miette reads a string, but with our column: characters, not bytes.
impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.read_span(span, lines_before, lines_after)?;
        let (_, column) = self.position(contents.span().offset());
        Ok(Box::new(MietteSpanContents::new_named(
            self.name(),
            contents.data(),
            *contents.span(),
            contents.line(),
            column - 1,
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_sources() -> Problems {
        let file =
            Source { origin: Origin::File("p.ron".to_owned()), text: "(\n  näme: \"ü\", lrr: 1,\n)\n".to_owned() };
        let set = Source { origin: Origin::Set, text: "train.epocs=3".to_owned() };
        let at = |source, start, end| Span { source, start, end };
        let list = vec![
            Problem::new("no `epocs` in `train`", at(1, 6, 11))
                .hint("did you mean `epochs`?")
                .related(at(0, 4, 9), "of this"),
            Problem::new("unknown field `lrr`", at(0, 17, 20)).label("not here").related(at(0, 4, 9), "beside this"),
        ];
        Problems::new(vec![file, set], list)
    }

    #[test]
    fn columns_count_characters_and_problems_come_in_the_order_of_the_text() {
        insta::assert_snapshot!(two_sources(), @"
        p.ron:2:14: unknown field `lrr`
        --set train.epocs=3:1:7: no `epocs` in `train`
        ");
    }

    #[test]
    fn plain_look_begins_with_the_place() {
        insta::assert_snapshot!(two_sources().render(Look::Plain), @r#"
        p.ron:2:14: unknown field `lrr`
           ,-[p.ron:2:14]
         1 | (
         2 |   näme: "ü", lrr: 1,
           :   ^^|^       ^|^
           :     |         `-- not here
           :     `-- beside this
         3 | )
           `----

        --set train.epocs=3:1:7: no `epocs` in `train`
           ,-[--set train.epocs=3:1:7]
         1 | train.epocs=3
           :       ^^^^^
           `----
          help: did you mean `epochs`?
                p.ron:2:3: of this
        "#);
    }

    #[test]
    fn terminal_look_draws_and_colours() {
        let plain = two_sources().render(Look::Terminal { color: false });
        assert!(plain.contains("× p.ron:2:14: unknown field `lrr`") && plain.contains("╭─[p.ron:2:14]"), "{plain}");
        assert!(!plain.contains('\u{1b}'));
        assert!(two_sources().render(Look::Terminal { color: true }).contains('\u{1b}'));
    }

    #[test]
    fn json_names_place_message_and_hint() {
        insta::assert_snapshot!(two_sources().to_json(), @r#"[{"file":"p.ron","line":2,"column":14,"message":"unknown field `lrr`","hint":null},{"file":"--set train.epocs=3","line":1,"column":7,"message":"no `epocs` in `train`","hint":"did you mean `epochs`?"}]"#);
    }

    #[test]
    fn a_problem_of_an_empty_text_still_shows() {
        let empty = Source { origin: Origin::File("gone.ron".to_owned()), text: String::new() };
        let problem = Problem::new("cannot read it", Span { source: 0, start: 0, end: 0 });
        assert_eq!(
            Problems::new(vec![empty], vec![problem]).render(Look::Plain).trim(),
            "gone.ron:1:1: cannot read it"
        );
    }
}
