//! Which stages are out of date, and why.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Graph, Record, Site, StageRecord, recipe};
use crate::stage::StageError;
use crate::store::{Artifact, Change, Digest, Lookup, Manifest, Recipe, Store, StoreError};

/// What a run would do.
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its stages in topological order, those that a run would leave out included.
    pub stages: Vec<PlannedStage>,
}

/// What a run would do with one stage.
pub struct PlannedStage {
    /// The stage's name.
    pub name: String,
    /// The stage's kind.
    pub kind: &'static str,
    /// The stages it reads.
    pub reads: Vec<String>,
    /// What would become of it.
    pub verdict: Verdict,
}

/// What would become of a stage.
#[derive(Debug)]
pub enum Verdict {
    /// Its artifact is there and intact.
    UpToDate(Artifact),
    /// Its artifact would come from elsewhere.
    Pulled(Box<Manifest>),
    /// It would run, for at least one reason.
    Run(Vec<Reason>),
    /// Stages before it would run first. It runs for its own reasons, if there are any; otherwise only if one of them
    /// comes to another content.
    After {
        /// The stages before it that would run.
        stages: Vec<String>,
        /// Its own reasons.
        own: Vec<Reason>,
    },
    /// It could not run now.
    Impossible(StageError),
    /// A stage before it could not run now.
    Blocked {
        /// That stage.
        by: String,
    },
    /// The call leaves it out.
    LeftOut,
}

