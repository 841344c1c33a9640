//! `mtorec cache`: what is in the artifact store, is it intact, and what of it may go.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::json;

use super::failure::Failure;
use super::project::{RootArg, existing_folder};
use super::{Exit, output, tables};
use crate::plan::Record;
use crate::readable;
use crate::store::{Artifact, Candidate, Digest, Garbage, GcRule, LockAttempt, Lookup, Store, StoreError};

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
    /// Remove artifacts, checkpoints and damaged copies that no pipeline's last run came to.
    Gc(GcArgs),
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

#[derive(Debug, clap::Args)]
struct GcArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Keep what was written in the last so many days, though no pipeline reaches it.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    keep_days: u64,
    /// Remove even younger ones, the oldest first, until the store is no larger: `500MB`, `20GB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
}

/// `500MB`, `20GB`, `1000`: bytes, by powers of a thousand.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return Err(format!("unknown unit `{}`: expected B, kB, MB, GB or TB", unit.trim())),
    };
    let number: f64 = number.parse().map_err(|_| format!("expected a size such as `20GB`, found `{text}`"))?;
    Ok((number * factor) as u64)
}

pub(super) fn main(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Command::Ls(args) => ls(args),
        Command::Verify(args) => verify(args),
        Command::Gc(args) => gc(args),
    }
}

fn open(args: &StoreArgs) -> Result<Store, Failure> {
    let root = existing_folder(args.root.folder.as_deref().unwrap_or(Path::new(".")))?;
    let store = Store::open(&root)?;
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

fn ls(args: &StoreArgs) -> Result<Exit, Failure> {
    let store = open(args)?;
    let users = users(&store)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let (mut rows, mut documents, mut total) = (Vec::new(), Vec::new(), 0);
    for key in store.keys()? {
        let used = users.get(&key).map(|names| names.join(", ")).unwrap_or_default();
        match find(&store, key)? {
            Ok(artifact) => {
                let manifest = artifact.manifest();
                total += manifest.size();
                let age = readable::duration(Duration::from_secs(now.saturating_sub(manifest.created)));
                let mark = if manifest.simulated { "simulated: " } else { "" };
                rows.push(vec![
                    key.short(),
                    manifest.recipe.kind.clone(),
                    readable::bytes(manifest.size()),
                    age,
                    used,
                    format!("{mark}{}", manifest.summary),
                ]);
                let mut document = json!(manifest);
                document["size"] = json!(manifest.size());
                document["used_by"] = json!(users.get(&key).cloned().unwrap_or_default());
                documents.push(document);
            }
            Err(what) => {
                let empty = String::new();
                rows.push(vec![key.short(), "?".to_owned(), empty.clone(), empty, used, format!("damaged: {what}")]);
                documents.push(json!({ "key": key, "damaged": what }));
            }
        }
    }
    if args.json {
        output::print_json(&documents)?;
    } else {
        let count = rows.len();
        let columns =
            [("key", false), ("kind", false), ("size", true), ("age", true), ("used by", false), ("artifact", false)];
        output::print(&format!("{}\n{count} artifacts, {}\n", tables::table(&columns, rows), readable::bytes(total)))?;
    }
    Ok(Exit::Done)
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

fn verify(args: &StoreArgs) -> Result<Exit, Failure> {
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

fn gc(args: &GcArgs) -> Result<Exit, Failure> {
    let store = open(&args.store)?;
    let reached = users(&store)?.into_keys().collect();
    let rule =
        GcRule { keep: Duration::from_secs(args.keep_days.saturating_mul(24 * 60 * 60)), largest: args.max_size };
    let mut gone: Vec<Candidate> = Vec::new();
    let mut busy = 0;
    for candidate in store.garbage(&reached, rule)? {
        if args.dry_run || store.collect(&candidate)? {
            gone.push(candidate);
        } else {
            busy += 1;
        }
    }
    let bytes: u64 = gone.iter().map(|candidate| candidate.bytes).sum();
    if args.store.json {
        output::print_json(&json!({ "dry_run": args.dry_run, "removed": gone, "bytes": bytes, "in_use": busy }))?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    if !gone.is_empty() {
        let rows = gone.iter().map(|candidate| {
            let what = match candidate.what {
                Garbage::Artifact => "artifact",
                Garbage::Checkpoint => "checkpoint",
                Garbage::Incoming => "incoming",
                Garbage::Damaged => "damaged",
            };
            let (size, age) = (readable::bytes(candidate.bytes), readable::duration(candidate.age));
            vec![candidate.key.short(), what.to_owned(), size, age]
        });
        let columns = [("key", false), ("what", false), ("size", true), ("age", true)];
        text.push_str(&tables::table(&columns, rows));
        text.push('\n');
    }
    let verb = if args.dry_run { "would go" } else { "removed" };
    let size = readable::bytes(bytes);
    text.push_str(&format!("{} {verb}, {size}", gone.len()));
    if busy > 0 {
        text.push_str(&format!("; {busy} in use, left alone"));
    }
    text.push('\n');
    output::print(&text)?;
    Ok(Exit::Done)
}
