//! Rows that wait on the disk: a log larger than memory is read once, and its rows are gone through several times, always in
//! order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use memmap2::Mmap;

use super::{DataError, Parts};
use crate::fault;

/// Rows gone through together: large enough that going through them side by side pays.
const ROWS: usize = 1 << 15;

/// Some rows of a log, one after the other; slices are row-major.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    /// The first row's number.
    pub(crate) first: usize,
    /// How many rows.
    pub(crate) rows: usize,
    /// `[rows, fields]`.
    pub(crate) categorical: &'a [u32],
    /// `[rows, columns]`.
    pub(crate) numerical: &'a [f32],
    /// `[rows, tasks]`.
    pub(crate) labels: &'a [u8],
    /// `[rows]`.
    pub(crate) group: Option<&'a [i64]>,
    /// `[rows, tasks]`.
    pub(crate) probability: Option<&'a [f32]>,
}

/// Fields, columns, tasks.
type Widths = [usize; 3];

impl Chunk<'_> {
    /// Goes through rows in memory.
    pub(super) fn of_parts(
        parts: &Parts,
        [fields, columns, tasks]: Widths,
        first: usize,
        with: &mut impl FnMut(Chunk) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let all = parts.labels.len() / tasks.max(1);
        for start in (0..all).step_by(ROWS) {
            let rows = ROWS.min(all - start);
            with(Chunk {
                first: first + start,
                rows,
                categorical: &parts.categorical[start * fields..][..rows * fields],
                numerical: &parts.numerical[start * columns..][..rows * columns],
                labels: &parts.labels[start * tasks..][..rows * tasks],
                group: parts.group.as_ref().map(|group| &group[start..][..rows]),
                probability: parts.probability.as_ref().map(|values| &values[start * tasks..][..rows * tasks]),
            })?;
        }
        Ok(())
    }
}

/// Rows on the disk, in files without a name: they are gone with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// Bytes of rows that may wait in memory.
    budget: usize,
    widths: Widths,
    rows: usize,
    files: Option<Files>,
}

/// A file for each kind of column.
#[derive(Debug)]
struct Files {
    categorical: File,
    numerical: File,
    labels: File,
    group: Option<File>,
    probability: Option<File>,
}

impl Spool {
    pub(super) fn new(folder: PathBuf, budget: usize, widths: Widths) -> Self {
        Self { folder, budget, widths, rows: 0, files: None }
    }

    /// Rows on the disk.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there are groups and probabilities on the disk.
    pub(super) fn has(&self) -> (bool, bool) {
        self.files.as_ref().map_or((false, false), |files| (files.group.is_some(), files.probability.is_some()))
    }

    /// Takes the rows out of memory once they fill their share of it.
    pub(super) fn take_if_full(&mut self, parts: &mut Parts) -> Result<(), DataError> {
        let bytes = size_of_val(&parts.categorical[..])
            + size_of_val(&parts.numerical[..])
            + parts.labels.len()
            + parts.group.as_ref().map_or(0, |group| size_of_val(&group[..]))
            + parts.probability.as_ref().map_or(0, |values| size_of_val(&values[..]));
        // of no row it is not known yet whether rows have groups
        if bytes < self.budget || parts.labels.is_empty() {
            return Ok(());
        }
        let folder = &self.folder;
        let files = match &mut self.files {
            Some(files) => files,
            None => {
                let file =
                    || fault::at("spool.create", || tempfile::tempfile_in(folder)).map_err(DataError::write(folder));
                self.files.insert(Files {
                    categorical: file()?,
                    numerical: file()?,
                    labels: file()?,
                    group: parts.group.is_some().then(file).transpose()?,
                    probability: parts.probability.is_some().then(file).transpose()?,
                })
            }
        };
        move_into(&mut files.categorical, &mut parts.categorical, folder)?;
        move_into(&mut files.numerical, &mut parts.numerical, folder)?;
        if let (Some(file), Some(values)) = (&mut files.group, &mut parts.group) {
            move_into(file, values, folder)?;
        }
        if let (Some(file), Some(values)) = (&mut files.probability, &mut parts.probability) {
            move_into(file, values, folder)?;
        }
        self.rows += parts.labels.len() / self.widths[2].max(1);
        move_into(&mut files.labels, &mut parts.labels, folder)
    }

