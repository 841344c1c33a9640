//! `mtorec cache pull`: what a remote has comes here.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::{StoreArgs, damaged_json, root};
use crate::cli::failure::{Failure, print_stage_error};
use crate::cli::project::{AnyArgs, Edits, NetworkArg, Project, SelectionArgs};
use crate::cli::remote::RemoteArg;
use crate::cli::{Exit, interrupt, output, run, tables};
use crate::readable;
use crate::remote::{Remote, RemoteError};
use crate::run::{Call, Console, How, Obtained, Share, Transfer, obtain};
use crate::stage::StageError;
use crate::store::{LockAttempt, Lookup, Store};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Pipelines or sweeps: what they come to, as far as the remote has it [default: all that the remote has].
    #[arg(value_name = "PIPELINE|SWEEP")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    remote: RemoteArg,
}

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    let remote = args.remote.open_needed()?;
    let console = output::console(verbose);
    if args.files.is_empty() {
        let store = Store::open(&root(&args.store.root)?)?;
        return everything(args, &store, &remote, &console, interrupt::listen()?);
    }
    let edits = Edits { sets: Vec::new(), root: args.store.root.clone() };
    // all are read before anything is transferred
    let load = |file: &PathBuf| Project::load_any(&AnyArgs { file: file.clone(), edits: edits.clone() });
    let projects: Vec<Project> = args.files.iter().map(|file| Ok(load(file)?.0)).collect::<Result<_, Failure>>()?;
    let cancelled = interrupt::listen()?;
    let (mut exit, mut documents) = (Exit::Done, Vec::new());
    for project in &projects {
        let (ended, document) = of_pipeline(project, &remote, &console, cancelled, args.store.json)?;
        if exit == Exit::Done {
            exit = ended;
        }
        documents.push(document);
        if exit == Exit::Interrupted {
            break;
        }
    }
    if args.store.json {
        output::print_json(&documents)?;
    }
    Ok(exit)
}

fn of_pipeline(
    project: &Project,
    remote: &Remote,
    console: &Console,
    cancelled: &AtomicBool,
    json: bool,
) -> Result<(Exit, Value), Failure> {
    let everything = SelectionArgs::everything(NetworkArg { offline: true });
    let call = run::call(project, &everything, false, cancelled)?;
    let call = Call { remote: Some(Share { remote, required: true }), ..call };
    let (mut rows, mut documents, mut exit) = (Vec::new(), Vec::new(), Exit::Done);
    for Obtained { stage, result } in obtain(&project.graph, &project.store, &project.record, &call, console)? {
        let (word, text) = match &result {
            Ok(Some(made)) if made.how == How::Pulled => ("pulled", "from the remote"),
            Ok(Some(_)) => ("up-to-date", "is here"),
            Ok(None) => ("absent", "is not there"),
            Err(StageError::Interrupted) => {
                exit = Exit::Interrupted;
                ("interrupted", "interrupted")
            }
            Err(error) => {
                print_stage_error(stage, error, &project.places);
                exit = Exit::Failed;
                ("failed", "failed")
            }
        };
        let made = result.as_ref().ok().and_then(|made| made.as_ref());
        let size = made.map_or_else(String::new, |made| readable::bytes(made.artifact.manifest().size()));
        rows.push(vec![stage.to_owned(), text.to_owned(), size]);
        documents.push(json!({ "name": stage, "result": word, "key": made.map(|made| made.artifact.manifest().key) }));
    }
    if !json {
        let columns = [("stage", false), ("artifact", false), ("size", true)];
        output::print(&format!("{}\n\n{}", project.graph.pipeline, tables::table(&columns, rows)))?;
    }
    Ok((exit, json!({ "pipeline": project.graph.pipeline, "stages": documents })))
}

/// Whatever the remote has and the store lacks.
fn everything(
    args: &Args,
    store: &Store,
    remote: &Remote,
    console: &Console,
    cancelled: &AtomicBool,
) -> Result<Exit, Failure> {
    let (mut got, mut bytes, mut here, mut busy, mut damaged) = (Vec::new(), 0, 0, 0, Vec::new());
    for key in remote.keys(&())? {
        if let Lookup::Intact(_) = store.lookup(key)? {
            here += 1;
            continue;
        }
        let LockAttempt::Held(lock) = store.try_lock(key, "cache pull")? else {
            busy += 1;
            continue;
        };
        let name = key.short();
        let progress = console.stage(&name);
        match remote.pull(store, &lock, &Transfer::of_bytes(&progress, cancelled)) {
            Ok(Some(artifact)) => {
                got.push(key);
                bytes += artifact.manifest().size();
            }
            // somebody collects garbage there
            Ok(None) => {}
            Err(RemoteError::Damaged { what, .. }) => damaged.push((key, what)),
            Err(error) => return Err(error.into()),
        }
    }
    if args.store.json {
        output::print_json(&json!({
            "got": got, "bytes": bytes, "present": here, "in_use": busy, "damaged": damaged_json(&damaged),
        }))?;
    } else {
        let mut text = String::new();
        for (key, what) in &damaged {
            text.push_str(&format!("{}: damaged there: {what}\n", key.short()));
        }
        let (count, size) = (got.len(), readable::bytes(bytes));
        text.push_str(&format!("{count} artifacts from {}, {size}; {here} were here", remote.name()));
        if busy > 0 {
            text.push_str(&format!("; {busy} in use, left alone"));
        }
        output::print(&format!("{text}\n"))?;
    }
    Ok(if damaged.is_empty() { Exit::Done } else { Exit::Failed })
}
