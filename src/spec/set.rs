//! `--set stage.field=RON`: one value of a pipeline replaced from the command line.

use super::diagnostic::Problem;
use super::parse::parse_value;
use super::suggest::{did_you_mean, listed};
use super::syntax::{Body, Kind, Node, Span, shortened};

/// One `--set` argument, taken apart.
pub struct Setting<'a> {
    path: Vec<Segment<'a>>,
    value: Node,
}

/// A part of the path and where it stands in the argument.
#[derive(Clone, Copy)]
struct Segment<'a> {
    text: &'a str,
    span: Span,
}

impl<'a> Setting<'a> {
    /// Takes an argument apart; `source` is its index among the sources.
    ///
    /// # Errors
    /// All that is wrong with it, whatever the pipeline.
    pub fn parse(argument: &'a str, source: usize) -> Result<Self, Vec<Problem>> {
        let span = |start, end| Span { source, start, end };
        let Some((path, _)) = argument.split_once('=') else {
            let whole = span(0, argument.len());
            return Err(vec![
                Problem::new("expected `stage.field=value`, found no `=`", whole)
                    .hint("for example `--set train.epochs=10` or `--set train.optimizer.lr=1e-2`"),
            ]);
        };
        let mut segments = Vec::new();
        let mut start = 0;
        for text in path.split('.') {
            segments.push(Segment { text: text.trim(), span: span(start, start + text.len()) });
            start += text.len() + 1;
        }
        let (value, mut problems) = parse_value(argument, source, path.len() + 1);
        if let Some(empty) = segments.iter().find(|segment| segment.text.is_empty()) {
            let problem = Problem::new("expected a name, found an empty part of the path", empty.span);
            problems.push(problem.hint("the path is `stage.field`, for example `train.optimizer.lr`"));
        }
        match value {
            Some(value) if problems.is_empty() => Ok(Self { path: segments, value }),
            _ => Err(problems),
        }
    }

    /// Replaces the value in a canonical tree of a pipeline.
    ///
    /// A path begins with a stage's name, or with a field of the pipeline itself (`name`, `golden.tolerance`).
    ///
    /// # Errors
    /// When the path leads nowhere: which part of it, and what there is instead.
    pub fn apply(&self, pipeline: &mut Node) -> Result<(), Problem> {
        let is_stage = pipeline.child("stages").is_some_and(|stages| part_of(stages, &self.path).is_some());
        let is_field = self.path.first().is_some_and(|first| pipeline.child(first.text).is_some());
        let target = if is_stage || !is_field {
            match field(pipeline, "stages") {
                Some(stages) => descend(stages, &self.path, 0)?,
                None => pipeline,
            }
        } else {
            descend(pipeline, &self.path, 0)?
        };
        *target = self.value.clone();
        Ok(())
    }
}

/// Goes down the path, of which `done` segments lead to the node.
fn descend<'n>(node: &'n mut Node, path: &[Segment], done: usize) -> Result<&'n mut Node, Problem> {
    let Some(next) = path.get(done) else { return Ok(node) };
    let leads_nowhere = nowhere(node, &joined(&path[..done]), *next);
    match part_of(node, &path[done..]) {
        None => Err(leads_nowhere),
        Some((Part::Itself, used)) => descend(node, path, done + used),
        Some((Part::At(index), used)) => descend(nth(node, index).ok_or(leads_nowhere)?, path, done + used),
    }
}

fn joined(path: &[Segment]) -> String {
    path.iter().map(|segment| segment.text).collect::<Vec<_>>().join(".")
}

/// Where a path goes next.
enum Part {
    /// On within the same value: the segment is the name of its variant, as in `train.optimizer.Adam.lr`.
    Itself,
    /// To the part of this index.
    At(usize),
}

