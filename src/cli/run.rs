//! `mtorec run`: brings a pipeline up to date.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::failure::{Failure, print_error, print_stage_error};
use super::project::{PipelineArgs, Project, SelectionArgs};
use super::{Exit, interrupt, output, tables};
use crate::run::{Call, Ending, Report, Results, ResultsError, StageResult, execute};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Run up to this many independent stages side by side, which divide the cores; results do not depend on it.
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    let project = Project::load(&args.pipeline.file, &args.pipeline.edits)?;
    let cancelled = interrupt::listen()?;
    let report = bring_up_to_date(&project, &args.selection, args.jobs, cancelled, verbose)?;
    let results = Results::of_report(&report)?;
    if args.json {
        output::print_json(&json!({
            "pipeline": report.pipeline,
            "ending": match report.ending() {
                Ending::Done => "done",
                Ending::Failed => "failed",
                Ending::Interrupted => "interrupted",
            },
            "simulated": report.simulated(),
            "stages": report.stages_json(),
            "metrics": results.evaluations,
            "comparisons": results.comparisons,
            "toys": results.toys,
        }))?;
    } else {
        output::print(&text(&report, &results))?;
    }
    Ok(conclude(&report, &project))
}

/// Runs what is out of date; shared with `golden`.
pub(super) fn bring_up_to_date(
    project: &Project,
    args: &SelectionArgs,
    jobs: NonZeroUsize,
    cancelled: &AtomicBool,
    verbose: bool,
) -> Result<Report, Failure> {
    let selection = project.select(args)?;
    let call = Call {
        site: project.site(selection.device),
        jobs,
        forced: selection.forced,
        selected: selection.selected,
        cancelled,
    };
    Ok(execute(&project.graph, &project.store, &project.record, &call, &output::console(verbose))?)
}

fn text(report: &Report, results: &Results) -> String {
    let ran = report.stages.iter().filter(|stage| stage.result.word() == "ran").count();
    let current = report.stages.iter().filter(|stage| stage.made().is_some()).count();
    let headline = if ran == 0 && current == report.stages.len() {
        format!("{}: every stage is up to date\n\n", report.pipeline)
    } else {
        format!("{}: {ran} of {} stages ran\n\n", report.pipeline, report.stages.len())
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
