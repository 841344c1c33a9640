//! `mtorec attach`: comes back to jobs that were submitted to a cluster.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::project::{Project, RootArg, SelectionArgs, existing_folder, project_folder};
use super::remote::RemoteArgs;
use super::{Exit, executor, output, run, sweep};
use crate::readable;
use crate::run::Call;
use crate::run::slurm::{Submission, Wish};
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline or sweep whose jobs they are, or the submission's own name; not needed where there is one submission.
    /// Ctrl-C asks whether to cancel them; where nobody can be asked they are left alone.
    #[arg(value_name = "PIPELINE|SWEEP|SUBMISSION")]
    which: Option<PathBuf>,
    #[command(flatten)]
    root: RootArg,
    /// Cancel the jobs; finished stages and checkpoints stay.
    #[arg(long)]
    cancel: bool,
    #[command(flatten)]
    shown: sweep::Shown,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    let submission = find(args)?;
    let asked = &submission.asked;
    let (project, loaded) = Project::of_submission(asked)?;
    if let (None, Some(option)) = (&loaded, args.shown.of_table()) {
        return Err(Failure::call(format!(
            "`{option}` is for the table of a sweep, and `{}` is a pipeline",
            asked.file.display()
        ))
        .hint("leave it out; `--json` prints everything"));
    }
    let selection = SelectionArgs::of_submission(asked);
    let cancelled = executor::listen(true)?;
    let remote = RemoteArgs::of_submission(asked).open(asked.offline)?;
    let call = Call { remote: remote.share(), ..run::call(&project, &selection, asked.keep_going, cancelled)? };
    let age = submission.age().map_or_else(String::new, |age| format!(", submitted {} ago", readable::duration(age)));
    output::say(&format!(
        "submission {} of `{}`: {} jobs{age}",
        submission.id,
        asked.file.display(),
        submission.stages()
    ));
    let wish = if args.cancel { Wish::Cancel(submission.clone()) } else { Wish::Follow(submission.clone()) };
    let executor = executor::slurm(wish, 0);
    let exit = match loaded {
        Some(loaded) => {
            sweep::finish(&project, &loaded, &call, executor.as_ref(), NonZeroUsize::MIN, &args.shown, verbose)
        }
        None => run::finish(&project, &call, executor.as_ref(), args.shown.json, verbose),
    }?;
    // cancelled jobs are what was asked for
    Ok(if args.cancel && exit == Exit::Interrupted { Exit::Done } else { exit })
}

/// The submission that the call means.
fn find(args: &Args) -> Result<Submission, Failure> {
    let file = args.which.as_ref().filter(|which| which.exists() || which.extension().is_some());
    let root = match (&args.root.folder, file) {
        (Some(root), _) => existing_folder(root)?,
        (None, Some(file)) => project_folder(file)?,
        // any file here would do
        (None, None) => project_folder(Path::new("pipeline.ron"))?,
    };
    if let (Some(which), None) = (&args.which, file)
        && which.components().count() > 1
    {
        return Err(Failure::call(format!("there is no file `{}`", which.display())));
    }
    let mut found = Submission::unfinished(&Store::open(&root)?)?;
    if let Some(file) = file {
        let file = executor::absolute(file)?;
        found.retain(|submission| submission.asked.file == file);
    } else if let Some(id) = &args.which {
        found.retain(|submission| Path::new(&submission.id) == id);
    }
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => {
            let of = args.which.as_ref().map_or_else(String::new, |which| format!(" of `{}`", which.display()));
            let project = root.display();
            Err(Failure::call(format!("no jobs{of} are under way in the project `{project}`")).hint(
                "`run` and `sweep` with `--on slurm` submit jobs; of those that have ended they show what came of them",
            ))
        }
        _ => {
            let listed: Vec<String> = found
                .iter()
                .map(|submission| format!("{} of `{}`", submission.id, submission.asked.file.display()))
                .collect();
            Err(Failure::call("several submissions are under way").hint(format!("name one of {}", listed.join(", "))))
        }
    }
}
