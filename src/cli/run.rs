//! `mtorec run`: brings a pipeline up to date.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::executor::ExecutorArgs;
use super::failure::{Failure, print_error, print_stage_error};
use super::project::{PipelineArgs, Project, Selection, SelectionArgs};
use super::remote::RemoteArgs;
use super::{Exit, output, tables};
use crate::run::{Call, Console, Ending, Executor, Local, Report, Results, ResultsError, Share, StageResult, execute};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    executor: ExecutorArgs,
    /// After a failure, still run everything that does not depend on it; otherwise no further stage starts.
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    let project = Project::load(&args.pipeline.file, &args.pipeline.edits)?;
    let one = NonZeroUsize::MIN;
    let executor = args.executor.executor(one, &project, None, &args.selection, &args.remote, args.keep_going)?;
    let remote = args.remote.open(args.selection.network.offline)?;
    let cancelled = args.executor.listen()?;
    let call = Call { remote: remote.share(), ..call(&project, &args.selection, args.keep_going, cancelled)? };
    finish(&project, &call, executor.as_ref(), args.json, verbose)
}

/// Runs what is out of date and prints what came of it.
pub(super) fn finish(
    project: &Project,
    call: &Call,
    executor: &dyn Executor,
    json: bool,
    verbose: bool,
) -> Result<Exit, Failure> {
    let report = make(project, executor, call, &output::console(verbose))?;
    let results = Results::of_report(&report)?;
    if json {
        output::print_json(&json!({
            "pipeline": report.pipeline,
            "ending": match report.ending() {
                Ending::Done if report.away() => "away",
                Ending::Done => "done",
                Ending::Failed => "failed",
                Ending::Interrupted => "interrupted",
            },
            "simulated": report.simulated(),
            "stages": report.stages_json(),
            "metrics": results.evaluations,
            "predictions": results.predictions,
            "comparisons": results.comparisons,
            "toys": results.toys,
        }))?;
    } else {
        output::print(&text(&report, &results))?;
    }
    Ok(conclude_with_hint(&report, project))
}

/// Runs what is out of date on this machine, until something fails.
pub(super) fn bring_up_to_date(
    project: &Project,
    args: &SelectionArgs,
    jobs: NonZeroUsize,
    remote: Option<Share>,
    cancelled: &AtomicBool,
    verbose: bool,
) -> Result<Report, Failure> {
    let call = Call { remote, ..call(project, args, false, cancelled)? };
    make(project, &Local { jobs }, &call, &output::console(verbose))
}

/// A call that nobody watches.
pub(super) fn call<'a>(
    project: &'a Project,
    args: &SelectionArgs,
    keep_going: bool,
    cancelled: &'a AtomicBool,
) -> Result<Call<'a>, Failure> {
    let selection = project.select(args)?;
    let site = project.site(&selection);
    let Selection { forced, selected, .. } = selection;
    Ok(Call { site, keep_going, forced, selected, remote: None, cancelled, observer: &() })
}

/// Runs what is out of date as a call says.
pub(super) fn make(
    project: &Project,
    executor: &dyn Executor,
    call: &Call,
    console: &Console,
) -> Result<Report, Failure> {
    Ok(execute(&project.graph, &project.store, &project.record, executor, call, console)?)
}

fn text(report: &Report, results: &Results) -> String {
    let (ran, pulled) = (count(report, "ran"), count(report, "pulled"));
    let current = report.stages.iter().filter(|stage| stage.made().is_some()).count();
    let headline = match (ran, pulled) {
        (0, 0) if current == report.stages.len() => format!("{}: every stage is up to date\n\n", report.pipeline),
        (ran, 0) => format!("{}: {ran} of {} stages ran\n\n", report.pipeline, report.stages.len()),
        (ran, pulled) => {
            let all = report.stages.len();
            format!("{}: {ran} of {all} stages ran, {pulled} came from the remote\n\n", report.pipeline)
        }
    };
    let mut text = headline + &tables::stages(report);
    if report.simulated() && !results.simulated() {
        text.push_str("\nSIMULATED DATA: these artifacts are made from a simulated log, not from the real one\n");
    }
    let results = tables::results(results);
    if !results.is_empty() {
        text.push('\n');
        text.push_str(&results);
    }
    text
}

/// As [`conclude`], for commands that know `--keep-going`.
pub(super) fn conclude_with_hint(report: &Report, project: &Project) -> Exit {
    let exit = conclude(report, project);
    if exit == Exit::Failed && count(report, "not-started") > 0 {
        output::say("hint: `--keep-going` still runs what does not depend on a failure");
    }
    exit
}

fn count(report: &Report, word: &str) -> usize {
    report.stages.iter().filter(|stage| stage.result.word() == word).count()
}

/// Shows the errors of a run after its table, and says how it ended.
pub(super) fn conclude(report: &Report, project: &Project) -> Exit {
    for stage in &report.stages {
        if let StageResult::Failed(error) = &stage.result {
            print_stage_error(&stage.name, error, &project.places);
        }
    }
    if let Some(error) = &report.unrecorded {
        print_error("", error, None);
    }
    let [failed, blocked, waiting] = ["failed", "blocked", "not-started"].map(|word| count(report, word));
    if failed > 0 {
        output::say(&format!(
            "{failed} of {} stages failed, {blocked} need them, {waiting} not started",
            report.stages.len()
        ));
    }
    if report.away() {
        output::say(&format!(
            "{} stages are under way: `mtorec attach {}` comes back to them",
            count(report, "away"),
            project.file.display()
        ));
    }
    match report.ending() {
        Ending::Done => Exit::Done,
        Ending::Failed => Exit::Failed,
        Ending::Interrupted => {
            output::say("interrupted: finished stages and checkpoints are kept, the next run goes on from them");
            Exit::Interrupted
        }
    }
}

impl From<ResultsError> for Failure {
    fn from(error: ResultsError) -> Self {
        let exit = if matches!(error, ResultsError::NeverRun(_)) { Exit::Wrong } else { Exit::Failed };
        Failure::trouble(exit, error).hint("`mtorec run` on the pipeline makes them")
    }
}