/// The part that the beginning of the path names, and how many segments name it (a stage's name may hold dots).
fn part_of(node: &Node, path: &[Segment]) -> Option<(Part, usize)> {
    let first = path.first()?.text;
    let index = |count: usize| first.parse().ok().filter(|index| *index < count).map(|index| (Part::At(index), 1));
    match &node.kind {
        Kind::List(items) => index(items.len()),
        Kind::Map(entries) => (1..=path.len()).rev().find_map(|used| {
            let name = joined(&path[..used]);
            let found = entries.iter().position(|(key, _)| matches!(&key.kind, Kind::Text(text) if *text == name));
            found.map(|index| (Part::At(index), used))
        }),
        Kind::Struct { name, body } => {
            let found = match body {
                Body::Absent => None,
                Body::Items(items) => index(items.len()).or_else(|| match items.as_slice() {
                    [only] => part_of(only, path).map(|_| (Part::At(0), 0)),
                    _ => None,
                }),
                Body::Fields(fields) => {
                    fields.iter().position(|(name, _)| name.text == first).map(|index| (Part::At(index), 1))
                }
            };
            let itself = || name.as_ref().filter(|name| name.text == first).map(|_| (Part::Itself, 1));
            found.or_else(itself)
        }
        _ => None,
    }
}

fn nth(node: &mut Node, index: usize) -> Option<&mut Node> {
    match &mut node.kind {
        Kind::List(items) => items.get_mut(index),
        Kind::Map(entries) => entries.get_mut(index).map(|(_, value)| value),
        Kind::Struct { body: Body::Items(items), .. } => items.get_mut(index),
        Kind::Struct { body: Body::Fields(fields), .. } => fields.get_mut(index).map(|(_, value)| value),
        _ => None,
    }
}

fn field<'n>(node: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    match &mut node.kind {
        Kind::Struct { body: Body::Fields(fields), .. } => {
            fields.iter_mut().find(|(field, _)| field.text == name).map(|(_, value)| value)
        }
        _ => None,
    }
}