/// Why a stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No run of this pipeline came to this stage yet.
    NeverRun,
    /// A part of its recipe changed since the last run.
    Changed(Change),
    /// Its artifact was not intact.
    Damaged(String),
    /// Its artifact is gone.
    Missing,
    /// The call says so.
    Forced,
    /// This file is not there and is fetched first.
    Fetches(String),
    /// An earlier run of it was stopped and left checkpoints.
    Unfinished,
    /// In the words of the process that ran it.
    Told(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Reason::NeverRun => f.write_str("never run"),
            Reason::Changed(change) => change.fmt(f),
            Reason::Damaged(what) => write!(f, "artifact damaged: {what}"),
            Reason::Missing => f.write_str("artifact missing"),
            Reason::Forced => f.write_str("forced"),
            Reason::Fetches(file) => write!(f, "fetches `{file}`"),
            Reason::Unfinished => f.write_str("goes on from a checkpoint"),
            Reason::Told(words) => f.write_str(words),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a stage with this recipe runs, given what a lookup of its artifact found (never an intact one, unless `forced`).
pub fn reasons(
    recipe: &Recipe,
    found: &Lookup,
    last: Option<&StageRecord>,
    forced: bool,
    store: &Store,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if forced {
        reasons.push(Reason::Forced);
    }
    if let Lookup::Damaged(what) = found {
        reasons.push(Reason::Damaged(what.clone()));
    }
    let changes = own_changes(recipe, last);
    let absent = matches!(found, Lookup::Absent);
    match last {
        None if absent => reasons.push(Reason::NeverRun),
        Some(_) if absent && changes.is_empty() => reasons.push(Reason::Missing),
        _ => reasons.extend(changes),
    }
    if absent && !forced && store.has_scratch(recipe.key()) {
        reasons.push(Reason::Unfinished);
    }
    reasons
}

fn own_changes(recipe: &Recipe, last: Option<&StageRecord>) -> Vec<Reason> {
    last.map_or_else(Vec::new, |last| recipe.changes_since(&last.recipe).into_iter().map(Reason::Changed).collect())
}

/// What another store than the project's own knows of the artifact with a key.
pub type Elsewhere<'a> = &'a dyn Fn(Digest) -> Option<Manifest>;

/// Finds out what a run would do, without running anything. `forced` and `selected` say of each stage whether the call
/// forces it and whether it takes part; `elsewhere` is asked for what the store does not have.
///
/// # Errors
/// When the store cannot be read. Missing files outside the store are a stage's [`Verdict::Impossible`].
pub fn plan(
    graph: &Graph,
    store: &Store,
    record: &Record,
    site: Site,
    forced: &[bool],
    selected: &[bool],
    elsewhere: Elsewhere,
) -> Result<Plan, StoreError> {
    let mut stages: Vec<PlannedStage> = Vec::with_capacity(graph.nodes().len());
    for (at, node) in graph.nodes().iter().enumerate() {
        let verdict = if selected[at] {
            let last = record.stages.get(&node.name);
            judge(graph, at, &stages, (store, elsewhere), last, site, forced[at])?
        } else {
            Verdict::LeftOut
        };
        let reads = graph.sources(at).into_iter().map(|input| graph.nodes()[input].name.clone()).collect();
        stages.push(PlannedStage { name: node.name.clone(), kind: node.work.kind(), reads, verdict });
    }
    Ok(Plan { pipeline: graph.pipeline.clone(), stages })
}

impl Plan {
    /// The stages that did not come to what the pipeline now asks for: they never ran, or by another recipe, or read what
    /// such a stage made. One whose artifact is only gone, or that cannot be planned for now, is none of them.
    pub fn differing(&self, record: &Record) -> Vec<&str> {
        let mut differing: Vec<&str> = Vec::new();
        for stage in &self.stages {
            let last = record.stages.get(&stage.name);
            let changed = |reasons: &[Reason]| reasons.iter().any(|reason| matches!(reason, Reason::Changed(_)));
            let of_differing = || stage.reads.iter().any(|source| differing.contains(&source.as_str()));
            let differs = match &stage.verdict {
                Verdict::UpToDate(artifact) => last.is_some_and(|last| last.key != artifact.manifest().key),
                Verdict::Pulled(manifest) => last.is_none_or(|last| last.key != manifest.key),
                Verdict::Run(_) | Verdict::After { .. } if last.is_none() => true,
                Verdict::Run(reasons) => changed(reasons),
                Verdict::After { own, .. } => changed(own) || of_differing(),
                Verdict::Impossible(_) | Verdict::Blocked { .. } | Verdict::LeftOut => of_differing(),
            };
            if differs {
                differing.push(&stage.name);
            }
        }
        differing
    }
}

/// The verdict on a stage, given those on all before it.
fn judge(
    graph: &Graph,
    at: usize,
    before: &[PlannedStage],
    (store, elsewhere): (&Store, Elsewhere),
    last: Option<&StageRecord>,
    site: Site,
    forced: bool,
) -> Result<Verdict, StoreError> {
    let node = &graph.nodes()[at];
    let mut inputs: Vec<(&str, Digest)> = Vec::new();
    let mut running = Vec::new();
    for (field, input) in &node.inputs {
        let source = &before[*input];
        match &source.verdict {
            Verdict::UpToDate(artifact) => inputs.push((field, artifact.digest())),
            Verdict::Pulled(manifest) => inputs.push((field, manifest.content)),
            Verdict::Run(_) | Verdict::After { .. } => {
                if !running.contains(&source.name) {
                    running.push(source.name.clone());
                }
                // What it was last time, so that only the stage's own changes show.
                let previous = last.and_then(|last| last.recipe.inputs.get(field.as_ref()));
                inputs.extend(previous.map(|content| (field.as_ref(), *content)));
            }
            Verdict::Impossible(_) => return Ok(Verdict::Blocked { by: source.name.clone() }),
            Verdict::Blocked { by } => return Ok(Verdict::Blocked { by: by.clone() }),
            Verdict::LeftOut => return Ok(Verdict::LeftOut),
        }
    }
    let lacking = node.work.lacking(site.root);
    if !lacking.is_empty() {
        // What the files will hold is part of the key: it is not known before they are there.
        return Ok(if site.offline {
            Verdict::Impossible(StageError::offline(&lacking))
        } else {
            let fetches = lacking.into_iter().map(|file| Reason::Fetches(file.path.display().to_string()));
            Verdict::Run(forced.then_some(Reason::Forced).into_iter().chain(fetches).collect())
        });
    }
    let recipe = match recipe(node.work.as_ref(), inputs, site) {
        Ok(recipe) => recipe,
        Err(error) => return Ok(Verdict::Impossible(error)),
    };
    if !running.is_empty() {
        let own = match last {
            _ if forced => vec![Reason::Forced],
            None => vec![Reason::NeverRun],
            Some(_) => own_changes(&recipe, last),
        };
        return Ok(Verdict::After { stages: running, own });
    }
    Ok(match store.lookup(recipe.key())? {
        Lookup::Intact(artifact) if !forced => Verdict::UpToDate(artifact),
        found => match Some(recipe.key()).filter(|_| !forced).and_then(elsewhere) {
            Some(manifest) => Verdict::Pulled(Box::new(manifest)),
            None => Verdict::Run(reasons(&recipe, &found, last, forced, store)),
        },
    })
}

impl Verdict {
    /// One word for it, the same in every format.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::UpToDate(_) => "up-to-date",
            Verdict::Pulled(_) => "pull",
            Verdict::Run(_) => "run",
            Verdict::After { own, .. } if own.is_empty() => "depends",
            Verdict::After { .. } => "run",
            Verdict::Impossible(_) => "impossible",
            Verdict::Blocked { .. } => "blocked",
            Verdict::LeftOut => "left-out",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Verdict::UpToDate(_) => f.write_str("up to date"),
            Verdict::Pulled(_) => f.write_str("will come from the remote"),
            Verdict::Run(reasons) => write!(f, "will run: {}", listed(reasons)),
            Verdict::After { stages, own } if own.is_empty() => {
                write!(f, "will run if {} {}", quoted(stages), if stages.len() == 1 { "changes" } else { "change" })
            }
            Verdict::After { stages, own } => write!(f, "will run after {}: {}", quoted(stages), listed(own)),
            Verdict::Impossible(error) => write!(f, "cannot run: {error}"),
            Verdict::Blocked { by } => write!(f, "cannot run without `{by}`"),
            Verdict::LeftOut => f.write_str("left out"),
        }
    }
}

/// The first few reasons; all of them are in the JSON.
fn listed(reasons: &[Reason]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = reasons.iter().take(SHOWN).map(Reason::to_string).collect();
    match reasons.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
