//! `mtorec metrics`: the metrics of a pipeline's last run, where its toy problems ended, and two runs side by side.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::Failure;
use super::project::{Edits, NetworkArg, Project, RootArg, SelectionArgs};
use super::{Exit, output, tables};
use crate::plan::Plan;
use crate::readable;
use crate::run::{GoldenMetrics, GoldenVerdict, Results, ResultsError, StageEvaluation};
use crate::spec;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The pipeline file.
    #[arg(value_name = "PIPELINE", required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    root: RootArg,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the metrics of A and B side by side. Each is a pipeline (its last run), a golden file, or what `run --json` or
    /// `metrics --json` printed.
    Diff(DiffArgs),
}

#[derive(Debug, clap::Args)]
struct DiffArgs {
    /// What is compared with.
    a: PathBuf,
    /// What is compared.
    b: PathBuf,
    #[command(flatten)]
    root: RootArg,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    match (&args.command, &args.file) {
        (Some(Command::Diff(args)), _) => diff(args),
        (None, Some(file)) => show(file, args),
        // clap asks for one of them
        (None, None) => Err(Failure::call("`mtorec metrics` needs a pipeline").hint("mtorec metrics PIPELINE")),
    }
}

fn show(file: &Path, args: &Args) -> Result<Exit, Failure> {
    let project = Project::load(file, &Edits { sets: Vec::new(), root: args.root.clone() })?;
    let found = Results::of_record(&project.store, &project.record)?;
    if found.is_empty() {
        return Err(ResultsError::NeverRun(project.pipeline.name).into());
    }
    let stale = found.stale();
    for earlier in &stale {
        output::say(&format!("warning: the last run did not come to `{earlier}`: its numbers are from a run before"));
    }
    let plan = as_the_file_says(&project)?;
    let differing = found.differing(&plan, &project.record);
    for other in &differing {
        output::say(&format!(
            "warning: the last run of `{other}` is not what the file asks for now: its numbers are of other settings or data"
        ));
    }
    if args.json {
        output::print_json(&json!({
            "pipeline": project.pipeline.name,
            "simulated": found.simulated(),
            "from_an_earlier_run": stale,
            "not_as_the_file_says": differing,
            "metrics": found.evaluations,
            "predictions": found.predictions,
            "comparisons": found.comparisons,
            "toys": found.toys,
        }))?;
    } else {
        output::print(&tables::results(&found))?;
    }
    Ok(Exit::Done)
}

/// What a run of the file would do on the kind of device that the last one was on, which the file does not say.
fn as_the_file_says(project: &Project) -> Result<Plan, Failure> {
    let everything = SelectionArgs::everything(NetworkArg { offline: false });
    let device = project.record.device().unwrap_or(&everything.device).to_owned();
    let selection = project
        .select(&SelectionArgs { device, ..everything.clone() })
        // a build without that device
        .or_else(|_| project.select(&everything))?;
    project.plan(&selection)
}

fn diff(args: &DiffArgs) -> Result<Exit, Failure> {
    let (a, b) = (numbers(&args.a, &args.root)?, numbers(&args.b, &args.root)?);
    let comparison = a.compare(&b);
    if args.json {
        let of = |path: &Path, metrics: &GoldenMetrics| json!({ "name": path.display().to_string(), "pipeline": metrics.pipeline, "simulated": metrics.simulated });
        output::print_json(&json!({ "a": of(&args.a, &a), "b": of(&args.b, &b), "metrics": comparison.lines }))?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    match (a.simulated, b.simulated) {
        (true, true) => text.push_str("SIMULATED DATA: both come from a simulated log\n\n"),
        (true, false) => text.push_str("A comes from a simulated log and B from a real one: do not compare them\n\n"),
        (false, true) => text.push_str("A comes from a real log and B from a simulated one: do not compare them\n\n"),
        (false, false) => {}
    }
    let rows = comparison.lines.iter().map(|line| {
        let absent = |value: Option<f64>, here: bool| if here { readable::number(value, 6) } else { "-".to_owned() };
        let difference = line.got.zip(line.expected).map(|(got, expected)| format!("{:+.6}", got - expected));
        let verdict = match line.verdict {
            GoldenVerdict::Ok => "same",
            GoldenVerdict::Worse => "worse",
            GoldenVerdict::Better => "better",
            GoldenVerdict::Moved | GoldenVerdict::Different => "different",
            GoldenVerdict::Gone => "only in A",
            GoldenVerdict::New => "only in B",
        };
        vec![
            line.stage.clone(),
            line.metric.clone(),
            line.task.clone(),
            absent(line.expected, line.verdict != GoldenVerdict::New),
            absent(line.got, line.verdict != GoldenVerdict::Gone),
            difference.unwrap_or_default(),
            verdict.to_owned(),
        ]
    });
    let columns = [
        ("stage", false),
        ("metric", false),
        ("task", false),
        ("A", true),
        ("B", true),
        ("B - A", true),
        ("B is", false),
    ];
    text.push_str(&tables::table(&columns, rows));
    output::print(&text)?;
    Ok(Exit::Done)
}

/// The metrics of a pipeline's last run, of a golden file, or of what a command printed.
fn numbers(path: &Path, root: &RootArg) -> Result<GoldenMetrics, Failure> {
    if path.extension().is_some_and(|extension| extension == "json") {
        return printed(path);
    }
    if spec::kind_of_file(path).as_deref() == Some("GoldenMetrics") {
        return GoldenMetrics::read(path).map_err(Failure::call);
    }
    let project = Project::load(path, &Edits { sets: Vec::new(), root: root.clone() })?;
    let found = Results::of_record(&project.store, &project.record)?.evaluations;
    if found.is_empty() {
        return Err(ResultsError::NeverRun(project.pipeline.name).into());
    }
    Ok(GoldenMetrics::of_run(&project.pipeline.name, &found))
}

/// What `run --json` or `metrics --json` printed.
fn printed(path: &Path) -> Result<GoldenMetrics, Failure> {
    let wrong = |what: String| {
        Failure::call(format!("cannot read metrics from `{}`: {what}", path.display()))
            .hint("expected what `mtorec run --json` or `mtorec metrics --json` printed")
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let document: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let pipeline = document["pipeline"].as_str().unwrap_or_default();
    let found: Vec<StageEvaluation> =
        serde_json::from_value(document["metrics"].clone()).map_err(|error| wrong(error.to_string()))?;
    Ok(GoldenMetrics::of_run(pipeline, &found))
}
