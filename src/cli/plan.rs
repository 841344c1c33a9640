//! `mtorec plan`: what would run, and why.

use serde_json::{Value, json};

use super::failure::{Failure, print_stage_error};
use super::project::{AnyArgs, Project, SelectionArgs};
use super::remote::RemoteArg;
use super::{Exit, output, tables};
use crate::plan::{Plan, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: AnyArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    remote: RemoteArg,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let (project, _) = Project::load_any(&args.of)?;
    let remote = args.remote.open_for(args.selection.network.offline)?;
    let plan = project.plan_with(&project.select(&args.selection)?, &RemoteArg::known(remote.as_ref()))?;
    if args.json {
        output::print_json(&to_json(&plan))?
    } else {
        output::print(&text(&plan))?
    }
    for stage in &plan.stages {
        if let Verdict::Impossible(error) = &stage.verdict {
            print_stage_error(&stage.name, error, &project.places);
        }
    }
    Ok(Exit::Done)
}

fn text(plan: &Plan) -> String {
    let count = |word: &str| plan.stages.iter().filter(|stage| stage.verdict.word() == word).count();
    let (run, depend, pull) = (count("run"), count("depends"), count("pull"));
    let mut headline = match (run, depend) {
        (0, 0) if count("up-to-date") == plan.stages.len() => "every stage is up to date".to_owned(),
        (run, 0) => format!("{run} of {} stages to run", plan.stages.len()),
        (run, depend) => format!("{run} of {} stages to run, and up to {depend} after them", plan.stages.len()),
    };
    if pull > 0 {
        headline.push_str(&format!(", {pull} to come from the remote"));
    }
    let rows =
        plan.stages.iter().map(|stage| vec![stage.name.clone(), stage.kind.to_owned(), stage.verdict.to_string()]);
    let columns = [("stage", false), ("kind", false), ("what and why", false)];
    format!("{}: {headline}\n\n{}", plan.pipeline, tables::table(&columns, rows))
}

fn to_json(plan: &Plan) -> Value {
    let stage = |stage: &crate::plan::PlannedStage| {
        let mut json = json!({
            "name": stage.name,
            "kind": stage.kind,
            "reads": stage.reads,
            "verdict": stage.verdict.word(),
        });
        match &stage.verdict {
            Verdict::UpToDate(artifact) => {
                json["key"] = json!(artifact.manifest().key);
                json["simulated"] = json!(artifact.manifest().simulated);
            }
            Verdict::Pulled(manifest) => {
                json["key"] = json!(manifest.key);
                json["simulated"] = json!(manifest.simulated);
            }
            Verdict::Run(reasons) => json["reasons"] = json!(reasons),
            Verdict::After { stages, own } => {
                json["after"] = json!(stages);
                json["reasons"] = json!(own);
            }
            Verdict::Impossible(error) => {
                json["error"] = json!(error.to_string());
                if let Some(hint) = error.remedy() {
                    json["hint"] = json!(hint);
                }
            }
            Verdict::Blocked { by } => json["by"] = json!(by),
            Verdict::LeftOut => {}
        }
        json
    };
    json!({ "pipeline": plan.pipeline, "stages": plan.stages.iter().map(stage).collect::<Vec<_>>() })
}
