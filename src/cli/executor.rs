//! Where stages run: the options of all commands that run some.

use std::io::{self, BufRead, IsTerminal};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::ValueEnum;

use super::Exit;
use super::failure::Failure;
use super::project::{Project, SelectionArgs};
use super::remote::RemoteArgs;
use super::{interrupt, output};
use crate::registry::to_ron;
use crate::run::slurm::{Asked, AskedSweep, Slurm, Wish};
use crate::run::{Executor, ExecutorError, Local};
use crate::spec::LoadedSweep;

/// Where stages run.
#[derive(Debug, clap::Args)]
pub(super) struct ExecutorArgs {
    /// Where stages run: on this machine, or each as a job of the cluster that Slurm schedules.
    #[arg(long, value_enum, value_name = "WHERE", default_value = "local")]
    on: On,
    /// On this machine, run up to this many independent stages side by side, which divide the cores and each take memory of
    /// their own; results do not depend on it [default: 1, and for a sweep as many as there are cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// With `--on slurm`, end as soon as the jobs are submitted; `mtorec attach` comes back to them.
    #[arg(long)]
    detach: bool,
    /// With `--on slurm`, start a job up to so many times again that was killed or ran out of time; it goes on from its last
    /// checkpoint. One that lost its node starts again in any case [default: 3].
    #[arg(long, value_name = "TIMES")]
    requeue: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    Local,
    Slurm,
}

/// How often a job starts again unless the call says otherwise.
const REQUEUE: u32 = 3;

impl ExecutorArgs {
    /// Stages side by side, if the call has them on this machine.
    pub(super) fn jobs(&self, default: NonZeroUsize) -> NonZeroUsize {
        match self.on {
            On::Local => self.jobs.unwrap_or(default),
            On::Slurm => NonZeroUsize::MIN,
        }
    }

    /// Listens for Ctrl-C, which means something else to jobs than to stages here.
    pub(super) fn listen(&self) -> Result<&'static AtomicBool, Failure> {
        match self.on {
            On::Local => interrupt::listen(),
            On::Slurm => listen(false),
        }
    }

    /// What runs the stages of a call.
    pub(super) fn executor(
        &self,
        default: NonZeroUsize,
        project: &Project,
        sweep: Option<&LoadedSweep>,
        selection: &SelectionArgs,
        remote: &RemoteArgs,
        keep_going: bool,
    ) -> Result<Box<dyn Executor>, Failure> {
        match self.on {
            On::Local => {
                for (given, option) in [(self.detach, "--detach"), (self.requeue.is_some(), "--requeue")] {
                    if given {
                        return Err(Failure::call(format!("`{option}` is for jobs of a cluster"))
                            .hint("add `--on slurm`, or leave it out"));
                    }
                }
                Ok(Box::new(Local { jobs: self.jobs(default) }))
            }
            On::Slurm if self.jobs.is_some() => Err(Failure::call("with `--on slurm` it is Slurm that counts jobs")
                .hint(
                    "leave `--jobs` out; `resources: (cpus: ..)` in the pipeline says how many cores each stage gets",
                )),
            On::Slurm => {
                let asked = Asked {
                    file: absolute(&project.file)?,
                    root: project.root.clone(),
                    pipeline: to_ron(&project.pipeline),
                    sweep: sweep
                        .map(|loaded| AskedSweep { sweep: to_ron(&loaded.sweep), cells: loaded.grid.cells.clone() }),
                    forced: selection.force.clone(),
                    until: selection.until.clone(),
                    device: selection.device.clone(),
                    offline: selection.network.offline,
                    keep_going,
                    remote: remote.asked(),
                };
                let wish = Wish::Submit { asked, detach: self.detach };
                Ok(slurm(wish, self.requeue.unwrap_or(REQUEUE)))
            }
        }
    }
}

/// Somebody who can be asked: found out before a terminal may be closed, which is none any more then.
fn somebody() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Listens for Ctrl-C while jobs are followed; `follows` says that an earlier call submitted them.
pub(super) fn listen(follows: bool) -> Result<&'static AtomicBool, Failure> {
    interrupt::listen_from_afar(match (somebody(), follows) {
        (true, _) => "stopping (once more to leave the jobs alone)",
        (false, true) => "leaving the jobs alone",
        (false, false) => "cancelling the jobs (once more to leave them alone)",
    })
}

/// A cluster, and what becomes of its jobs when the user wants to stop: on a terminal that is asked; elsewhere a call cancels
/// what it submitted, and leaves what an earlier one did.
pub(super) fn slurm(wish: Wish, requeue: u32) -> Box<dyn Executor> {
    let (somebody, follows) = (somebody(), matches!(wish, Wish::Follow(_)));
    Box::new(Slurm { wish, requeue, leave: Box::new(move |jobs| if somebody { leave(jobs) } else { follows }) })
}

/// Asks whether jobs are left to go on; whoever went away wants them to.
fn leave(jobs: usize) -> bool {
    output::say(&format!(
        "cancel the {jobs} jobs that are not done? [y/N] (otherwise they go on, `mtorec attach` comes back)"
    ));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    !(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

pub(super) fn absolute(file: &Path) -> Result<std::path::PathBuf, Failure> {
    std::path::absolute(file).map_err(|error| Failure::trouble(Exit::Failed, error))
}

impl From<ExecutorError> for Failure {
    fn from(error: ExecutorError) -> Self {
        match error {
            ExecutorError::Store(error) => error.into(),
            ExecutorError::Interrupted => Failure::trouble(Exit::Interrupted, error),
            ExecutorError::Refused { message, hint } => {
                let failure = Failure::trouble(Exit::Failed, message);
                if let Some(hint) = hint { failure.hint(hint) } else { failure }
            }
        }
    }
}
