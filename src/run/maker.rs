//! Making one stage's artifact: only if it is not there, by one maker at a time, from verified inputs.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cores::Cores;
use super::sharing::Sharing;
use super::waiting::wait_for_lock;
use super::{Call, Console, Observer};
use crate::plan::{Graph, Node, Reason, Record, Site, reasons, recipe};
use crate::stage::{Context, Inputs, Provision, StageError};
use crate::store::{Artifact, Draft, Finished, Holder, KeyLock, Lookup, Recipe, Store, StoreError};

/// An artifact that a stage came to.
#[derive(Debug, Clone)]
pub struct Made {
    /// The artifact.
    pub artifact: Artifact,
    /// How the stage came to it.
    pub how: How,
}

/// How a stage came to its artifact.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// It was there.
    UpToDate,
    /// Another run made it while this one waited.
    Shared,
    /// It came from the remote.
    Pulled,
    /// The stage ran.
    Ran {
        /// Why.
        reasons: Vec<Reason>,
        /// How long it took.
        took: Duration,
    },
}

/// Which artifact with the right key is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// One whose files have the right sizes and times.
    Stat,
    /// One whose every byte is right.
    Digests,
    /// None: the call forces the stage to run, from its beginning unless `resumed`.
    Nothing {
        /// Whether checkpoints count: they are those of an earlier start of this call.
        resumed: bool,
    },
}

impl Trust {
    /// For a stage that the call forces to run, or not.
    fn of(forced: bool, resumed: bool) -> Self {
        if forced { Self::Nothing { resumed } } else { Self::Stat }
    }

    fn is_forced(self) -> bool {
        matches!(self, Self::Nothing { .. })
    }
}

/// All that making needs, and what has been made so far.
pub struct Maker<'a> {
    pub(super) graph: &'a Graph,
    pub(super) store: &'a Store,
    pub(super) record: &'a Record,
    pub(super) site: Site<'a>,
    pub(super) forced: &'a [bool],
    pub(super) cancelled: &'a AtomicBool,
    pub(super) console: &'a Console,
    observer: &'a dyn Observer,
    sharing: &'a Sharing<'a>,
    made: Mutex<Vec<Option<Made>>>,
}

