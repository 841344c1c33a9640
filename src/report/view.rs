//! Gathers what a page shows: from the plan what is up to date, from the store what was made, from a sweep its tables.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::chart::{COLOURS, Chart, Line};
use super::curve::Curve;
use super::page::{
    CellCount, Comparison, Configuration, Measured, Page, Scored, Source, StageRow, ToyFigure, Training,
};
use super::{Dag, DagNode, findings};
use crate::comparison::Table;
use crate::data::{EncodedDataset, Schema};
use crate::metric::{Evaluation, Metric};
use crate::plan::{Plan, Record, Verdict};
use crate::readable;
use crate::run::{GoldenMetrics, Results, StageEvaluation, StagePredictions};
use crate::spec::{Axis, Cell, Grid, Pipeline, Stage, Sweep};
use crate::stage::train::CURVE;
use crate::store::{Artifact, Lookup, Machine, Store};

/// Trainings of a sweep that are shown one by one, at most.
const SHOWN: usize = 40;
/// Stages that are drawn one by one, at most.
const DRAWN: usize = 60;

/// What a stage last came to.
struct Found {
    artifact: Artifact,
    /// Whether it is what the file now asks for.
    current: bool,
}

/// All that is at hand.
struct Gathered<'a> {
    pipeline: &'a Pipeline,
    plan: &'a Plan,
    found: BTreeMap<&'a str, Found>,
    notes: Vec<String>,
}

impl Page {
    /// Gathers what is to be seen of a pipeline or a sweep, running nothing. Stages that are out of date are shown with what
    /// they last came to, and marked.
    pub fn new(source: &Source, pipeline: &Pipeline, plan: &Plan, record: &Record, store: &Store) -> Self {
        let mut gathered = Gathered { pipeline, plan, found: BTreeMap::new(), notes: Vec::new() };
        gathered.find(record, store);
        let results = gathered.results();
        let mut page = Page {
            title: pipeline.name.clone(),
            written: readable::moment(now()),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            simulated: gathered.found.values().any(|found| found.artifact.manifest().simulated),
            state: state(plan),
            configuration: Configuration { files: source.files.clone(), sets: source.sets.clone() },
            stages: gathered.stages(),
            machines: gathered.machines(),
            this_machine: Machine::this().to_string(),
            ..Page::default()
        };
        page.dag = match &source.sweep {
            Some((_, grid)) => gathered.condensed(grid),
            None if plan.stages.len() <= DRAWN => Some(Dag::of_plan(plan)),
            None => None,
        }
        .map(|dag| dag.to_string());
        match &source.sweep {
            Some((sweep, grid)) => gathered.sweep(&mut page, sweep, grid, &results),
            None => {
                page.evaluations = results.evaluations.iter().map(Measured::new).collect();
                for found in &results.comparisons {
                    page.comparisons.extend(found.tables.iter().map(|table| Comparison::new(&found.stage, table)));
                    page.findings.extend(findings::of_tables(&found.tables));
                }
                let trainings =
                    plan.stages.iter().filter(|stage| stage.kind == "Train").map(|stage| stage.name.clone());
                for stage in trainings.collect::<Vec<_>>() {
                    let name = stage.clone();
                    page.trainings.extend(gathered.training(&stage, name));
                }
                // a comparison says what its evaluations do, and more
                if results.comparisons.is_empty() {
                    page.findings.extend(results.evaluations.iter().filter_map(of_evaluation));
                }
                page.findings.extend(results.predictions.iter().map(of_predictions));
                let blessed = source.blessed.as_ref();
                page.findings.extend(blessed.and_then(|blessed| gathered.golden(blessed, &results)));
            }
        }
        page.predictions = results.predictions.iter().map(Scored::new).collect();
        for toy in &results.toys {
            match std::fs::read_to_string(&toy.figure) {
                Ok(figure) => page.toys.push(ToyFigure { stage: toy.stage.clone(), figure }),
                Err(error) => gathered.notes.push(format!("the figure of `{}` cannot be read: {error}", toy.stage)),
            }
        }
        page.notes = gathered.notes;
        page
    }
}

