//! `mtorec job`: makes one stage of a submission; what a job of Slurm runs, and nobody else.

use std::path::PathBuf;

use super::failure::{Failure, print_stage_error};
use super::project::{Project, SelectionArgs};
use super::remote::RemoteArgs;
use super::{Exit, interrupt, output, run};
use crate::run::Call;
use crate::run::slurm::{Submission, make_one};
use crate::stage::StageError;
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The submission's folder.
    folder: PathBuf,
    /// Which of its arrays.
    array: usize,
    /// Which task of the array.
    task: u32,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    let submission = open(args)?;
    let Some(stage) = submission.stage(args.array, args.task) else {
        return Err(Failure::call(format!(
            "submission {} has no task {} in array {}",
            submission.id, args.task, args.array
        )));
    };
    let asked = &submission.asked;
    let (project, _) = Project::of_submission(asked)?;
    let selection = SelectionArgs::of_submission(asked);
    let cancelled = interrupt::listen_patiently()?;
    let remote = RemoteArgs::of_submission(asked).open(asked.offline)?;
    let call = Call { remote: remote.share(), ..run::call(&project, &selection, false, cancelled)? };
    let at = project.graph.find(stage)?;
    // Slurm counts how often a job was started again
    let again = std::env::var("SLURM_RESTART_COUNT").is_ok_and(|count| count != "0");
    let console = output::console(verbose);
    let around = (&project.graph, &project.store, &project.record);
    match make_one(&submission, (args.array, args.task), at, again, around, &call, &console)? {
        Ok(_) => Ok(Exit::Done),
        Err(StageError::Interrupted) => Ok(Exit::Interrupted),
        Err(error) => {
            print_stage_error(stage, &error, &project.places);
            Ok(Exit::Failed)
        }
    }
}

/// The submission in a folder `PROJECT/.mtorec/jobs/ID`.
fn open(args: &Args) -> Result<Submission, Failure> {
    let id = args.folder.file_name().and_then(|name| name.to_str());
    match (id, args.folder.ancestors().nth(3)) {
        (Some(id), Some(root)) => Ok(Submission::open(&Store::open(root)?, id)?),
        _ => Err(Failure::call(format!("`{}` is no submission's folder", args.folder.display()))),
    }
}
