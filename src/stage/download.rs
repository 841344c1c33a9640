//! `Download`: finds a data set where the user put it, fetches or simulates one, and records which.

mod fetching;

use std::path::Path;

use super::{Context, Execute, External, Inputs, Lacking, Outcome, Provision, StageError};
use crate::data::{Advance, DataError, Dataset, EncodedDataset, FoundFile, Simulated, Source, SourceFile};
use crate::spec::{Download, WhenMissing};
use crate::store::{Draft, FileDigests};

/// Where the rows come from.
enum Log {
    /// The user's files.
    Real(Vec<FoundFile>),
    /// A simulation; with it, why not the files that were asked for.
    Simulated(Simulated, Option<DataError>),
}

impl Download {
    fn find(&self, root: &Path) -> Result<Log, DataError> {
        if let Dataset::Simulated(simulated) = self.dataset {
            return Ok(Log::Simulated(simulated, None));
        }
        match (self.dataset.locate(root, self.path.as_deref().map(Path::new)), &self.when_missing) {
            (Ok(files), _) => Ok(Log::Real(files)),
            // Only when nothing is there: half a data set is a mistake to correct, not one to paper over.
            (Err(missing @ DataError::NotThere { .. }), WhenMissing::Simulate { rows, seed }) => match &self.dataset {
                Dataset::AliExpress(log) => Ok(Log::Simulated(log.simulation(*rows, *seed), Some(missing))),
                other => Err(DataError::Request {
                    message: format!("{missing}, and no simulation is like `{}`", other.name()),
                    remedy: missing.hint().unwrap_or_default(),
                }),
            },
            (Err(error), _) => Err(error),
        }
    }
}

impl Execute for Download {
    const REVISION: u32 = 1;

    fn lacking(&self, root: &Path) -> Vec<Lacking> {
        fetching::lacking(self, root)
    }

    fn provide(&self, provision: &Provision) -> Result<(), StageError> {
        fetching::fetch(self, provision)
    }

    fn externals(&self, root: &Path, digests: &FileDigests) -> Result<Vec<External>, StageError> {
        let Log::Real(files) = self.find(root)? else { return Ok(Vec::new()) };
        let external = |FoundFile { role, path }| {
            let path = root.join(path);
            match digests.digest(&path) {
                Ok(digest) => Ok(External { role: role.name().to_owned(), path, digest }),
                Err(source) => Err(StageError::Io { action: "cannot read", path, source }),
            }
        };
        files.into_iter().map(external).collect()
    }

    fn run(&self, cx: &Context, _inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        let (source, summary) = match self.find(cx.root)? {
            Log::Real(files) => {
                let mut examined: Vec<SourceFile> = Vec::new();
                for file in files {
                    cx.check_interrupt()?;
                    examined.push(file.examine(cx.root, cx.digests)?);
                }
                fetching::hold(self, cx, &examined)?;
                let summary = examined.iter().map(describe).collect::<Vec<_>>().join(", ");
                (Source { dataset: self.dataset.clone(), simulated: None, files: examined }, summary)
            }
            Log::Simulated(simulated, missing) => {
                if let Some(missing) = missing {
                    cx.progress.warn(&format!(
                        "{missing}; going on with a SIMULATED log of {} rows (seed {}), and whatever is made from it \
                         is marked simulated",
                        simulated.rows, simulated.seed
                    ));
                }
                let summary = simulate(&simulated, cx, out)?;
                (Source { dataset: self.dataset.clone(), simulated: Some(simulated), files: Vec::new() }, summary)
            }
        };
        out.write(Source::FILE, source.to_json()?.as_bytes())?;
        Ok(Outcome { simulated: source.simulated.is_some(), summary })
    }
}