impl Gathered<'_> {
    fn find(&mut self, record: &Record, store: &Store) {
        for stage in &self.plan.stages {
            let name = stage.name.as_str();
            if let Verdict::UpToDate(artifact) = &stage.verdict {
                self.found.insert(name, Found { artifact: artifact.clone(), current: true });
                continue;
            }
            let Some(last) = record.stages.get(name) else { continue };
            match store.lookup(last.key) {
                Ok(Lookup::Intact(artifact)) => {
                    self.found.insert(name, Found { artifact, current: false });
                }
                Ok(Lookup::Absent) => {}
                Ok(Lookup::Damaged(what)) => self.notes.push(format!("the artifact of `{name}` is damaged: {what}")),
                Err(error) => self.notes.push(format!("the artifact of `{name}` cannot be read: {error}")),
            }
        }
    }

    fn results(&mut self) -> Results {
        let mut results = Results::default();
        for stage in &self.plan.stages {
            let Some(found) = self.found.get(stage.name.as_str()) else { continue };
            if let Err(error) = results.read(&stage.name, &found.artifact, found.current) {
                self.notes.push(format!("the numbers of `{}` cannot be read: {error}", stage.name));
            }
        }
        results
    }

    /// Whether the numbers shown hold; nothing while an `Evaluate` stage has none, which is no regression.
    fn golden(&self, blessed: &GoldenMetrics, results: &Results) -> Option<String> {
        let golden = self.pipeline.golden.as_ref()?;
        let shown = &results.evaluations;
        let measures = self.pipeline.stages.iter().filter(|(_, stage)| matches!(stage, Stage::Evaluate(_)));
        if shown.is_empty() || shown.len() < measures.count() {
            return None;
        }
        let comparison = blessed.hold(&GoldenMetrics::of_run(&self.pipeline.name, shown), golden);
        let current = shown.iter().all(|found| found.reached);
        Some(findings::of_golden(&golden.file, &comparison, current))
    }

    fn stages(&self) -> Vec<StageRow> {
        let row = |stage: &crate::plan::PlannedStage| {
            let found = self.found.get(stage.name.as_str());
            let manifest = found.map(|found| found.artifact.manifest());
            let text = |pick: &dyn Fn(&crate::store::Manifest) -> String| manifest.map_or_else(String::new, pick);
            let parameters = manifest.map_or_else(Vec::new, |manifest| {
                manifest.recipe.parameters.iter().map(|(name, value)| format!("{name} = {value}")).collect()
            });
            StageRow {
                name: stage.name.clone(),
                kind: stage.kind,
                state: stage.verdict.word(),
                verdict: stage.verdict.to_string(),
                key: text(&|manifest| manifest.key.to_string()),
                made: text(&|manifest| readable::moment(manifest.created)),
                took: text(&|manifest| readable::duration(Duration::from_secs_f64(manifest.seconds.max(0.0)))),
                size: text(&|manifest| readable::bytes(manifest.size())),
                tool: text(&|manifest| manifest.tool.clone()),
                simulated: manifest.is_some_and(|manifest| manifest.simulated),
                summary: text(&|manifest| manifest.summary.clone()),
                parameters,
            }
        };
        self.plan.stages.iter().map(row).collect()
    }

    /// The machines that artifacts were made on, each with how many.
    fn machines(&self) -> Vec<String> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for found in self.found.values() {
            let machine = &found.artifact.manifest().machine;
            let name = machine.as_ref().map_or_else(|| "unknown".to_owned(), Machine::to_string);
            *counts.entry(name).or_default() += 1;
        }
        counts.into_iter().map(|(name, count)| format!("{name}: {count} stages")).collect()
    }

    /// The names of the tasks that a training learns.
    fn tasks(&self, training: &str) -> Vec<String> {
        let data = match self.pipeline.stages.get(training) {
            Some(Stage::Train(train)) => train.data.as_str(),
            _ => return Vec::new(),
        };
        let schema = self.found.get(data).and_then(|found| found.artifact.file(EncodedDataset::SCHEMA).ok());
        schema.and_then(|path| Schema::read(&path).ok()).map_or_else(Vec::new, |schema| schema.tasks)
    }

    fn curve(&mut self, training: &str) -> Option<Curve> {
        let found = self.found.get(training)?;
        let curve = found.artifact.file(CURVE).map_err(|error| error.to_string()).and_then(|path| Curve::read(&path));
        curve.map_err(|error| self.notes.push(format!("the learning curve of `{training}`: {error}"))).ok()
    }

    fn training(&mut self, training: &str, title: String) -> Option<Training> {
        let charts = self.curve(training)?.charts(&self.tasks(training));
        let found = self.found.get(training)?;
        let summary = found.artifact.manifest().summary.clone();
        Some(Training { title, summary, current: found.current, charts: charts.iter().map(Chart::to_string).collect() })
    }

    /// The graph of the swept pipeline, every stage with the state of its variants.
    fn condensed(&self, grid: &Grid) -> Option<Dag> {
        let first = grid.cells.first()?;
        let names: Vec<&String> = first.stages.keys().collect();
        let place = |name: &str| first.stages.get_index_of(name);
        let verdicts: BTreeMap<&str, &Verdict> =
            self.plan.stages.iter().map(|stage| (stage.name.as_str(), &stage.verdict)).collect();
        let mut dag = Dag::default();
        for name in &names {
            let mut variants: Vec<&String> = grid.cells.iter().filter_map(|cell| cell.stages.get(*name)).collect();
            variants.sort();
            variants.dedup();
            let done =
                variants.iter().filter(|v| matches!(verdicts.get(v.as_str()), Some(Verdict::UpToDate(_)))).count();
            let own = self.pipeline.stages.get(&first.stages[*name]);
            let state = if done == variants.len() { "up-to-date" } else { "run" };
            dag.nodes.push(DagNode {
                name: (*name).clone(),
                detail: format!("{}: {done} of {} done", own.map_or("", Stage::kind), variants.len()),
                state,
                hint: format!("{name}: {done} of {} variants are up to date", variants.len()),
            });
            let reads = own.map(Stage::references).unwrap_or_default();
            for reference in reads {
                // the name in the pipeline of all cells, back to the one in the swept pipeline
                let source = first.stages.iter().find(|(_, merged)| *merged == reference.stage).map(|(name, _)| name);
                let edge = source.and_then(|source| Some((place(source)?, place(name)?)));
                dag.edges.extend(edge.filter(|edge| !dag.edges.contains(edge)));
            }
        }
        Some(dag)
    }

    fn sweep(&mut self, page: &mut Page, sweep: &Sweep, grid: &Grid, results: &Results) {
        let current = results.evaluations.iter().filter(|found| found.reached);
        let found: HashMap<String, Evaluation> =
            current.map(|found| (found.stage.clone(), found.evaluation.clone())).collect();
        let is_done = |cell: &&Cell| cell.stages.values().any(|stage| found.contains_key(stage));
        page.cells = Some(CellCount { done: grid.cells.iter().filter(is_done).count(), all: grid.cells.len() });
        let has = |metric: &&Metric| {
            found.values().flat_map(|evaluation| &evaluation.values).any(|value| value.metric == metric.name())
        };
        let tables = Metric::ALL.iter().filter(has).map(|&metric| Table::of_sweep(sweep, grid, metric, &found));
        let tables: Vec<Table> = tables.collect();
        page.findings.extend(findings::of_tables(&tables));
        page.comparisons.extend(tables.iter().map(|table| Comparison::new("", table)));
        self.sweep_curves(page, sweep, grid);
    }

    /// The mean validation AUC of every row, a chart for each country; and in full the first seed of each.
    fn sweep_curves(&mut self, page: &mut Page, sweep: &Sweep, grid: &Grid) {
        let labels: Vec<Vec<String>> = sweep.over.iter().map(Axis::labels).collect();
        let is = |axis: usize, wanted: fn(&Axis) -> bool| wanted(&sweep.over[axis]);
        let is_country = |axis: usize| is(axis, |axis| matches!(axis, Axis::Country(_)));
        let is_seed = |axis: usize| is(axis, |axis| matches!(axis, Axis::Seed(_)));
        let named = |cell: &Cell, pick: &dyn Fn(usize) -> bool| -> String {
            let axes = (0..sweep.over.len()).filter(|&axis| sweep.over[axis].len() > 1 && pick(axis));
            axes.map(|axis| labels[axis][cell.values[axis]].clone()).collect::<Vec<_>>().join(" · ")
        };
        let mut charts: Vec<Chart> = Vec::new();
        let mut shown: Vec<String> = Vec::new();
        for cell in &grid.cells {
            let training =
                cell.stages.values().find(|stage| matches!(self.pipeline.stages.get(*stage), Some(Stage::Train(_))));
            let Some(training) = training else { continue };
            // the first seed of each row and country
            let (country, row) = (named(cell, &is_country), named(cell, &|axis| !is_country(axis) && !is_seed(axis)));
            let title = [row.as_str(), country.as_str()].join(" · ");
            let title = title.trim_matches([' ', '·']).to_owned();
            if shown.contains(&title) {
                continue;
            }
            let Some(curve) = self.curve(training) else { continue };
            shown.push(title.clone());
            let chart = charts.iter().position(|chart| chart.title == country).unwrap_or_else(|| {
                charts.push(Chart { title: country.clone(), x: "epoch", y: "mean AUC".into(), ..Chart::default() });
                charts.len() - 1
            });
            let colour = charts[chart].lines.len();
            charts[chart].lines.push(Line { name: row, colour: colour % (2 * COLOURS), points: curve.mean_auc() });
            if page.trainings.len() < SHOWN {
                let seed = named(cell, &is_seed);
                let title = if seed.is_empty() { title } else { format!("{title}, seed {seed}") };
                page.trainings.extend(self.training(training, title));
            }
        }
        if shown.len() > SHOWN {
            let left = shown.len() - SHOWN;
            self.notes.push(format!("{left} more trainings have learning curves; the first {SHOWN} are shown in full"));
        }
        for chart in &mut charts {
            let on = if chart.title.is_empty() { String::new() } else { format!(" on {}", chart.title) };
            chart.title = format!("Mean validation AUC{on}, first seed of each variant");
        }
        page.overview = charts.iter().filter(|chart| chart.is_worth_drawing()).map(Chart::to_string).collect();
    }
}

