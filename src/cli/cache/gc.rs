//! `mtorec cache gc`: what may go, here or in a remote.

use std::time::Duration;

use serde_json::json;

use super::{StoreArgs, open, root, users};
use crate::cli::failure::Failure;
use crate::cli::remote::{PatienceArg, RemoteArg};
use crate::cli::{Exit, interrupt, output, tables};
use crate::readable;
use crate::remote::{Collected, RemoteRule};
use crate::run::Transfer;
use crate::run::slurm::Submission;
use crate::store::{Candidate, Garbage, GcRule, Store};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Keep what was written in the last so many days, though no pipeline reaches it.
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    keep_days: u64,
    /// Remove even younger ones, the oldest first, until the store is no larger: `500MB`, `20GB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Collect in this remote instead: artifacts older than `--keep-days` that no pipeline's last run here came to, and files
    /// that no artifact there names any more. The variable `MTOREC_REMOTE` is not enough.
    #[arg(long = "remote", value_name = "URL")]
    remote: Option<String>,
    #[command(flatten)]
    patience: PatienceArg,
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

pub(super) fn main(args: &Args, verbose: bool) -> Result<Exit, Failure> {
    match &args.remote {
        Some(address) => there(args, RemoteArg::of(address, args.patience), verbose),
        None => here(args),
    }
}

impl Args {
    fn keep(&self) -> Duration {
        Duration::from_secs(self.keep_days.saturating_mul(24 * 60 * 60))
    }
}

fn here(args: &Args) -> Result<Exit, Failure> {
    let store = open(&args.store)?;
    let reached = users(&store)?.into_keys().collect();
    let rule = GcRule { keep: args.keep(), largest: args.max_size };
    let mut gone: Vec<Candidate> = Vec::new();
    let (mut busy, mut awaited) = (0, 0);
    // what jobs made that are under way is in no record yet, and other jobs of theirs will read it
    let oldest = Submission::unfinished(&store)?.into_iter().filter_map(|found| Some((found.age()?, found.id))).max();
    let under_way = oldest.as_ref().map_or(Duration::ZERO, |(age, _)| *age + Duration::from_secs(60));
    for candidate in store.garbage(&reached, rule)? {
        if candidate.age < under_way {
            awaited += 1;
        } else if args.dry_run || store.collect(&candidate)? {
            gone.push(candidate);
        } else {
            busy += 1;
        }
    }
    let bytes: u64 = gone.iter().map(|candidate| candidate.bytes).sum();
    if args.store.json {
        output::print_json(&json!({
            "dry_run": args.dry_run, "removed": gone, "bytes": bytes, "in_use": busy, "awaited": awaited,
        }))?;
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
    if let (1.., Some((_, id))) = (awaited, oldest) {
        text.push_str(&format!(
            "; {awaited} written since submission {id}, which `mtorec attach` brings to its end, stay"
        ));
    }
    text.push('\n');
    output::print(&text)?;
    Ok(Exit::Done)
}

fn there(args: &Args, remote: RemoteArg, verbose: bool) -> Result<Exit, Failure> {
    let remote = remote.open_needed()?;
    // a machine that only cleans up has no store
    let reached = users(&Store::open(&root(&args.store.root)?)?)?.into_keys().collect();
    let cancelled = interrupt::listen()?;
    let console = output::console(verbose);
    let rule = RemoteRule { keep: args.keep(), largest: args.max_size, dry_run: args.dry_run };
    let progress = console.stage("gc");
    let Collected { artifacts, files, bytes, young } =
        remote.collect(&reached, rule, &Transfer::of_objects(&progress, cancelled))?;
    drop(progress);
    if args.store.json {
        let removed = artifacts.iter().map(|(key, _)| json!({ "what": Garbage::Artifact, "key": key }));
        let removed: Vec<_> = removed.collect();
        output::print_json(
            &json!({ "dry_run": args.dry_run, "removed": removed, "files": files, "bytes": bytes, "young_files": young }),
        )?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    if !artifacts.is_empty() {
        let rows = artifacts.iter().map(|(key, age)| vec![key.short(), readable::duration(*age)]);
        text.push_str(&tables::table(&[("key", false), ("age", true)], rows));
        text.push('\n');
    }
    let verb = if args.dry_run { "would go" } else { "removed" };
    let (count, size) = (artifacts.len(), readable::bytes(bytes));
    let young = match young {
        0 => String::new(),
        young => format!("; {young} files that no artifact names stay until they are a day old"),
    };
    output::print(&format!("{text}{count} artifacts and {files} files {verb}, {size}{young}\n"))?;
    Ok(Exit::Done)
}
