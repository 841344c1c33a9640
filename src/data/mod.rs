//! Logs: where they come from, how they are encoded, how a trained-on data set lies on disk and is read back.
//!
//! A source ([`Dataset`]) is located and read into raw rows; the training rows decide vocabularies and statistics; the
//! encoded rows of each split become one memory-mapped file ([`Rows`]) beside a [`Schema`] and the record of the
//! encoding ([`Encoding`]). Batches are gathered from there.

mod aliexpress;
mod batches;
mod census;
mod csv_log;
mod dataset;
mod delimited;
mod describe;
mod draw;
mod encoding;
mod error;
#[cfg(test)]
mod fixtures;
mod further;
mod log;
mod missing;
mod rows;
mod schema;
mod simulated;
mod source;
mod split;
mod spool;
mod time;

use std::path::{Path, PathBuf};

pub use aliexpress::{AliExpress, Country};
pub use batches::{RawBatch, batches, epoch_order, halves};
pub use census::CensusIncome;
pub use csv_log::{Csv, Transform};
pub use dataset::EncodedDataset;
pub use describe::{
    ColumnDescription, Description, FieldDescription, Figures, Groups, Share, SplitDescription, TaskDescription,
};
pub use encoding::{Encoding, FieldEncoding, Scaling};
pub use error::{DataError, RowProblem};
pub use further::LogReader;
pub use missing::MissingNumbers;
pub use rows::{Parts, Rows};
pub use schema::{Field, Schema};
pub use simulated::{Like, Simulated, SimulatedLog};
pub use source::{FoundFile, Role, Source, SourceFile};

pub(crate) use delimited::{Header, Layout, Reading, Row, each_row};
pub(crate) use encoding::Encoder;
pub(crate) use further::{FurtherColumns, PublishedRows};
#[cfg(test)]
pub(crate) use log::Categories;
pub(crate) use log::RawLog;
pub(crate) use split::{Part, Split, check as check_split, split};
pub(crate) use spool::Chunk;
pub(crate) use time::Time;

crate::registry! {
    /// The data sets a pipeline can name.
    pub enum Dataset {
        AliExpress(AliExpress),
        CensusIncome(CensusIncome),
        Csv(Csv),
        Simulated(Simulated),
    }
}

/// How far reading or writing a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Advance {
    /// Bytes of the files on disk that are done.
    pub bytes: u64,
    /// Rows that are done.
    pub rows: u64,
}

impl Dataset {
    /// The folder that holds the files of a real data set unless a pipeline names another, relative to the project's.
    pub fn folder(&self) -> PathBuf {
        match self {
            Self::AliExpress(log) => PathBuf::from("data/aliexpress").join(log.country.code()),
            Self::CensusIncome(_) => PathBuf::from("data/census"),
            Self::Csv(_) | Self::Simulated(_) => PathBuf::new(),
        }
    }

    /// The names that a real data set's files may have, training rows first; each may also lie there with `.gz` behind its
    /// name.
    pub fn files(&self) -> Vec<String> {
        match self {
            Self::AliExpress(log) => log.files(),
            Self::CensusIncome(_) => {
                let files = CensusIncome::FILES.iter().map(|(_, name)| *name);
                files.chain([CensusIncome::ARCHIVE]).map(str::to_owned).collect()
            }
            Self::Csv(log) => std::iter::once(&log.train).chain(&log.test).cloned().collect(),
            Self::Simulated(_) => Vec::new(),
        }
    }

    /// The files of a real data set, training rows first; none for a simulated one.
    ///
    /// `folder` is where to look, absolute or relative to the project's `root`; [`Dataset::folder`] by default.
    ///
    /// # Errors
    /// [`DataError::NotThere`] when no file is there, [`DataError::Incomplete`] when one of several is missing.
    pub fn locate(&self, root: &Path, folder: Option<&Path>) -> Result<Vec<FoundFile>, DataError> {
        let folder = folder.map_or_else(|| self.folder(), Path::to_path_buf);
        match self {
            Self::AliExpress(log) => log.locate(root, &folder),
            Self::CensusIncome(log) => log.locate(root, &folder),
            Self::Csv(log) => log.locate(root, Some(&folder)),
            Self::Simulated(_) => Ok(Vec::new()),
        }
    }

    /// Reads the files of a real data set.
    ///
    /// # Errors
    /// At the first thing wrong with them; see [`DataError`].
    pub(crate) fn read(&self, files: &[SourceFile], reading: &mut Reading) -> Result<RawLog, DataError> {
        match self {
            Self::AliExpress(log) => log.read(files, reading),
            Self::CensusIncome(log) => log.read(files, reading),
            Self::Csv(log) => log.read(files, reading),
            Self::Simulated(log) => Err(DataError::request(
                format!("the simulated log of {} rows has no files to read", log.rows),
                "remove the artifact of the Download stage; it is then made anew",
            )),
        }
    }
}