/// `evaluate: mean Auc 0.7786 on 9998 test rows, 0.8174 is the best attainable.`
fn of_evaluation(found: &StageEvaluation) -> Option<String> {
    let Evaluation { on, rows, values, .. } = &found.evaluation;
    let means: Vec<String> = values
        .iter()
        .filter(|value| value.over.is_some())
        .filter_map(|value| {
            let best = value.attainable.map_or_else(String::new, |best| format!(" (best attainable {best:.4})"));
            Some(format!("mean {} {:.4}{best}", value.metric, value.value?))
        })
        .collect();
    let stale = if found.reached { "" } else { "; out of date" };
    (!means.is_empty())
        .then(|| format!("{}: {} on {rows} {} rows{stale}.", found.stage, means.join(", "), on.to_lowercase()))
}

/// `score: new.csv has 1000 rows; no id is unseen in training.`
fn of_predictions(found: &StagePredictions) -> String {
    let stale = if found.reached { "" } else { "; out of date" };
    format!("{}: {} has {}{stale}.", found.stage, found.counts.file, found.counts.summary())
}

/// `5 of 5 stages are up to date`.
fn state(plan: &Plan) -> String {
    let current = plan.stages.iter().filter(|stage| matches!(stage.verdict, Verdict::UpToDate(_))).count();
    format!("{current} of {} stages are up to date", plan.stages.len())
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs())
}
