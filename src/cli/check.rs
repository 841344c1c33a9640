//! `mtorec check`: every problem of some pipelines at once, without running anything.

use std::path::PathBuf;

use serde_json::json;

use super::failure::Failure;
use super::{Exit, output};
use crate::plan::Graph;
use crate::spec;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline files.
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
        let checked = spec::load(file, &args.sets)
            .map_err(Failure::from)
            .and_then(|loaded| Graph::of_pipeline(&loaded.pipeline).map_err(Failure::call));
        let name = file.display();
        match checked {
            Ok(graph) => {
                let stages = graph.nodes().len();
                text.push_str(&format!("{name}: ok, {stages} {}\n", if stages == 1 { "stage" } else { "stages" }));
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
