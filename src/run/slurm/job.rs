//! What happens on the node: one stage of a submission is made, and what came of it is written down.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::Submission;
use crate::plan::{Graph, Record};
use crate::run::cores::Cores;
use crate::run::maker::Maker;
use crate::run::sharing::Sharing;
use crate::run::{Call, Console, How};
use crate::stage::StageError;
use crate::store::{Store, StoreError};

/// Makes the stage of one task, and says so in the submission's folder. What it reads must be there: the jobs before it made
/// it. `again` says that an earlier start of this job was stopped.
///
/// # Errors
/// When what came of it cannot be written down; a stage that fails is no error here.
pub fn make_one(
    submission: &Submission,
    seat: (usize, u32),
    stage: usize,
    again: bool,
    (graph, store, record): (&Graph, &Store, &Record),
    call: &Call,
    console: &Console,
) -> Result<Result<How, StageError>, StoreError> {
    submission.forget_outcome(seat)?;
    let sharing = Sharing::new(call, console);
    let maker = Maker::new(graph, store, record, call, console, &sharing);
    let made = sharing.during(|| {
        find_sources(&maker, stage)?;
        let cores = Cores::new(rayon::current_num_threads(), 1);
        if again { maker.make_on(stage, &cores) } else { maker.make(stage, &cores) }
    });
    drop(maker);
    // its own, or that of something it reads and had to make again
    let failed = sharing.into_failures().into_iter().next();
    let result = failed.map_or(made, |(_, error)| Err(error)).map(|made| made.how);
    if let Some(outcome) = super::outcome::Outcome::of(&result) {
        submission.set_outcome(seat, &outcome)?;
    }
    Ok(result)
}

/// How late this node may see what a job on another one wrote: a shared file system keeps what it knows of folders for a
/// while.
const LATE: Duration = Duration::from_secs(60);

/// Finds the artifacts of all stages before this one.
fn find_sources(maker: &Maker, stage: usize) -> Result<(), StageError> {
    let needed = maker.graph.needed_for(stage);
    let start = Instant::now();
    for source in (0..stage).filter(|&source| needed[source]) {
        while maker.take_over(source, None)?.is_none() {
            if maker.cancelled.load(Ordering::Relaxed) {
                return Err(StageError::Interrupted);
            }
            if start.elapsed() < LATE {
                thread::sleep(Duration::from_secs(1));
                continue;
            }
            let name = &maker.graph.nodes()[source].name;
            let message = format!("the artifact of `{name}`, which this stage needs, is not in the store");
            let hint = format!("`{}` must be the same folder on all nodes", maker.store.folder().display());
            return Err(StageError::failed(message).hint(hint));
        }
    }
    Ok(())
}
