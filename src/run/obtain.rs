//! Getting what a pipeline comes to without making any of it.

use super::maker::Maker;
use super::sharing::Sharing;
use super::{Call, Console, Made};
use crate::plan::{Graph, Record};
use crate::stage::StageError;
use crate::store::{Store, StoreError};

/// What came of the wish for a stage's artifact.
pub struct Obtained<'g> {
    /// The stage's name.
    pub stage: &'g str,
    /// The artifact; none where neither the store nor the remote has it, or what the stage reads is not there.
    pub result: Result<Option<Made>, StageError>,
}

/// Gets what the stages of a graph come to, as far as the store and the call's remote have it. The first failure ends it.
///
/// # Errors
/// When the store cannot be used at all.
pub fn obtain<'g>(
    graph: &'g Graph,
    store: &Store,
    record: &Record,
    call: &Call,
    console: &Console,
) -> Result<Vec<Obtained<'g>>, StoreError> {
    store.clear_leftovers()?;
    let sharing = Sharing::new(call, console);
    let maker = Maker::new(graph, store, record, call, console, &sharing);
    let mut all = Vec::with_capacity(graph.nodes().len());
    for (at, node) in graph.nodes().iter().enumerate() {
        let result = maker.obtain(at);
        let ends = result.is_err();
        all.push(Obtained { stage: &node.name, result });
        if ends {
            break;
        }
    }
    Ok(all)
}
