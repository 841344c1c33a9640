//! `mtorec check`: every problem of some pipelines and sweeps at once, without running anything.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::failure::Failure;
use super::project::project_folder;
use super::{Exit, output};
use crate::plan::Graph;
use crate::spec;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline files; sweep files too.
    #[arg(value_name = "PIPELINE", required = true)]
    files: Vec<PathBuf>,
    /// Change a field for this call, as in `run`; repeatable.
    #[arg(long = "set", value_name = "STAGE.FIELD=RON")]
    sets: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    let mut documents = Vec::new();
    let mut text = String::new();
    for file in &args.files {
        let name = file.display();
        match check(file, &args.sets) {
            Ok(found) => {
                text.push_str(&format!("{name}: ok, {found}\n"));
                documents.push(json!({ "file": name.to_string(), "ok": true, "problems": [] }));
            }
            Err(failure) => {
                exit = Exit::Wrong;
                let problems = match &failure {
                    Failure::Problems(problems) => problems.to_json(),
                    Failure::Trouble { error, .. } => json!([{ "message": error.to_string() }]),
                };
                documents.push(json!({ "file": name.to_string(), "ok": false, "problems": problems }));
                if !args.json {
                    failure.print();
                }
            }
        }
    }
    if args.json {
        output::print_json(&documents)?
    } else {
        output::print(&text)?
    }
    Ok(exit)
}

/// What a sound file holds, in words.
fn check(file: &Path, sets: &[String]) -> Result<String, Failure> {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    if spec::kind_of_file(file).as_deref() == Some("Sweep") {
        if !sets.is_empty() {
            return Err(Failure::call("`--set` changes a pipeline, not a sweep").hint("add an axis `Set(..)` to it"));
        }
        let root = project_folder(file)?;
        let loaded = spec::load_sweep(file, |_: &Path| root.clone())?;
        let graph = Graph::of_pipeline(&loaded.grid.pipeline).map_err(Failure::call)?;
        return Ok(format!("{}, {}", count(loaded.grid.cells.len(), "cell"), count(graph.nodes().len(), "stage")));
    }
    let loaded = spec::load(file, sets)?;
    let graph = Graph::of_pipeline(&loaded.pipeline).map_err(Failure::call)?;
    Ok(count(graph.nodes().len(), "stage"))
}