    /// All rows, those still in memory after the others.
    pub(super) fn into_table(mut self, parts: &mut Parts) -> Result<Table, DataError> {
        if !parts.labels.is_empty() {
            self.budget = 0;
            self.take_if_full(parts)?;
        }
        let folder = &self.folder;
        let Some(files) = &self.files else {
            return Err(DataError::unsound(folder, "there are no rows on the disk"));
        };
        // SAFETY: the files have no name, so nobody else can reach and shorten them, and nothing is written to them any more.
        let map = |file: &File| fault::at("spool.map", || unsafe { Mmap::map(file) }).map_err(DataError::read(folder));
        Ok(Table::Mapped(Box::new(Mapped {
            rows: self.rows,
            categorical: map(&files.categorical)?,
            numerical: map(&files.numerical)?,
            labels: map(&files.labels)?,
            group: files.group.as_ref().map(map).transpose()?,
            probability: files.probability.as_ref().map(map).transpose()?,
        })))
    }

    /// Goes through the rows on the disk.
    pub(super) fn chunks(&self, with: &mut impl FnMut(Chunk) -> Result<(), DataError>) -> Result<(), DataError> {
        let Some(files) = &self.files else { return Ok(()) };
        let [fields, columns, tasks] = self.widths;
        let back = |mut file: &File| {
            fault::at("spool.rewind", || file.seek(SeekFrom::Start(0))).map_err(DataError::read(&self.folder))
        };
        back(&files.categorical)?;
        back(&files.numerical)?;
        back(&files.labels)?;
        files.group.iter().chain(&files.probability).try_for_each(|file| back(file).map(|_| ()))?;
        let (mut categorical, mut numerical, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        let (mut group, mut probability) = (Vec::new(), Vec::new());
        for first in (0..self.rows).step_by(ROWS) {
            let rows = ROWS.min(self.rows - first);
            read(&files.categorical, &mut categorical, rows * fields, &self.folder)?;
            read(&files.numerical, &mut numerical, rows * columns, &self.folder)?;
            read(&files.labels, &mut labels, rows * tasks, &self.folder)?;
            let group = match &files.group {
                Some(file) => Some(read(file, &mut group, rows, &self.folder)?),
                None => None,
            };
            let probability = match &files.probability {
                Some(file) => Some(read(file, &mut probability, rows * tasks, &self.folder)?),
                None => None,
            };
            with(Chunk {
                first,
                rows,
                categorical: &categorical,
                numerical: &numerical,
                labels: &labels,
                group: group.map(|values| &values[..]),
                probability: probability.map(|values| &values[..]),
            })?;
        }
        Ok(())
    }
}

/// All rows of a log, in memory or mapped.
pub(crate) enum Table {
    Owned { parts: Parts, rows: usize },
    Mapped(Box<Mapped>),
}

/// Maps of a spool's files.
pub(crate) struct Mapped {
    rows: usize,
    categorical: Mmap,
    numerical: Mmap,
    labels: Mmap,
    group: Option<Mmap>,
    probability: Option<Mmap>,
}

impl Table {
    pub(super) fn of_parts(parts: Parts, tasks: usize) -> Self {
        let rows = parts.labels.len() / tasks.max(1);
        Self::Owned { parts, rows }
    }

