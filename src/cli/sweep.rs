//! `mtorec sweep`: runs a grid of variants of a pipeline and prints the table.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::executor::ExecutorArgs;
use super::failure::Failure;
use super::live::Live;
use super::project::{NetworkArg, Project, RootArg, SelectionArgs};
use super::remote::RemoteArgs;
use super::{Exit, output, run, tables};
use crate::comparison::Table;
use crate::metric::{Evaluation, Metric};
use crate::run::{Call, Executor, Results};
use crate::spec::{LoadedSweep, Pipeline, Stage};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The sweep file.
    #[arg(value_name = "SWEEP")]
    file: PathBuf,
    #[command(flatten)]
    root: RootArg,
    #[command(flatten)]
    executor: ExecutorArgs,
    /// After a failure, still run everything that does not depend on it; otherwise no further stage starts.
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    network: NetworkArg,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    shown: Shown,
}

/// What is printed.
#[derive(Debug, clap::Args)]
pub(super) struct Shown {
    /// The metric of the table, one of those that the pipeline measures: `log-loss` or `LogLoss` [default: Auc].
    #[arg(long, value_name = "METRIC", value_parser = metric)]
    metric: Option<Metric>,
    /// How the table is printed [default: text].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print one JSON document: as `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub(super) json: bool,
}

impl Shown {
    /// The option of a table that the call gives, if it gives one.
    pub(super) fn of_table(&self) -> Option<&'static str> {
        self.metric.map(|_| "--metric").or(self.format.map(|_| "--format"))
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Csv,
    Json,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    let (project, loaded) = Project::load_sweep(&args.file, &args.root)?;
    let remote = args.remote.open(args.network.offline)?;
    let everything = SelectionArgs::everything(args.network);
    let executor =
        args.executor.executor(cores(), &project, Some(&loaded), &everything, &args.remote, args.keep_going)?;
    let cancelled = args.executor.listen()?;
    output::say(&format!("{} cells, {} stages", loaded.grid.cells.len(), loaded.grid.pipeline.stages.len()));
    let call = run::call(&project, &everything, args.keep_going, cancelled)?;
    let call = Call { remote: remote.share(), ..call };
    finish(&project, &loaded, &call, executor.as_ref(), args.executor.jobs(cores()), &args.shown, verbose)
}

/// Runs what is out of date and prints the table.
pub(super) fn finish(
    project: &Project,
    loaded: &LoadedSweep,
    call: &Call,
    executor: &dyn Executor,
    jobs: NonZeroUsize,
    shown: &Shown,
    verbose: bool,
) -> Result<Exit, Failure> {
    let LoadedSweep { sweep, grid } = loaded;
    let metric = shown.metric.unwrap_or(Metric::Auc);
    is_measured(metric, &grid.pipeline, &project.file)?;
    let console = output::console(verbose);
    let live = Live::new(sweep, grid, metric, jobs, &console);
    let Call { site, keep_going, remote, cancelled, .. } = *call;
    let (forced, selected) = (call.forced.clone(), call.selected.clone());
    let call = Call { site, keep_going, forced, selected, remote, cancelled, observer: &live };
    let report = run::make(project, executor, &call, &console)?;
    live.end();

    let found: HashMap<String, Evaluation> =
        Results::of_report(&report)?.evaluations.into_iter().map(|found| (found.stage, found.evaluation)).collect();
    let table = Table::of_sweep(sweep, grid, metric, &found);
    let format = if shown.json { Format::Json } else { shown.format.unwrap_or(Format::Text) };
    match format {
        // there is no table yet
        Format::Text | Format::Markdown | Format::Csv if report.away() => {}
        Format::Json => output::print_json(&table)?,
        Format::Csv => output::print(&table.csv())?,
        Format::Markdown => output::print(&(notice(&found, true) + &table.markdown()))?,
        Format::Text => output::print(&(notice(&found, false) + &tables::comparison(&table)))?,
    }
    Ok(run::conclude_with_hint(&report, project))
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
