//! `mtorec metrics`: the metrics of a pipeline's last run.

use std::path::PathBuf;

use serde_json::json;

use super::failure::Failure;
use super::project::{Edits, Project, RootArg};
use super::{Exit, output, tables};
use crate::run::evaluations;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE")]
    file: PathBuf,
    #[command(flatten)]
    root: RootArg,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let project = Project::load(&args.file, &Edits { sets: Vec::new(), root: args.root.clone() })?;
    let found = evaluations(&project.store, &project.record)?;
    for earlier in found.iter().filter(|found| !found.reached) {
        output::say(&format!(
            "warning: the last run did not come to `{}`: its numbers are from a run before",
            earlier.stage
        ));
    }
    if args.json {
        let simulated = found.iter().any(|found| found.evaluation.simulated);
        let stale: Vec<&str> = found.iter().filter(|found| !found.reached).map(|found| found.stage.as_str()).collect();
        output::print_json(&json!({
            "pipeline": project.pipeline.name,
            "simulated": simulated,
            "from_an_earlier_run": stale,
            "metrics": found,
        }))?;
    } else {
        output::print(&tables::metrics(&found))?;
    }
    Ok(Exit::Done)
}
