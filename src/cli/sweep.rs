//! `mtorec sweep`: runs a grid of variants of a pipeline and prints the table.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::failure::Failure;
use super::live::Live;
use super::project::{NetworkArg, Project, RootArg, SelectionArgs};
use super::{Exit, interrupt, output, run, tables};
use crate::comparison::Table;
use crate::metric::{Evaluation, Metric};
use crate::run::{Call, Results};
use crate::spec::{LoadedSweep, Pipeline, Stage};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep file.
    #[arg(value_name = "SWEEP")]
    file: PathBuf,
    #[command(flatten)]
    root: RootArg,
    /// Run up to this many independent stages side by side, which divide the cores and each take memory of their own;
    /// results do not depend on it [default: as many as there are cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// After a failure, still run everything that does not depend on it; otherwise no further stage starts.
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    network: NetworkArg,
    /// The metric of the table, one of those that the pipeline measures: `log-loss` or `LogLoss`.
    #[arg(long, value_name = "METRIC", value_parser = metric, default_value = Metric::Auc.name())]
    metric: Metric,
    /// How the table is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON document: as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Csv,
    Json,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    let (project, LoadedSweep { sweep, grid }) = Project::load_sweep(&args.file, &args.root)?;
    let metric = args.metric;
    is_measured(metric, &grid.pipeline, &args.file)?;
    let cancelled = interrupt::listen()?;
    output::say(&format!("{} cells, {} stages", grid.cells.len(), grid.pipeline.stages.len()));
    let everything = SelectionArgs::everything(args.network);
    let jobs = args.jobs.unwrap_or_else(cores);
    let console = output::console(verbose);
    let live = Live::new(&sweep, &grid, metric, jobs, &console);
    let call = run::stop_at_failure(&project, &everything, jobs, cancelled)?;
    let report = run::make(&project, &Call { keep_going: args.keep_going, observer: &live, ..call }, &console)?;
    live.end();

    let found: HashMap<String, Evaluation> =
        Results::of_report(&report)?.evaluations.into_iter().map(|found| (found.stage, found.evaluation)).collect();
    let table = Table::of_sweep(&sweep, &grid, metric, &found);
    match if args.json { Format::Json } else { args.format } {
        Format::Json => output::print_json(&table)?,
        Format::Csv => output::print(&table.csv())?,
        Format::Markdown => output::print(&(notice(&found, true) + &table.markdown()))?,
        Format::Text => output::print(&(notice(&found, false) + &tables::comparison(&table)))?,
    }
    Ok(run::conclude_with_hint(&report, &project))
}

/// The metric that a user names.
fn metric(name: &str) -> Result<Metric, String> {
    let names = || Metric::ALL.iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", ");
    Metric::named(name).ok_or_else(|| format!("the metrics are {}", names()))
}

/// Refuses a metric that no stage of the grid measures.
fn is_measured(metric: Metric, pipeline: &Pipeline, file: &Path) -> Result<(), Failure> {
    let measured = |metric: &Metric| pipeline.stages.values().any(|stage| measures(stage, *metric));
    if measured(&metric) {
        return Ok(());
    }
    let failure = Failure::call(format!("no stage of `{}` measures `{}`", file.display(), metric.name()));
    let names: Vec<&str> = Metric::ALL.iter().filter(|metric| measured(metric)).map(|metric| metric.name()).collect();
    Err(failure.hint(match &names[..] {
        [] => "the table holds the metrics of `Evaluate` stages; add one to the pipeline".to_owned(),
        names => {
            format!("it measures {}; the pipeline's `Evaluate` stage asks for others by `metrics`", names.join(", "))
        }
    }))
}

fn measures(stage: &Stage, metric: Metric) -> bool {
    matches!(stage, Stage::Evaluate(stage) if stage.metrics.contains(&metric))
}

/// As many as rayon's threads, which follow the processor or `RAYON_NUM_THREADS`.
fn cores() -> NonZeroUsize {
    NonZeroUsize::new(rayon::current_num_threads()).unwrap_or(NonZeroUsize::MIN)
}

/// The notice that simulated numbers need.
fn notice(found: &HashMap<String, Evaluation>, markdown: bool) -> String {
    if !found.values().any(|evaluation| evaluation.simulated) {
        return String::new();
    }
    let text = "SIMULATED DATA: the numbers below come from a simulated log and say nothing about the real one";
    if markdown { format!("**{text}**\n\n") } else { format!("{text}\n\n") }
}
