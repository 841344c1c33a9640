//! What types cannot say: names, references, cycles, ranges, columns. Everything wrong is found, each with its place.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::diagnostic::Problem;
use super::fetch;
use super::limits;
use super::parse::MAX_PROBLEMS;
use super::pipeline::{
    BuildModel, By, Compare, Download, Evaluate, Fill, Init, Pipeline, Predict, Preprocess, Reference, Stage, Test,
    Toy, Valid,
};
use super::resources::Resources;
use super::suggest::{did_you_mean, listed};
use super::syntax::{Kind, Node, Span, shortened};
use crate::balance::Balancer;
use crate::data::{Csv, Dataset};
use crate::metric::Metric;

/// Checks a pipeline.
///
/// `tree` is its canonical tree, placed in the text; `written` the tree with everything in the text, decoded or not.
/// `faulty` are the stretches that could not be decoded: what is missing because it stood there is no problem of its
/// own.
pub fn check(pipeline: &Pipeline, tree: &Node, written: &Node, faulty: &[Span]) -> Vec<Problem> {
    let mut check = Check { pipeline, tree, faulty, problems: limits::out_of_range(written, faulty) };
    check.names();
    check.references(&kinds(written));
    check.cycles();
    check.resources(&["resources"], &pipeline.resources);
    for (name, stage) in &pipeline.stages {
        check.resources(&["stages", name, "resources"], stage.resources());
        match stage {
            Stage::Download(stage) => check.download(name, stage),
            Stage::Preprocess(stage) => check.preprocess(name, stage),
            Stage::BuildModel(stage) => check.build_model(name, stage),
            Stage::Train(_) => {}
            Stage::Evaluate(stage) => check.evaluate(name, stage),
            Stage::Predict(stage) => check.predict(name, stage),
            Stage::Compare(stage) => check.compare(name, stage),
            Stage::Toy(stage) => check.toy(name, stage),
        }
    }
    if let Some(golden) = &pipeline.golden {
        check.path(&golden.file, &["golden", "file"]);
        let held: Vec<_> = golden.metrics.iter().map(|held| held.metric).collect();
        check.twice(&held, check.at(&["golden", "metrics"]));
    }
    check.problems
}

/// Every stage's name and kind, as written.
fn kinds(written: &Node) -> Vec<(&str, &str)> {
    let Some(Kind::Map(entries)) = written.child("stages").map(|stages| &stages.kind) else { return Vec::new() };
    entries
        .iter()
        .filter_map(|(key, stage)| match &key.kind {
            Kind::Text(name) => Some((name.as_str(), stage.name().unwrap_or_default())),
            _ => None,
        })
        .collect()
}

/// Steps of a cycle that are marked in the text; its name lists them all.
const MARKED: usize = 20;

/// A stage on the path of a walk along the references.
struct Step<'a> {
    name: &'a str,
    edges: Vec<(Cow<'static, str>, &'a str)>,
    /// How many of the edges have been taken.
    walked: usize,
}

