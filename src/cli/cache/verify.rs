//! `mtorec cache verify`: is everything as it was written?

use serde_json::json;

use super::{StoreArgs, find, open};
use crate::cli::failure::Failure;
use crate::cli::{Exit, output};
use crate::readable;
use crate::store::{LockAttempt, StoreError};

pub(super) fn main(args: &StoreArgs) -> Result<Exit, Failure> {
    let store = open(args)?;
    let (mut intact, mut bytes, mut damaged) = (0, 0, Vec::new());
    for key in store.keys()? {
        let what = match find(&store, key)? {
            Ok(artifact) => match artifact.verify() {
                Ok(()) => {
                    intact += 1;
                    bytes += artifact.manifest().size();
                    continue;
                }
                Err(StoreError::Damaged { what, .. }) => what,
                Err(error) => return Err(error.into()),
            },
            Err(what) => what,
        };
        let aside = match store.try_lock(key, "cache verify")? {
            LockAttempt::Held(lock) => {
                store.set_aside(&lock)?;
                true
            }
            // Somebody is making it again just now.
            LockAttempt::Busy(_) => false,
        };
        damaged.push((key, what, aside));
    }
    if args.json {
        let listed = damaged.iter().map(|(key, what, aside)| json!({ "key": key, "what": what, "set_aside": aside }));
        output::print_json(&json!({ "intact": intact, "bytes": bytes, "damaged": listed.collect::<Vec<_>>() }))?;
    } else {
        let mut text = String::new();
        for (key, what, aside) in &damaged {
            let then = if *aside { "set aside, the next run makes it again" } else { "being made again" };
            text.push_str(&format!("{}: damaged: {what}; {then}\n", key.short()));
        }
        text.push_str(&format!("{intact} artifacts intact ({}), {} damaged\n", readable::bytes(bytes), damaged.len()));
        output::print(&text)?;
    }
    Ok(if damaged.is_empty() { Exit::Done } else { Exit::Failed })
}
