//! Stages for the tests of the planner and the runner.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Context, External, Inputs, Lacking, Outcome, Provision, StageError, Work};
use crate::store::{Draft, FileDigests};

type Act = dyn Fn(&Context) -> Result<Outcome, StageError> + Send + Sync;

/// A stage that reads others through the fields `in0`, `in1`, … and writes one file, `out`: its parameter `text` and the
/// files `out` that it reads.
#[derive(Clone)]
pub struct Fake {
    pub reads: Vec<String>,
    pub parameters: BTreeMap<String, String>,
    pub revision: u32,
    pub external: Option<PathBuf>,
    /// What `provide` writes where it is not there.
    pub fetched: Option<PathBuf>,
    pub act: Arc<Act>,
}

impl Fake {
    pub fn reading(stages: &[&str]) -> Self {
        Self {
            reads: stages.iter().map(|name| (*name).to_owned()).collect(),
            parameters: BTreeMap::new(),
            revision: 1,
            external: None,
            fetched: None,
            act: Arc::new(|_| Ok(Outcome::default())),
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Does something before it writes its file.
    pub fn acting(mut self, act: impl Fn(&Context) -> Result<Outcome, StageError> + Send + Sync + 'static) -> Self {
        self.act = Arc::new(act);
        self
    }
}

impl Work for Fake {
    fn kind(&self) -> &'static str {
        "Fake"
    }

    fn revision(&self) -> u32 {
        self.revision
    }

    fn depends_on_device(&self) -> bool {
        false
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        self.parameters.clone()
    }

    fn references(&self) -> Vec<(Cow<'static, str>, String)> {
        ["in0", "in1", "in2"].into_iter().map(Cow::from).zip(self.reads.iter().cloned()).collect()
    }

    fn lacking(&self, _root: &Path) -> Vec<Lacking> {
        let missing = self.fetched.iter().filter(|path| !path.exists());
        missing.map(|path| Lacking { path: path.clone(), url: "http://somewhere/".into() }).collect()
    }

    fn provide(&self, _provision: &Provision) -> Result<(), StageError> {
        for Lacking { path, .. } in self.lacking(Path::new("")) {
            fs::write(&path, "fetched").map_err(|error| StageError::failed(error.to_string()))?;
        }
        Ok(())
    }

    fn externals(&self, _root: &Path, digests: &FileDigests) -> Result<Vec<External>, StageError> {
        let Some(path) = self.external.clone() else { return Ok(Vec::new()) };
        match digests.digest(&path) {
            Ok(digest) => Ok(vec![External { role: "train".into(), path, digest }]),
            Err(source) => Err(StageError::Io { action: "cannot read", path, source }),
        }
    }

    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        let outcome = (self.act)(cx)?;
        let mut bytes = self.parameters.get("text").cloned().unwrap_or_default().into_bytes();
        for (_, input) in &inputs.0 {
            bytes.extend(fs::read(input.file("out")?).map_err(|error| StageError::failed(error.to_string()))?);
        }
        out.write("out", &bytes)?;
        Ok(outcome)
    }
}