impl<'a> Maker<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        store: &'a Store,
        record: &'a Record,
        call: &'a Call<'a>,
        console: &'a Console,
        sharing: &'a Sharing<'a>,
    ) -> Self {
        let made = Mutex::new(vec![None; graph.nodes().len()]);
        let Call { site, cancelled, observer, .. } = *call;
        Self { graph, store, record, site, forced: &call.forced, cancelled, console, observer, sharing, made }
    }

    /// What every stage came to.
    pub(super) fn into_made(self) -> Vec<Option<Made>> {
        self.made.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a stage up to date on some of the cores; all stages that it reads must be made.
    pub(super) fn make(&self, stage: usize, cores: &Cores) -> Result<Made, StageError> {
        self.make_trusting(stage, Trust::of(self.forced[stage], false), cores)
    }

    /// As [`Self::make`], after an earlier start of the same call was stopped: a forced stage goes on from its checkpoints.
    pub(super) fn make_on(&self, stage: usize, cores: &Cores) -> Result<Made, StageError> {
        self.make_trusting(stage, Trust::of(self.forced[stage], true), cores)
    }

    /// Takes over the artifact that another process made of a stage, and `how`, if that is known; all stages that it reads
    /// must be made.
    pub(super) fn take_over(&self, stage: usize, how: Option<How>) -> Result<Option<Made>, StageError> {
        match self.store.lookup(self.recipe(stage)?.key())? {
            Lookup::Intact(artifact) => Ok(Some(self.publish(stage, artifact, how.unwrap_or(How::UpToDate)))),
            Lookup::Absent | Lookup::Damaged(_) => Ok(None),
        }
    }

    /// Tells everybody who wants to know what came of a stage.
    pub(super) fn tell(&self, stage: usize, result: Result<Made, StageError>) -> Result<(), StageError> {
        let name = self.name(stage);
        match &result {
            Ok(made) => self.observer.made(name, made),
            Err(StageError::Interrupted) => self.console.say(name, "interrupted"),
            Err(_) => {
                self.console.say(name, "failed");
                self.observer.failed(name);
            }
        }
        result.map(drop)
    }

    /// A stage's artifact, if it need not be made; `None` too where that cannot be told, as what the stage reads is not there.
    pub(super) fn obtain(&self, stage: usize) -> Result<Option<Made>, StageError> {
        let lacking = !self.node(stage).work.lacking(self.site.root).is_empty();
        if lacking || self.recipe(stage).is_err() { Ok(None) } else { self.find_trusting(stage, Trust::Stat) }
    }

    fn make_trusting(&self, stage: usize, trust: Trust, cores: &Cores) -> Result<Made, StageError> {
        self.provide(stage)?;
        if let Some(made) = self.find_trusting(stage, trust)? {
            return Ok(made);
        }
        self.verify_inputs(stage, cores)?;
        // Verifying may have remade an input with another content.
        let recipe = self.recipe(stage)?;
        tracing::debug!(stage = self.name(stage), key = %recipe.key(), ?recipe, "out of date");
        let (lock, waited) = self.wait_for_lock(stage, &recipe)?;
        let found = self.look(&recipe, trust)?;
        let why = reasons(&recipe, &found, self.last(stage), trust.is_forced(), self.store);
        match found {
            Lookup::Intact(artifact) if !trust.is_forced() => {
                let how = if waited { How::Shared } else { How::UpToDate };
                return Ok(self.publish(stage, artifact, how));
            }
            Lookup::Damaged(what) => {
                self.console.warn(
                    self.name(stage),
                    &format!("its artifact is damaged ({what}); it is set aside and made again"),
                );
                self.store.set_aside(&lock)?;
            }
            Lookup::Intact(_) | Lookup::Absent => {}
        }
        self.run(stage, recipe, &lock, why, trust, cores)
    }

    /// The stage's artifact where it need not be made: it is there, or comes from the remote. The files that the stage reads
    /// must be there, and all stages that it reads be made.
    pub(super) fn find(&self, stage: usize) -> Result<Option<Made>, StageError> {
        self.find_trusting(stage, Trust::of(self.forced[stage], false))
    }

    fn find_trusting(&self, stage: usize, trust: Trust) -> Result<Option<Made>, StageError> {
        if trust.is_forced() {
            return Ok(None);
        }
        let recipe = self.recipe(stage)?;
        if trust == Trust::Stat
            && let Lookup::Intact(artifact) = self.store.lookup(recipe.key())?
        {
            return Ok(Some(self.publish(stage, artifact, How::UpToDate)));
        }
        if !self.sharing.is_on() {
            return Ok(None);
        }
        // Nothing is verified yet, so the lock is let go again where the remote has nothing: see `verify_inputs`.
        let (lock, waited) = self.wait_for_lock(stage, &recipe)?;
        let found = self.look(&recipe, trust)?;
        if let Lookup::Intact(artifact) = found {
            let how = if waited { How::Shared } else { How::UpToDate };
            return Ok(Some(self.publish(stage, artifact, how)));
        }
        let Some(artifact) = self.sharing.pull(self.name(stage), self.store, &lock)? else { return Ok(None) };
        if let Lookup::Damaged(what) = found {
            let text = format!("its artifact was damaged ({what}); the remote's takes its place");
            self.console.warn(self.name(stage), &text);
        }
        self.forget_unfinished(&lock);
        self.console.say(self.name(stage), &format!("from the remote{}", after_colon(&artifact)));
        Ok(Some(self.publish(stage, artifact, How::Pulled)))
    }

    /// What is in the store under the lock of a recipe's key.
    fn look(&self, recipe: &Recipe, trust: Trust) -> Result<Lookup, StoreError> {
        let found = self.store.lookup(recipe.key())?;
        if trust == Trust::Digests
            && let Lookup::Intact(artifact) = &found
            && let Err(StoreError::Damaged { what, .. }) = artifact.verify()
        {
            return Ok(Lookup::Damaged(what));
        }
        Ok(found)
    }

    /// Fetches the files that the stage reads and that are not there: its key depends on what they hold.
    pub(super) fn provide(&self, stage: usize) -> Result<(), StageError> {
        let node = self.node(stage);
        let lacking = node.work.lacking(self.site.root);
        if lacking.is_empty() {
            return Ok(());
        }
        if self.site.offline {
            return Err(StageError::offline(&lacking));
        }
        let progress = self.console.stage(&node.name);
        node.work.provide(&Provision { root: self.site.root, progress: &progress, cancelled: self.cancelled })
    }

    /// Reads every byte of the stage's inputs; a damaged one is remade first. This runs before the stage's own lock is
    /// taken, so locks are only ever waited for with none held.
    fn verify_inputs(&self, stage: usize, cores: &Cores) -> Result<(), StageError> {
        for source in self.graph.sources(stage) {
            match self.artifact(source)?.verify() {
                Ok(()) => {}
                Err(StoreError::Damaged { .. }) => {
                    self.make_trusting(source, Trust::Digests, cores).inspect_err(|_| {
                        self.console.say(self.name(source), "could not be made again");
                    })?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until nobody else makes the same artifact; tells what it waits for, and whether it had to.
    fn wait_for_lock(&self, stage: usize, recipe: &Recipe) -> Result<(KeyLock, bool), StageError> {
        let what = format!("{}/{}", self.graph.pipeline, self.name(stage));
        let say = |holder: Option<Holder>| {
            let holder = holder.map_or_else(
                || "another process".to_owned(),
                |holder| format!("{holder}, which makes it as `{}`", holder.what),
            );
            self.console.say(self.name(stage), &format!("waits for {holder}"));
        };
        wait_for_lock(self.store, recipe.key(), &what, self.cancelled, say)?.ok_or(StageError::Interrupted)
    }

    fn run(
        &self,
        stage: usize,
        recipe: Recipe,
        lock: &KeyLock,
        reasons: Vec<Reason>,
        trust: Trust,
        cores: &Cores,
    ) -> Result<Made, StageError> {
        let node = self.node(stage);
        let listed: Vec<String> = reasons.iter().map(Reason::to_string).collect();
        self.console.say(&node.name, &format!("runs ({})", listed.join(", ")));
        let inputs = self.inputs(stage)?;
        let scratch = self.store.open_scratch(lock, trust == Trust::Nothing { resumed: false })?;
        let draft = Draft::new(self.store, lock)?;
        let start = Instant::now();
        let outcome = {
            let progress = self.console.stage(&node.name);
            let cx = self.context(&progress, &scratch);
            let inputs = Inputs(inputs.iter().map(|(field, artifact)| (*field, artifact)).collect());
            cores.run(|| node.work.run(&cx, &inputs, &draft))??
        };
        if self.recipe(stage)? != recipe {
            return Err(StageError::failed("a file that this stage reads changed while it ran")
                .hint("run again once the file is complete"));
        }
        let took = start.elapsed();
        let simulated = outcome.simulated || inputs.iter().any(|(_, artifact)| artifact.manifest().simulated);
        let finished = Finished { recipe, simulated, summary: outcome.summary, took };
        let artifact = draft.commit(lock, finished)?;
        self.forget_unfinished(lock);
        self.sharing.push(stage, &node.name, &artifact);
        let made = self.publish(stage, artifact, How::Ran { reasons, took });
        self.say_done(stage);
        Ok(made)
    }

    /// Removes what a finished stage could have gone on from.
    fn forget_unfinished(&self, lock: &KeyLock) {
        if let Err(error) = self.store.remove_scratch(lock) {
            tracing::warn!(%error, "checkpoints of a finished stage stay");
        }
    }

    /// Says that a stage ran, and what came of it.
    pub(super) fn say_done(&self, stage: usize) {
        if let Some(Made { artifact, how: How::Ran { took, .. } }) = &self.made()[stage] {
            let text = format!("done in {:.1} s{}", took.as_secs_f64(), after_colon(artifact));
            self.console.say(self.name(stage), &text);
        }
    }

    fn context<'b>(&'b self, progress: &'b super::console::StageProgress<'b>, scratch: &'b Path) -> Context<'b> {
        let Site { root, device, digests, .. } = self.site;
        Context { root, device, progress, cancelled: self.cancelled, digests, scratch }
    }

    fn recipe(&self, stage: usize) -> Result<Recipe, StageError> {
        let contents = self.inputs(stage)?.into_iter().map(|(field, artifact)| (field, artifact.digest()));
        recipe(self.node(stage).work.as_ref(), contents, self.site)
    }

    fn inputs(&self, stage: usize) -> Result<Vec<(&'a str, Artifact)>, StageError> {
        self.node(stage).inputs.iter().map(|(field, source)| Ok((field.as_ref(), self.artifact(*source)?))).collect()
    }

    fn artifact(&self, stage: usize) -> Result<Artifact, StageError> {
        let made = self.made()[stage].as_ref().map(|made| made.artifact.clone());
        made.ok_or_else(|| StageError::failed(format!("`{}` is not made yet", self.name(stage))))
    }

    /// Whether a stage has its artifact.
    pub(super) fn is_made(&self, stage: usize) -> bool {
        self.made()[stage].is_some()
    }

    fn publish(&self, stage: usize, artifact: Artifact, how: How) -> Made {
        let made = Made { artifact, how };
        self.made()[stage] = Some(made.clone());
        made
    }

    fn made(&self) -> MutexGuard<'_, Vec<Option<Made>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self, stage: usize) -> Option<&crate::plan::StageRecord> {
        self.record.stages.get(self.name(stage))
    }

    fn node(&self, stage: usize) -> &'a Node {
        &self.graph.nodes()[stage]
    }

    fn name(&self, stage: usize) -> &'a str {
        &self.node(stage).name
    }
}

fn after_colon(artifact: &Artifact) -> String {
    match artifact.manifest().summary.as_str() {
        "" => String::new(),
        summary => format!(": {summary}"),
    }
}
