//! `mtorec golden check` and `mtorec golden bless`: hold a pipeline's metrics to blessed ones, or bless them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::Failure;
use super::project::{Edits, NetworkArg, Project, RootArg, SelectionArgs};
use super::remote::RemoteArgs;
use super::{Exit, interrupt, output, run, tables};
use crate::readable;
use crate::run::{Ending, GoldenComparison, GoldenError, GoldenMetrics, GoldenVerdict, Results, Share};
use crate::spec;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run what is out of date and compare the metrics with the golden files; any difference beyond the tolerance, for
    /// better or worse, ends with 3.
    Check(CheckArgs),
    /// Run what is out of date and write the golden files.
    Bless(BlessArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The pipeline files.
    #[arg(value_name = "PIPELINE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    edits: Edits,
    /// Run up to this many independent stages side by side.
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
    #[command(flatten)]
    network: NetworkArg,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BlessArgs {
    /// The pipeline files.
    #[arg(value_name = "PIPELINE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    root: RootArg,
    /// Run up to this many independent stages side by side.
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
    #[command(flatten)]
    network: NetworkArg,
}

/// A pipeline with the golden file it names.
struct Held {
    project: Project,
    golden: spec::Golden,
    path: PathBuf,
}

/// Loads every pipeline before anything runs, so that a wrong call costs no training.
fn load(files: &[PathBuf], edits: &Edits) -> Result<Vec<Held>, Failure> {
    let one = |file: &PathBuf| {
        let project = Project::load(file, edits)?;
        let golden = project.pipeline.golden.clone().ok_or_else(|| {
            Failure::call(format!("`{}` names no golden file", file.display()))
                .hint(format!("add `golden: Golden(file: \"golden/{}.ron\")` to the pipeline", project.pipeline.name))
        })?;
        Ok(Held { path: project.root.join(&golden.file), project, golden })
    };
    files.iter().map(one).collect()
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    match &args.command {
        Command::Check(args) => check(args, verbose),
        Command::Bless(args) => bless(args, verbose),
    }
}

fn check(args: &CheckArgs, verbose: bool) -> Result<Exit, Failure> {
    let held = load(&args.files, &args.edits)?;
    let goldens = held
        .iter()
        .map(|held| GoldenMetrics::read(&held.path).map_err(|error| golden_failure(error, &held.project)))
        .collect::<Result<Vec<_>, _>>()?;
    let remote = args.remote.open(args.network.offline)?;
    let cancelled = interrupt::listen()?;
    let (mut exit, mut documents) = (Exit::Done, Vec::new());
    for (held, golden) in held.iter().zip(&goldens) {
        let metrics = match measure(held, args.jobs, args.network, remote.share(), cancelled, verbose)? {
            Ok(metrics) => metrics,
            Err(Exit::Interrupted) => return Ok(Exit::Interrupted),
            Err(failed) => {
                exit = failed;
                continue;
            }
        };
        let comparison = golden.hold(&metrics, &held.golden);
        if !comparison.passes() && exit == Exit::Done {
            exit = Exit::Regression;
        }
        if args.json {
            documents.push(to_json(&held.project.pipeline.name, &comparison));
        } else {
            output::print(&text(&held.project.pipeline.name, &comparison))?;
        }
    }
    if args.json {
        output::print_json(&documents)?;
    }
    Ok(exit)
}

fn bless(args: &BlessArgs, verbose: bool) -> Result<Exit, Failure> {
    let held = load(&args.files, &Edits { sets: Vec::new(), root: args.root.clone() })?;
    let cancelled = interrupt::listen()?;
    let mut exit = Exit::Done;
    for held in &held {
        let metrics = match measure(held, args.jobs, args.network, None, cancelled, verbose)? {
            Ok(metrics) => metrics,
            Err(Exit::Interrupted) => return Ok(Exit::Interrupted),
            Err(failed) => {
                exit = failed;
                continue;
            }
        };
        let earlier = GoldenMetrics::read(&held.path).ok();
        metrics.write(&held.path).map_err(|error| golden_failure(error, &held.project))?;
        let count: usize = metrics.stages.values().map(Vec::len).sum();
        output::print(&format!("{}: blessed, {count} metrics\n", held.path.display()))?;
        if let Some(comparison) = earlier.map(|earlier| earlier.compare(&metrics)).filter(|all| !all.passes()) {
            output::print(&text(&held.project.pipeline.name, &comparison))?;
        }
    }
    Ok(exit)
}

/// Brings a pipeline up to date and takes its metrics; the inner error is how a run ended that came to none.
fn measure(
    held: &Held,
    jobs: NonZeroUsize,
    network: NetworkArg,
    remote: Option<Share>,
    cancelled: &AtomicBool,
    verbose: bool,
) -> Result<Result<GoldenMetrics, Exit>, Failure> {
    let everything = SelectionArgs::everything(network);
    let report = run::bring_up_to_date(&held.project, &everything, jobs, remote, cancelled, verbose)?;
    if report.ending() != Ending::Done {
        return Ok(Err(run::conclude(&report, &held.project)));
    }
    let Results { evaluations, .. } = Results::of_report(&report)?;
    if evaluations.is_empty() {
        return Err(Failure::call(format!("`{}` measures nothing", held.project.file.display()))
            .hint("a golden file holds the metrics of `Evaluate` stages; add one"));
    }
    Ok(Ok(GoldenMetrics::of_run(&report.pipeline, &evaluations)))
}

fn golden_failure(error: GoldenError, project: &Project) -> Failure {
    match error {
        missing @ GoldenError::Missing(_) => {
            Failure::call(missing).hint(format!("`mtorec golden bless {}` writes it", project.file.display()))
        }
        format @ GoldenError::Format { .. } => {
            Failure::call(format).hint(format!("`mtorec golden bless {}` writes it anew", project.file.display()))
        }
        other => Failure::trouble(Exit::Failed, other),
    }
}

fn word(verdict: GoldenVerdict) -> &'static str {
    match verdict {
        GoldenVerdict::Ok => "ok",
        GoldenVerdict::Worse => "WORSE",
        GoldenVerdict::Better => "BETTER",
        GoldenVerdict::Moved => "MOVED",
        GoldenVerdict::Different => "DIFFERENT",
        GoldenVerdict::Gone => "GONE",
        GoldenVerdict::New => "NEW",
    }
}