    /// The rows.
    pub(crate) fn view(&self) -> Chunk<'_> {
        match self {
            Self::Owned { parts, rows } => Chunk {
                first: 0,
                rows: *rows,
                categorical: &parts.categorical,
                numerical: &parts.numerical,
                labels: &parts.labels,
                group: parts.group.as_deref(),
                probability: parts.probability.as_deref(),
            },
            Self::Mapped(mapped) => Chunk {
                first: 0,
                rows: mapped.rows,
                categorical: bytemuck::cast_slice(&mapped.categorical),
                numerical: bytemuck::cast_slice(&mapped.numerical),
                labels: &mapped.labels,
                group: mapped.group.as_ref().map(|map| bytemuck::cast_slice(map)),
                probability: mapped.probability.as_ref().map(|map| bytemuck::cast_slice(map)),
            },
        }
    }
}

/// Appends values to a file and leaves none.
fn move_into<T: Pod>(file: &mut File, values: &mut Vec<T>, folder: &Path) -> Result<(), DataError> {
    // a pass may have left the file at another place
    fault::at("spool.seek", || file.seek(SeekFrom::End(0))).map_err(DataError::write(folder))?;
    fault::write("spool.write", file, bytemuck::cast_slice(values)).map_err(DataError::write(folder))?;
    values.clear();
    Ok(())
}

/// Reads the values that come next.
fn read<'a, T: Pod>(
    mut file: &File,
    values: &'a mut Vec<T>,
    count: usize,
    folder: &Path,
) -> Result<&'a mut Vec<T>, DataError> {
    values.resize(count, T::zeroed());
    fault::at("spool.read", || file.read_exact(bytemuck::cast_slice_mut(values))).map_err(DataError::read(folder))?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::log::{RawLog, dense_fields};

    fn log(rows: usize, budget: Option<usize>, folder: &Path) -> RawLog {
        let mut log = RawLog::new(dense_fields(["a", "b"]), vec!["x".into()], vec!["y".into(), "z".into()]);
        if let Some(budget) = budget {
            log.spill_to(folder.to_path_buf(), budget);
        }
        for row in 0..rows as u32 {
            let mut piece = crate::data::log::Piece::default();
            piece.parts.categorical.extend([row, 2 * row]);
            piece.parts.numerical.push(row as f32 / 2.0);
            piece.parts.labels.extend([(row % 2) as u8, 0]);
            piece.push_group(i64::from(row / 3));
            log.append(&mut piece).unwrap();
        }
        log
    }

    fn all(log: &RawLog) -> (Parts, Vec<(usize, usize)>) {
        let (mut parts, mut chunks) = (Parts::default(), Vec::new());
        log.chunks(|chunk| {
            chunks.push((chunk.first, chunk.rows));
            parts.categorical.extend_from_slice(chunk.categorical);
            parts.numerical.extend_from_slice(chunk.numerical);
            parts.labels.extend_from_slice(chunk.labels);
            parts.group.get_or_insert_default().extend_from_slice(chunk.group.unwrap());
            Ok(())
        })
        .unwrap();
        (parts, chunks)
    }

    #[test]
    fn rows_come_back_in_order_wherever_they_waited() {
        let folder = tempfile::tempdir().unwrap();
        let (expected, _) = all(&log(100, None, folder.path()));
        for budget in [1, 64, 700, 1 << 20] {
            let log = log(100, Some(budget), folder.path());
            assert_eq!(log.rows(), 100);
            let (found, chunks) = all(&log);
            assert_eq!(found, expected, "{budget}");
            assert_eq!(chunks.iter().map(|(_, rows)| rows).sum::<usize>(), 100);
            assert!(chunks.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "{chunks:?}");
            assert_eq!(all(&log).0, expected, "a second time");
            let waiting = log.spool.as_ref().unwrap().rows();
            assert_eq!(waiting == 0, budget > 10_000, "{budget}: {waiting}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nobody sees the files");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let mut log = log(0, Some(1), Path::new("/no/such/folder"));
        let mut piece = crate::data::log::Piece::default();
        piece.parts.labels.extend([0, 1]);
        piece.parts.categorical.extend([0, 1]);
        piece.parts.numerical.push(1.0);
        let error = log.append(&mut piece).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}
