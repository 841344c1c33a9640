//! `mtorec cache push`: what is here goes to a remote.

use serde_json::json;

use super::{StoreArgs, damaged_json, find, open};
use crate::cli::failure::Failure;
use crate::cli::remote::RemoteArg;
use crate::cli::{Exit, interrupt, output};
use crate::readable;
use crate::remote::{Pushed, RemoteError};
use crate::run::Transfer;
use crate::store::StoreError;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    remote: RemoteArg,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    let remote = args.remote.open_needed()?;
    let store = open(&args.store)?;
    let cancelled = interrupt::listen()?;
    let console = output::console(verbose);
    let (mut put, mut bytes, mut present, mut damaged) = (Vec::new(), 0, 0, Vec::new());
    for key in store.keys()? {
        let artifact = match find(&store, key)? {
            Ok(artifact) => artifact,
            Err(what) => {
                damaged.push((key, what));
                continue;
            }
        };
        let name = key.short();
        let progress = console.stage(&name);
        match remote.push(&artifact, &Transfer::of_bytes(&progress, cancelled)) {
            Ok(Pushed::New { bytes: went }) => {
                put.push(key);
                bytes += went;
            }
            Ok(Pushed::Present) => present += 1,
            Err(RemoteError::Store(StoreError::Damaged { what, .. })) => damaged.push((key, what)),
            Err(error) => return Err(error.into()),
        }
    }
    if args.store.json {
        output::print_json(
            &json!({ "put": put, "bytes": bytes, "present": present, "damaged": damaged_json(&damaged) }),
        )?;
    } else {
        let mut text = String::new();
        for (key, what) in &damaged {
            text.push_str(&format!("{}: damaged, not put: {what}\n", key.short()));
        }
        let (count, size) = (put.len(), readable::bytes(bytes));
        text.push_str(&format!("{count} artifacts put to {}, {size}; {present} were there\n", remote.name()));
        output::print(&text)?;
    }
    Ok(if damaged.is_empty() { Exit::Done } else { Exit::Failed })
}
