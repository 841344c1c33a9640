//! `mtorec cache ls`: what is there, and who came to it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{StoreArgs, find, open, users};
use crate::cli::failure::Failure;
use crate::cli::{Exit, output, tables};
use crate::readable;

pub(super) fn main(args: &StoreArgs) -> Result<Exit, Failure> {
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