/// The path ends where it should go on: what there is instead.
fn nowhere(node: &Node, name: &str, segment: Segment) -> Problem {
    let wanted = shortened(segment.text);
    let problem = |message: String| Problem::new(message, segment.span).label("leads nowhere");
    match &node.kind {
        Kind::Map(entries) => {
            let keys: Vec<&str> = entries
                .iter()
                .filter_map(|(key, _)| if let Kind::Text(text) = &key.kind { Some(text.as_str()) } else { None })
                .collect();
            problem(format!("no stage `{wanted}`")).hint(did_you_mean(segment.text, &keys, "the stages are"))
        }
        Kind::List(items) | Kind::Struct { body: Body::Items(items), .. } if !items.is_empty() => {
            let indices: Vec<String> = (0..items.len()).map(|index| index.to_string()).collect();
            let indices: Vec<&str> = indices.iter().map(String::as_str).collect();
            if let ([only], Kind::Struct { name: Some(_), .. }) = (items.as_slice(), &node.kind)
                && matches!(only.kind, Kind::Struct { .. })
            {
                return nowhere(only, name, segment);
            }
            problem(format!("no `{wanted}` in `{name}`, which is `{}`", shortened(&node.to_string())))
                .hint(format!("its parts are {}", listed(&indices)))
        }
        Kind::Struct { name: kind, body: Body::Fields(fields) } => {
            let fields: Vec<&str> = fields.iter().map(|(name, _)| name.text.as_str()).collect();
            let what = kind.as_ref().map_or_else(String::new, |kind| format!(", which is `{}(..)`", kind.text));
            let within = if name.is_empty() { "the pipeline".to_owned() } else { format!("`{name}`{what}") };
            problem(format!("no field `{wanted}` in {within}")).hint(did_you_mean(
                segment.text,
                &fields,
                "its fields are",
            ))
        }
        _ => problem(format!("no `{wanted}` in `{name}`, which is `{}`", shortened(&node.to_string())))
            .hint(format!("`{name}` has no parts; set it as a whole: `{name}=..`")),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::metric::Metric;
    use crate::optim::{Adam, Optimizer};
    use crate::spec::tests::{SHORT, read_with, short_with, train, wrong_with};
    use crate::spec::{Golden, Look, Stage, Valid, WhenMissing, parse};

    #[test]
    fn set_replaces_what_the_path_names() {
        let changed = read_with(
            SHORT,
            &[
                "t.epochs=7",
                "t.optimizer.lr=1e-2",
                "t.optimizer.Adam.betas.1 = 0.99",
                "t.balancer=NashMtl()",
                "stages.t.seed=5",
                "e.metrics.0=LogLoss",
                "e.metrics.1=Auc",
                "p.valid.0=0.25",
                "d.path=\"elsewhere\"",
                "d.when_missing=Simulate(rows: 500)",
                "d.when_missing.rows=600",
                "name=\"other\"",
                "golden=Golden(file: \"g.ron\")",
                "golden.tolerance=0.01",
            ],
        );
        let train = train(&changed, "t");
        assert_eq!((train.epochs, train.seed, train.balancer.name()), (7, 5, "NashMtl"));
        assert_eq!(train.optimizer, Optimizer::Adam(Adam { lr: 1e-2, betas: (0.9, 0.99), ..Adam::default() }));
        let Stage::Evaluate(evaluate) = &changed.stages["e"] else { panic!() };
        assert_eq!(evaluate.metrics, [Metric::LogLoss, Metric::Auc]);
        let Stage::Preprocess(preprocess) = &changed.stages["p"] else { panic!() };
        assert_eq!(preprocess.valid, Valid::FromTest(0.25));
        let Stage::Download(download) = &changed.stages["d"] else { panic!() };
        assert_eq!(download.path.as_deref(), Some("elsewhere"));
        assert_eq!(download.when_missing, WhenMissing::Simulate { rows: 600, seed: 0 });
        assert_eq!(changed.name, "other");
        assert_eq!(changed.golden, Some(Golden { file: "g.ron".to_owned(), tolerance: 0.01, metrics: vec![] }));
    }

    #[test]
    fn stage_names_with_dots_are_found() {
        let text = SHORT.replace("\"t\"", "\"t.v1\"");
        assert_eq!(train(&read_with(&text, &["t.v1.epochs=9"]), "t.v1").epochs, 9);
    }

    #[test]
    fn a_wrong_set_points_into_its_argument() {
        let cases = [
            "t.epochs",
            "t.epochs=",
            "t..epochs=3",
            "train.epochs=3",
            "t.epocs=3",
            "t.epochs.x=3",
            "t.optimizer.momentum=0.9",
            "t.optimizer.betas.2=0.9",
            "e.metrics.5=Auc",
            "d.path.x=1",
            "golden.tolerance=0.1",
            "t.epochs=many",
            "t.epochs=3 4",
            "t.epochs=0",
            "t.sizes=Small",
            "m.sizes=Smal",
            "t.model=\"x\"",
            "t.model=m",
            "t={",
            "t=Train(model: \"m\")",
            "p.test.0=0.5",
        ];
        let all: Vec<String> = cases.iter().map(|set| wrong_with(SHORT, &[set])).collect();
        assert_snapshot!(all.join("\n"), @r#"
        --set t.epochs:1:1: expected `stage.field=value`, found no `=` | for example `--set train.epochs=10` or `--set train.optimizer.lr=1e-2`
        --set t.epochs=:1:10: expected a value, found the end
        --set t..epochs=3:1:3: expected a name, found an empty part of the path | the path is `stage.field`, for example `train.optimizer.lr`
        --set train.epochs=3:1:1: no stage `train` | the stages are `d`, `p`, `m`, `t`, `e`
        --set t.epocs=3:1:3: no field `epocs` in `t`, which is `Train(..)` | did you mean `epochs`? its fields are `model`, `data`, `balancer`, `optimizer`, `epochs`, `batch`, `patience`, `seed`, `resources`
        --set t.epochs.x=3:1:10: no `x` in `t.epochs`, which is `50` | `t.epochs` has no parts; set it as a whole: `t.epochs=..`
        --set t.optimizer.momentum=0.9:1:13: no field `momentum` in `t.optimizer`, which is `Adam(..)` | its fields are `lr`, `betas`, `eps`, `weight_decay`
        --set t.optimizer.betas.2=0.9:1:19: no `2` in `t.optimizer.betas`, which is `(0.9,0.999)` | its parts are `0`, `1`
        --set e.metrics.5=Auc:1:11: no `5` in `e.metrics`, which is `[Auc,LogLoss]` | its parts are `0`, `1`
        --set d.path.x=1:1:8: no `x` in `d.path`, which is `None` | `d.path` has no parts; set it as a whole: `d.path=..`
        --set golden.tolerance=0.1:1:8: no `tolerance` in `golden`, which is `None` | `golden` has no parts; set it as a whole: `golden=..`
        --set t.epochs=many:1:10: expected a whole number of at least 0, found the name `many`
        --set t.epochs=3 4:1:12: expected nothing more, found `4`
        --set t.epochs=0:1:10: `epochs` should be at least 1, not 0
        --set t.sizes=Small:1:3: no field `sizes` in `t`, which is `Train(..)` | its fields are `model`, `data`, `balancer`, `optimizer`, `epochs`, `batch`, `patience`, `seed`, `resources`
        --set m.sizes=Smal:1:9: unknown value `Smal` | did you mean `Small`? one of these may stand here: `Paper`, `Small`, `Tiny`, `Custom`
        --set t.model="x":1:9: no stage `x` | `model` takes a `BuildModel` or `Train`: `m`
        --set t.model=m:1:9: expected a string, found the name `m` | strings have quotes: `"m"`
        --set t={:1:3: unclosed `{`: expected `}`, found the end
        --set t=Train(model: "m"):1:3: missing field `data` of `Train` | `data` has no default: add `data: ..`
        --set p.test.0=0.5:1:8: no `0` in `p.test`, which is `AsGiven` | `p.test` has no parts; set it as a whole: `p.test=..`
        "#);
    }

    #[test]
    fn every_wrong_set_is_reported_beside_the_problems_of_the_text() {
        assert_snapshot!(wrong_with(SHORT, &["t.epocs=3", "t.batch=64", "t.seed=-1"]), @"
        --set t.epocs=3:1:3: no field `epocs` in `t`, which is `Train(..)` | did you mean `epochs`? its fields are `model`, `data`, `balancer`, `optimizer`, `epochs`, `batch`, `patience`, `seed`, `resources`
        --set t.seed=-1:1:8: expected a whole number of at least 0, found the number `-1`
        ");
        assert_snapshot!(wrong_with(&short_with("Mmoe()", "Mmo()"), &["t.seed=", "x.y=1"]), @"
        4:38: unknown model architecture `Mmo` | did you mean `Mmoe`? one of these may stand here: `SingleTask`, `SharedBottom`, `Omoe`, `Mmoe`, `Ple`, `Aitm`, `Esmm`, `Stem`, `MetaHeac`, `DsMoe`
        --set t.seed=:1:8: expected a value, found the end
        ");
    }

    #[test]
    fn the_caret_stands_in_the_argument() {
        let problems = parse(SHORT, "p.ron", &["m.arch.experts=0".to_owned()]).unwrap_err();
        assert_snapshot!(problems.render(Look::Plain), @"
        --set m.arch.experts=0:1:16: `experts` should be at least 1, not 0
           ,-[--set m.arch.experts=0:1:16]
         1 | m.arch.experts=0
           :                |
           :                `-- out of range
           `----
        ");
    }
}