/// Writes the raw log: `schema.json`, `train.safetensors` and `test.safetensors`.
fn simulate(simulated: &Simulated, cx: &Context, out: &Draft) -> Result<String, StageError> {
    cx.check_interrupt()?;
    let log = simulated.simulate()?;
    let mut watch = |_: Advance| cx.check_interrupt().map_err(|_| DataError::Interrupted);
    out.write(EncodedDataset::SCHEMA, log.schema.to_json().as_bytes())?;
    log.train.write(&out.path(EncodedDataset::TRAIN), &mut watch)?;
    log.test.write(&out.path(EncodedDataset::TEST), &mut watch)?;
    Ok(format!("{} train, {} test rows", log.train.len(), log.test.len()))
}

/// `data/census/census-income.test.gz (3.3 MB)`.
fn describe(file: &SourceFile) -> String {
    format!("{} ({:.1} MB)", file.path.display(), file.bytes as f64 / 1e6)
}

impl From<DataError> for StageError {
    fn from(error: DataError) -> Self {
        let hint = error.hint();
        match error {
            DataError::Interrupted => Self::Interrupted,
            DataError::Io { action, path, source } => Self::Io { action, path, source },
            DataError::Store(error) => Self::Store(error),
            other => Self::Failed { message: other.to_string(), hint },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::{AliExpress, CensusIncome, Country, Like};

    fn download(dataset: impl Into<Dataset>, when_missing: WhenMissing) -> Download {
        Download {
            dataset: dataset.into(),
            path: Some("logs".into()),
            when_missing,
            fetch: Vec::new(),
            resources: Default::default(),
        }
    }

    const SIMULATE: WhenMissing = WhenMissing::Simulate { rows: 1000, seed: 3 };

    fn refused(download: &Download, root: &Path) -> (String, Option<String>) {
        match StageError::from(download.find(root).err().expect("nothing to find")) {
            StageError::Failed { message, hint } => (message, hint),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_a_log_that_is_wholly_missing_is_simulated() {
        let root = tempfile::tempdir().unwrap();
        let logs = root.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let simulating = download(AliExpress { country: Country::FR }, SIMULATE);
        let Ok(Log::Simulated(simulated, Some(_))) = simulating.find(root.path()) else { panic!("simulated") };
        assert_eq!(simulated, Simulated { like: Like::AliExpress, country: Country::FR, rows: 1000, seed: 3 });

        fs::write(logs.join("train.csv"), "x").unwrap();
        let (message, hint) = refused(&simulating, root.path());
        assert_eq!(message, "AliExpress FR is incomplete: `train.csv` is in `logs`, `test.csv` is not");
        assert!(hint.unwrap().contains("aliexpress_FR_datasets.zip"));

        fs::write(logs.join("test.csv"), "x").unwrap();
        let Ok(Log::Real(files)) = simulating.find(root.path()) else { panic!("real") };
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn missing_files_stop_the_stage_unless_told_otherwise() {
        let root = tempfile::tempdir().unwrap();
        let (message, hint) = refused(&download(AliExpress::default(), WhenMissing::Fail), root.path());
        assert_eq!(message, "AliExpress ES is not there: no `train.csv` and `test.csv` in `logs`");
        assert!(hint.unwrap().contains("when_missing: Simulate("));
    }

    #[test]
    fn what_has_no_simulation_is_not_simulated() {
        let root = tempfile::tempdir().unwrap();
        let (message, hint) = refused(&download(CensusIncome::default(), SIMULATE), root.path());
        assert_eq!(
            message,
            "Census-Income is not there: no `census-income.data` and `census-income.test` in `logs`, \
             and no simulation is like `CensusIncome`"
        );
        assert!(hint.unwrap().contains("archive.ics.uci.edu"));
    }

    #[test]
    fn a_simulated_data_set_needs_no_files() {
        let wanted = Simulated { rows: 500, ..Simulated::default() };
        let found = download(wanted, WhenMissing::Fail).find(Path::new("nowhere"));
        assert!(matches!(found, Ok(Log::Simulated(simulated, None)) if simulated == wanted));
    }
}