fn text(pipeline: &str, comparison: &GoldenComparison) -> String {
    let failed = comparison.lines.iter().filter(|line| line.fails).count();
    let mut text = match failed {
        0 => format!("{pipeline}: all {} metrics hold\n", comparison.lines.len()),
        _ => format!("{pipeline}: {failed} of {} metrics do not hold\n", comparison.lines.len()),
    };
    let source = |simulated: bool| if simulated { "simulated" } else { "real" };
    if comparison.expected_simulated != comparison.got_simulated {
        let (expected, got) = (source(comparison.expected_simulated), source(comparison.got_simulated));
        text.push_str(&format!("the golden metrics come from {expected} data, these from {got} data\n"));
    } else if comparison.got_simulated {
        text.push_str("SIMULATED DATA: both come from a simulated log\n");
    }
    let columns = [
        ("stage", false),
        ("metric", false),
        ("task", false),
        ("expected", true),
        ("got", true),
        ("tolerance", true),
        ("verdict", false),
    ];
    let rows = comparison.lines.iter().map(|line| {
        let (expected, got) = match line.verdict {
            GoldenVerdict::Gone => (readable::number(line.expected, 6), "none".to_owned()),
            GoldenVerdict::New => ("none".to_owned(), readable::number(line.got, 6)),
            _ => (readable::number(line.expected, 6), readable::number(line.got, 6)),
        };
        // as short as the pipeline writes it; a share of the number comes out long
        let exact = line.tolerance.to_string();
        let tolerance = if exact.len() > 8 { format!("{:.6}", line.tolerance) } else { exact };
        let (stage, metric, task) = (line.stage.clone(), line.metric.clone(), line.task.clone());
        vec![stage, metric, task, expected, got, tolerance, word(line.verdict).to_owned()]
    });
    text.push('\n');
    text + &tables::table(&columns, rows) + "\n"
}

fn to_json(pipeline: &str, comparison: &GoldenComparison) -> Value {
    let mut json = json!(comparison);
    json["pipeline"] = json!(pipeline);
    json["passes"] = json!(comparison.passes());
    json
}