struct Check<'a> {
    pipeline: &'a Pipeline,
    tree: &'a Node,
    faulty: &'a [Span],
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    /// The place of a part of the pipeline.
    fn at(&self, path: &[&str]) -> &'a Node {
        self.tree.locate(path)
    }

    /// The place of a stage's field, by its path.
    fn at_field(&self, stage: &str, field: &str) -> &'a Node {
        let path: Vec<&str> = ["stages", stage].into_iter().chain(field.split('.')).collect();
        self.at(&path)
    }

    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether something within the node could not be decoded.
    fn is_faulty(&self, node: &Node) -> bool {
        self.faulty.iter().any(|span| node.span.covers(*span))
    }

    fn resources(&mut self, path: &[&str], resources: &Resources) {
        for (field, what, hint) in resources.problems() {
            let path: Vec<&str> = path.iter().copied().chain(field.split('.')).collect();
            self.report(Problem::new(what, self.at(&path).head).hint(hint));
        }
    }

    fn names(&mut self) {
        self.name("the pipeline's name", &self.pipeline.name, self.at(&["name"]).head);
        let stages = self.at(&["stages"]);
        if self.pipeline.stages.is_empty() && !self.is_faulty(stages) {
            let hint = format!("add at least one of {}", listed(Stage::KINDS));
            self.report(Problem::new("there are no stages", stages.head).hint(hint));
        }
        for name in self.pipeline.stages.keys() {
            let place = stages.key(name).map_or(stages.head, |key| key.head);
            self.name("a stage's name", name, place);
        }
    }

    fn name(&mut self, what: &str, name: &str, place: Span) {
        let hint = "use letters, digits, `_`, `-` and `.`; the first is a letter, a digit or `_`";
        let problem = if name.is_empty() {
            format!("{what} is empty")
        } else if let Some(bad) = name.chars().find(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))) {
            format!("{what} may not hold {bad:?}")
        } else if name.starts_with(['-', '.']) {
            format!("{what} may not begin with `{}`", &name[..1])
        } else {
            return;
        };
        self.report(Problem::new(problem, place).hint(hint));
    }

    /// Every reference must lead to a stage of a fitting kind; `all` are the stages with their kinds.
    fn references(&mut self, all: &[(&str, &str)]) {
        let kind_of: HashMap<&str, &str> = all.iter().copied().collect();
        for (name, stage) in &self.pipeline.stages {
            for Reference { field, stage: target, kinds } in stage.references() {
                let found = kind_of.get(target).copied();
                // A misspelt kind has been reported; which one it should be is not known.
                if found.is_some_and(|kind| kinds.contains(&kind) || !Stage::KINDS.contains(&kind)) {
                    continue;
                }
                if self.problems.len() >= MAX_PROBLEMS {
                    return;
                }
                let fits = |(other, kind): &&(&str, &str)| other != name && kinds.contains(kind);
                let fitting: Vec<&str> = all.iter().filter(fits).map(|(other, _)| *other).collect();
                let article = if kinds[0].starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
                let takes = format!("`{field}` takes {article} {}:", listed(kinds).replace(", ", " or "));
                let message = match found {
                    None => format!("no stage `{}`", shortened(target)),
                    Some(kind) => format!("`{target}` is a `{kind}`, which may not be the `{field}` of `{name}`"),
                };
                let hint = match (found, fitting.as_slice()) {
                    (_, []) => format!("{takes} there is none here"),
                    (None, fitting) => did_you_mean(target, fitting, &takes),
                    (Some(_), fitting) => format!("{takes} {}", listed(fitting)),
                };
                let place = self.at_field(name, &field).head;
                self.report(Problem::new(message, place).label(format!("`{field}` of `{name}`")).hint(hint));
            }
        }
    }

    /// Reports the cycles as paths: a depth-first walk finds one whenever an edge leads back onto its own path.
    fn cycles(&mut self) {
        let stages = &self.pipeline.stages;
        // Where a stage stands on the path, or nothing once all that it reads has been walked.
        let mut seen: HashMap<&str, Option<usize>> = HashMap::new();
        for root in stages.keys() {
            let mut path: Vec<Step> = Vec::new();
            let mut entering = (!seen.contains_key(root.as_str())).then_some(root.as_str());
            loop {
                if let Some(name) = entering.take() {
                    seen.insert(name, Some(path.len()));
                    let reads = stages.get(name).map(Stage::references).unwrap_or_default();
                    let edges = reads.into_iter().map(|reference| (reference.field, reference.stage)).collect();
                    path.push(Step { name, edges, walked: 0 });
                }
                let Some(step) = path.last_mut() else { break };
                let Some(&(_, target)) = step.edges.get(step.walked) else {
                    seen.insert(step.name, None);
                    path.pop();
                    continue;
                };
                step.walked += 1;
                match seen.get(target) {
                    Some(Some(start)) => self.cycle(&path[*start..]),
                    Some(None) => {}
                    None => entering = stages.contains_key(target).then_some(target),
                }
            }
        }
    }

    fn cycle(&mut self, cycle: &[Step]) {
        let [first, rest @ ..] = cycle else { return };
        let names: Vec<&str> = cycle.iter().chain([first]).map(|step| step.name).collect();
        let mut problem = Problem::new(format!("the stages form a cycle: {}", names.join(" → ")), self.edge(first));
        // a line of the file may hold all of them, and each mark takes a line as long
        for step in rest.iter().take(MARKED) {
            problem = problem.related(self.edge(step), "and goes on here");
        }
        self.report(problem.label("begins here").hint("a stage cannot read what is made from its own result"));
    }

    /// The place of the reference that the walk took last from this stage.
    fn edge(&self, step: &Step) -> Span {
        let last = step.walked.checked_sub(1).and_then(|last| step.edges.get(last));
        self.at_field(step.name, last.map_or("", |(field, _)| field)).head
    }

    fn download(&mut self, name: &str, stage: &Download) {
        if let Some(path) = &stage.path {
            self.path(path, &["stages", name, "path"]);
        }
        if let Dataset::Csv(csv) = &stage.dataset {
            self.csv(name, csv);
        }
        self.problems.extend(fetch::check(name, stage, self.tree));
    }

    fn csv(&mut self, stage: &str, csv: &Csv) {
        let within = |field| ["stages", stage, "dataset", field];
        self.path(&csv.train, &within("train"));
        if let Some(test) = &csv.test {
            self.path(test, &within("test"));
        }
        if let Some(delimiter) = csv.delimiter.filter(|delimiter| !Csv::may_delimit(*delimiter)) {
            let place = self.at(&within("delimiter")).head;
            let problem = format!("{delimiter:?} cannot stand between fields");
            self.report(Problem::new(problem, place).hint(Csv::DELIMITERS));
        }
        let labels = self.at(&within("labels"));
        if csv.labels.is_empty() && !self.is_faulty(labels) {
            let hint = "name the column of each task's label: `labels: [\"click\"]`";
            self.report(Problem::new("`labels` is empty: there is nothing to learn", labels.head).hint(hint));
        }
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for (field, index, column) in csv.columns() {
            let named = self.at(&within(field));
            let place = index.and_then(|index| named.child(&index.to_string())).unwrap_or(named).head;
            if column.is_empty() {
                self.report(Problem::new(format!("a column of `{field}` has no name"), place));
            } else if let Some(first) = seen.get(column.as_str()) {
                let problem = Problem::new(format!("column `{column}` is used twice"), place);
                self.report(problem.label("again here").related(*first, "first used here").hint(Csv::PARTS));
            } else {
                seen.insert(column, place);
            }
        }
        for (field, kind, named, columns) in csv.named_again() {
            let map = self.at(&within(field));
            for column in named.into_iter().filter(|column| !columns.contains(column)) {
                let place = map.key(column).map_or(map.head, |key| key.head);
                let known: Vec<&str> = columns.iter().map(String::as_str).collect();
                let problem = format!("`{field}` names `{}`, which is none of the {kind} columns", shortened(column));
                self.report(Problem::new(problem, place).hint(did_you_mean(column, &known, "these are:")));
            }
        }
        for (column, buckets) in &csv.hashed {
            if !Csv::BUCKETS.contains(buckets) {
                let map = self.at(&within("hashed"));
                let place = map.child(column).unwrap_or(map).head;
                let problem = format!("`{}` cannot be hashed to {buckets} ids", shortened(column));
                self.report(Problem::new(problem, place).hint("from 1 to 50,000,000 rows of the embedding table"));
            }
        }
    }

    fn preprocess(&mut self, name: &str, stage: &Preprocess) {
        let source = self.pipeline.stages.get(&stage.from);
        if let (Some(Stage::Download(Download { dataset: Dataset::Csv(Csv { test: None, .. }), .. })), Test::AsGiven) =
            (source, stage.test)
        {
            let place = self.at(&["stages", name, "test"]).head;
            let problem = Problem::new(
                format!("there are no test rows: the `Csv` of `{}` names no `test` file", stage.from),
                place,
            );
            self.report(problem.hint("draw them with `test: Random(0.2)`, or name the file in `Csv(test: ..)`"));
        }
        if let Some(Stage::Download(Download { dataset, .. })) = source {
            self.fill(name, stage, dataset);
            self.what_splits_go_by(name, stage, dataset);
        }
    }

    /// `ln(1 + x)` needs a number of at least 0 in the place of a missing one.
    fn fill(&mut self, name: &str, stage: &Preprocess, dataset: &Dataset) {
        let Dataset::Csv(csv) = dataset else { return };
        let bent = csv
            .transforms
            .iter()
            .find(|(column, transform)| transform.takes_logarithms() && csv.numerical.contains(column));
        if let (Some(Fill::Number(number)), Some((column, _))) = (stage.fill, bent)
            && number < 0.0
        {
            let place = self.at(&["stages", name, "fill"]).head;
            let problem = format!("`{}` takes ln(1 + x) of numbers from 0 on, not of {number}", shortened(column));
            self.report(Problem::new(problem, place).hint("fill with 0.0 or more, or with `Mean`"));
        }
    }

    /// A split by group or time needs a log that has groups or times.
    fn what_splits_go_by(&mut self, name: &str, stage: &Preprocess, dataset: &Dataset) {
        let csv = if let Dataset::Csv(csv) = dataset { Some(csv) } else { None };
        let has_groups = csv.map_or(!matches!(dataset, Dataset::CensusIncome(_)), |csv| csv.group.is_some());
        let has_times = csv.is_some_and(|csv| csv.time.is_some());
        for (field, what, column, lacks) in [
            ("by", "groups", "group", stage.by == By::Group && !has_groups),
            ("test", "times", "time", matches!(stage.test, Test::Latest(_)) && !has_times),
            ("valid", "times", "time", matches!(stage.valid, Valid::Latest(_)) && !has_times),
        ] {
            if lacks {
                let place = self.at(&["stages", name, field]).head;
                let problem = Problem::new(format!("the log of `{}` has no {what}", stage.from), place);
                let hint = match csv {
                    Some(_) => format!("name the column that tells them: `Csv(.., {column}: \"..\")`"),
                    None => "draw the rows at random: `test: Random(0.2)`, without `by: Group`".to_owned(),
                };
                self.report(problem.hint(hint));
            }
        }
    }

    fn build_model(&mut self, name: &str, stage: &BuildModel) {
        if let Init::Checkpoint(file) = &stage.init {
            self.path(file, &["stages", name, "init"]);
        }
        let arch = self.at(&["stages", name, "arch"]);
        // a number out of range has been reported, and says all there is to say
        let reported = self.is_faulty(arch) || !limits::out_of_range(arch, &[]).is_empty();
        if let (Err(misfit), false) = (stage.arch.fits(), reported) {
            let place = arch.locate(&[misfit.field]).head;
            self.report(
                Problem::new(misfit.problem, place).label("no model can be built with this").hint(misfit.remedy),
            );
        }
    }

    fn evaluate(&mut self, name: &str, stage: &Evaluate) {
        let metrics = self.at(&["stages", name, "metrics"]);
        if stage.metrics.is_empty() && !self.is_faulty(metrics) {
            self.report(Problem::new("`metrics` is empty", metrics.head).hint("for example `metrics: [Auc, LogLoss]`"));
        }
        self.twice(&stage.metrics, metrics);
    }

    fn predict(&mut self, name: &str, stage: &Predict) {
        self.path(&stage.rows, &["stages", name, "rows"]);
        let list = self.at(&["stages", name, "keep"]);
        let place = |index: usize| list.child(&index.to_string()).unwrap_or(list).head;
        for (index, column) in stage.keep.iter().enumerate() {
            if column.is_empty() {
                self.report(Problem::new("a column of `keep` has no name", place(index)));
            } else if let Some(first) = stage.keep[..index].iter().position(|other| other == column) {
                let problem = Problem::new(format!("column `{column}` is kept twice"), place(index));
                self.report(problem.label("again here").related(place(first), "first kept here"));
            }
        }
    }

    fn compare(&mut self, name: &str, stage: &Compare) {
        let rows = self.at(&["stages", name, "rows"]);
        if stage.rows.is_empty() && !self.is_faulty(rows) {
            let hint = "for example `rows: [Row(name: \"Ls\", runs: [\"evaluate_ls\"])]`";
            self.report(Problem::new("`rows` is empty", rows.head).hint(hint));
        }
        self.twice(&stage.metrics, self.at(&["stages", name, "metrics"]));
        let mut seen = HashSet::new();
        // what the runs of a data set are paired with
        let mut runs_on: HashMap<&str, (usize, Span)> = HashMap::new();
        for (at, row) in stage.rows.iter().enumerate() {
            let place = self.at_field(name, &format!("rows.{at}.runs")).head;
            if row.runs.is_empty() {
                self.report(Problem::new("`runs` is empty", place).hint("name at least one `Evaluate` stage"));
            }
            for (run, stage) in row.runs.iter().enumerate() {
                if row.runs[..run].contains(stage) {
                    let place = self.at_field(name, &Compare::field(at, run)).head;
                    self.report(Problem::new(format!("run `{stage}` is given twice"), place).label("again here"));
                }
            }
            if !seen.insert((&row.name, &row.data)) {
                let of = if row.data.is_empty() { String::new() } else { format!(" of `{}`", row.data) };
                let place = self.at_field(name, &format!("rows.{at}.name")).head;
                let problem = Problem::new(format!("row `{}`{of} is given twice", row.name), place);
                self.report(problem.hint("the runs of a variant on one data set stand in one list"));
            }
            let (expected, first) = *runs_on.entry(&row.data).or_insert((row.runs.len(), place));
            if stage.baseline.is_some() && row.runs.len() != expected {
                let problem = format!("{} runs here, {expected} in the first row", row.runs.len());
                let problem = Problem::new(problem, place).related(first, "the first row's");
                self.report(problem.hint("rows are compared run by run: give each the same seeds in the same order"));
            }
            self.measured(name, stage, at);
        }
        for (field, chosen) in [("baseline", &stage.baseline), ("single_task", &stage.single_task)] {
            let mut names: Vec<&str> = stage.rows.iter().map(|row| row.name.as_str()).collect();
            names.dedup();
            if let Some(chosen) = chosen.as_deref().filter(|chosen| !names.contains(chosen)) {
                let place = self.at_field(name, field).head;
                let problem = Problem::new(format!("no row `{}`", shortened(chosen)), place);
                self.report(problem.hint(did_you_mean(chosen, &names, "the rows are")));
            }
        }
        let place = self.at_field(name, "test").head;
        self.problems.extend(stage.test.problem().map(|problem| Problem::new(problem, place)));
    }

    /// The runs of a row must measure what is compared.
    fn measured(&mut self, name: &str, stage: &Compare, row: usize) {
        for (run, evaluate) in stage.rows[row].runs.iter().enumerate() {
            let Some(Stage::Evaluate(evaluation)) = self.pipeline.stages.get(evaluate) else { continue };
            if let Some(missing) = stage.metrics.iter().find(|metric| !evaluation.metrics.contains(metric)) {
                let place = self.at_field(name, &Compare::field(row, run)).head;
                let problem = Problem::new(format!("`{evaluate}` does not measure `{}`", missing.name()), place);
                self.report(problem.hint(format!("add it to the `metrics` of `{evaluate}`")));
            }
        }
    }

    /// Every metric of a list but the first of its kind is a problem.
    fn twice(&mut self, metrics: &[Metric], list: &Node) {
        for (index, metric) in metrics.iter().enumerate() {
            if let Some(first) = metrics[..index].iter().position(|other| other == metric) {
                let place = |index: usize| list.child(&index.to_string()).unwrap_or(list).head;
                let problem = Problem::new(format!("metric `{metric:?}` is given twice"), place(index));
                self.report(problem.label("again here").related(place(first), "first given here"));
            }
        }
    }

    fn toy(&mut self, name: &str, stage: &Toy) {
        for (field, empty, hint) in [
            ("balancers", stage.balancers.is_empty(), "for example `balancers: [Ls(), NashMtl()]`"),
            ("starts", stage.starts.is_empty(), "leave it out for the five points of the published figures"),
        ] {
            let list = self.at(&["stages", name, field]);
            if empty && !self.is_faulty(list) {
                self.report(Problem::new(format!("`{field}` is empty"), list.head).hint(hint));
            }
        }
        let list = self.at(&["stages", name, "balancers"]);
        let place = |index: usize| list.child(&index.to_string()).unwrap_or(list).head;
        let lowest = stage.losses_above();
        for (index, balancer) in stage.balancers.iter().enumerate() {
            if let Some(first) = stage.balancers[..index].iter().position(|other| other == balancer) {
                let problem = Problem::new(format!("this `{}` is given twice", balancer.name()), place(index));
                self.report(problem.label("again here").related(place(first), "first given here"));
            } else if let Err(problem) = balancer.build(lowest.len()) {
                let problem = Problem::new(format!("balancer {problem}"), place(index));
                self.report(problem.hint("the toy problem has two tasks"));
            } else if let Some(bounds) = balancer.losses_above(lowest.len())
                && bounds.iter().zip(&lowest).any(|(bound, lowest)| bound > lowest)
            {
                let (problem, hint) = undefined_on_toy(balancer, lowest);
                self.report(Problem::new(problem, place(index)).hint(hint));
            }
        }
    }

    fn path(&mut self, path: &str, place: &[&str]) {
        if path.trim().is_empty() {
            let name = place.last().copied().unwrap_or_default();
            self.report(
                Problem::new(format!("`{name}` is empty"), self.at(place).head)
                    .hint("give a path, or leave the field out"),
            );
        }
    }
}

/// Why a balancer that wants its losses above a bound has no place on the toy problem, and what to do.
fn undefined_on_toy(balancer: &Balancer, [l1, l2]: [f64; 2]) -> (String, String) {
    let fall = format!("on the toy problem they fall to {l1} and {l2}");
    match balancer {
        Balancer::Famo(_) => (
            format!("`Famo` takes logarithms of the losses above its `lower_bounds`, and {fall}"),
            format!("give bounds that they never reach: `lower_bounds: [{:?}, {:?}]`", 1.05 * l1, 1.05 * l2),
        ),
        other => (
            format!("this `{}` takes logarithms of the losses, or divides by them, and {fall}", other.name()),
            "leave it out: it is defined for positive losses only".to_owned(),
        ),
    }
}
