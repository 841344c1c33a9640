//! `mtorec cache`: what is in the artifact store, is it intact, what of it may go, and what a remote has of it.

mod gc;
mod ls;
mod pull;
mod push;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::Exit;
use super::failure::Failure;
use super::project::{RootArg, existing_folder};
use crate::plan::Record;
use crate::store::{Artifact, Digest, Lookup, Store, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the artifacts, and the pipelines whose last run came to them.
    Ls(StoreArgs),
    /// Read every byte of every artifact; damaged ones are set aside, and the next run makes them again.
    Verify(StoreArgs),
    /// Remove artifacts, checkpoints and damaged copies that no pipeline's last run came to; or those of a remote.
    Gc(gc::Args),
    /// Put the artifacts to a remote, as far as it lacks them.
    Push(push::Args),
    /// Get artifacts from a remote: those that pipelines come to, or all.
    Pull(pull::Args),
}

#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// The project's folder, which holds the store [default: the current folder].
    #[command(flatten)]
    root: RootArg,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    match &args.command {
        Command::Ls(args) => ls::main(args),
        Command::Verify(args) => verify::main(args),
        Command::Gc(args) => gc::main(args, verbose),
        Command::Push(args) => push::main(args, verbose),
        Command::Pull(args) => pull::main(args, verbose),
    }
}

/// The folder of the project.
fn root(args: &RootArg) -> Result<PathBuf, Failure> {
    existing_folder(args.folder.as_deref().unwrap_or(Path::new(".")))
}

/// The store, which must be there.
fn open(args: &StoreArgs) -> Result<Store, Failure> {
    let store = Store::open(&root(&args.root)?)?;
    if !store.folder().is_dir() {
        return Err(Failure::call(format!("there is no store `{}`", store.folder().display()))
            .hint("the first `mtorec run` makes it; `--root` names another project"));
    }
    Ok(store)
}

/// The artifact itself even when it is damaged by the look of it; what is wrong is then the second part.
fn find(store: &Store, key: Digest) -> Result<Result<Artifact, String>, StoreError> {
    Ok(match store.lookup(key)? {
        Lookup::Intact(artifact) => Ok(artifact),
        Lookup::Damaged(what) => Err(what),
        Lookup::Absent => Err("it went away".to_owned()),
    })
}

/// Damaged artifacts and how each is, for a JSON document.
fn damaged_json(damaged: &[(Digest, String)]) -> Value {
    damaged.iter().map(|(key, what)| json!({ "key": key, "what": what })).collect()
}

/// The stages (`pipeline/stage`) whose last run came to each artifact.
fn users(store: &Store) -> Result<BTreeMap<Digest, Vec<String>>, StoreError> {
    let mut users: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for path in store.records()? {
        let record: Option<Record> = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        for (stage, last) in record.iter().flat_map(|record| &record.stages) {
            let pipeline = record.as_ref().map_or("", |record| record.pipeline.as_str());
            users.entry(last.key).or_default().push(format!("{pipeline}/{stage}"));
        }
    }
    Ok(users)
}
