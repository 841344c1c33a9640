//! Delimited text, read strictly: every complaint names file, line and column, and a file that is not the one
//! `Download` saw is refused.
//!
//! A file is read in blocks of whole records ([`blocks`]), many of which are split ([`cells`]) and parsed side by side,
//! each into a [`Piece`] of its own. Pieces join the log in the order of the file, so that the log, and the first
//! complaint, are what reading row by row would give.

mod archive;
mod bad_rows;
mod blocks;
mod bytes;
mod cells;
#[cfg(feature = "parquet")]
mod columns;
mod content;
mod decimal;
mod quotes;
mod row;
mod sequential;
mod sniff;
#[cfg(test)]
mod tests;
mod work;

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::archive::Member;
pub(crate) use self::archive::members;
pub(crate) use self::bad_rows::BadRows;
use self::blocks::Blocks;
pub(super) use self::content::is_parquet;
use self::content::{Content, Place, is_gzip};
pub(crate) use self::row::{Header, Row};
pub(crate) use self::sequential::each_row;
use self::work::Work;
use super::log::{Piece, RawLog};
use super::source::SourceFile;
use super::{Advance, DataError};
use crate::store::Digest;

/// Bytes of a block: small enough for a core's cache with all that is made of it, large enough for BLAKE3's wide code
/// paths.
const BLOCK: usize = 1 << 16;
/// Blocks of a batch: while one batch is parsed the next is read and the last joins the log. Between two batches comes a
/// look at the interrupt flag.
const BATCH: usize = 16;

/// How a kind of file is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// What stands between two fields.
    pub(crate) delimiter: u8,
    /// The columns' names; `None` when the first line tells them.
    pub(crate) names: Option<&'a [&'a str]>,
    /// Whether fields may stand in double quotes.
    pub(crate) quotes: bool,
}

impl Layout<'_> {
    /// A header line, quotes allowed, tabs for `.tsv` and `.tab` (compressed or not), commas for every other name.
    pub(crate) fn by_extension(path: &Path) -> Self {
        let plain = if is_gzip(path) { path.with_extension("") } else { path.to_path_buf() };
        let tabs = plain.extension().is_some_and(|extension| extension == "tsv" || extension == "tab");
        Self { delimiter: if tabs { b'\t' } else { b',' }, names: None, quotes: true }
    }
}

/// What reading a log needs beside its files.
pub(crate) struct Reading<'a> {
    /// The project's folder; the files' paths start here.
    pub(crate) root: &'a Path,
    /// Stands for missing, NaN and infinite numbers; without it they are errors.
    pub(crate) fill: Option<f32>,
    /// Where rows wait that take more than so many bytes together; without it all stay in memory.
    spill: Option<(PathBuf, usize)>,
    /// Hears how far reading is, over all files, and may stop it.
    pub(crate) watch: &'a mut (dyn FnMut(Advance) -> Result<(), DataError> + Send),
    /// What the files read so far came to.
    pub(crate) done: Advance,
    /// The wrong rows that are tolerated, and those there are so far.
    pub(crate) bad: BadRows,
    /// Bytes of a block.
    block: usize,
    /// Bytes of the archive that the last member took.
    packed: u64,
    /// Memory for the blocks that are read, those that are parsed and those that join the log.
    batches: [Vec<Work>; 3],
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        root: &'a Path,
        fill: Option<f32>,
        spill: Option<(PathBuf, usize)>,
        watch: &'a mut (dyn FnMut(Advance) -> Result<(), DataError> + Send),
    ) -> Self {
        Self {
            root,
            fill,
            spill,
            watch,
            done: Advance::default(),
            bad: BadRows::default(),
            block: BLOCK,
            packed: 0,
            batches: [(); 3].map(|()| Work::batch(BATCH)),
        }
    }

    /// Adds every row of a file to the log: `row` turns one into part of a piece, on any thread, with what `columns`
    /// made of the column names.
    ///
    /// The content's digest is taken on the way. When it is not the one `Download` recorded, that is the error,
    /// whatever else went wrong: the complaint about a line would mislead.
    ///
    /// # Errors
    /// When the file vanished, changed, cannot be read, holds no row, or `columns` or `row` object.
    pub(crate) fn file<C: Sync>(
        &mut self,
        file: &SourceFile,
        layout: Layout,
        log: &mut RawLog,
        columns: impl FnOnce(&Header) -> Result<C, DataError> + Send,
        row: impl Fn(&C, &Row, &mut Piece) -> Result<(), DataError> + Sync,
    ) -> Result<(), DataError> {
        if is_parquet(&file.path) {
            // it is not read from its beginning to its end
            self.verify(file)?;
        }
        let place = Place::File(self.root.join(&file.path));
        let digest = self.content(&file.path, &place, layout, log, columns, row);
        // the complaint about a line of another file would mislead
        if let (Some(found), _) = &digest
            && *found != (file.bytes, file.digest.clone())
        {
            return Err(DataError::NotAsDownloaded { path: file.path.clone(), what: "changed" });
        }
        self.done.bytes += file.bytes;
        digest.1
    }

    /// The same of a file within an archive, which must be verified before ([`Reading::verify`]); `names` lead to it.
    ///
    /// # Errors
    /// When the archive is damaged, or as [`Reading::file`].
    pub(crate) fn member<C: Sync>(
        &mut self,
        archive: &Path,
        names: &[String],
        layout: Layout,
        log: &mut RawLog,
        columns: impl FnOnce(&Header) -> Result<C, DataError> + Send,
        row: impl Fn(&C, &Row, &mut Piece) -> Result<(), DataError> + Sync,
    ) -> Result<(), DataError> {
        let shown = names.iter().fold(archive.to_path_buf(), |path, name| path.join(name));
        let member = Member { archive: self.root.join(archive), names: names.to_vec() };
        let place = Place::Member(member, self.scratch());
        let before = self.done.bytes;
        let (_, outcome) = self.content(&shown, &place, layout, log, columns, row);
        self.done.bytes = before + self.packed;
        outcome
    }

    /// Reads every byte of a file, and refuses one that is not as `Download` recorded it.
    ///
    /// # Errors
    /// When it vanished, changed or cannot be read.
    pub(crate) fn verify(&self, file: &SourceFile) -> Result<(), DataError> {
        let gone = |what| DataError::NotAsDownloaded { path: file.path.clone(), what };
        let opened = self.root.join(&file.path);
        if !opened.is_file() {
            return Err(gone("vanished"));
        }
        let digest = Digest::of_file(&opened).map_err(DataError::read(&file.path))?;
        if digest.to_string() == file.digest { Ok(()) } else { Err(gone("changed")) }
    }

    /// Where files without a name may lie.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.spill.as_ref().map_or_else(std::env::temp_dir, |(folder, _)| folder.clone())
    }

    /// How many bytes of rows one of so many logs that are read together may keep in memory.
    pub(crate) fn share(&self, log: &mut RawLog, logs: usize) {
        if let Some((folder, bytes)) = &self.spill {
            log.spill_to(folder.clone(), bytes / logs);
        }
    }

    /// Adds every row of a content to the log; with what came of it, the length and digest of a file on the disk.
    fn content<C: Sync>(
        &mut self,
        path: &Path,
        place: &Place,
        layout: Layout,
        log: &mut RawLog,
        columns: impl FnOnce(&Header) -> Result<C, DataError> + Send,
        row: impl Fn(&C, &Row, &mut Piece) -> Result<(), DataError> + Sync,
    ) -> (Option<(u64, String)>, Result<(), DataError>) {
        self.share(log, 1);
        let content = match Content::open(place) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (None, Err(DataError::NotAsDownloaded { path: path.to_path_buf(), what: "vanished" }));
            }
            Err(error) => return (None, Err(DataError::read(path)(error))),
        };
        let mut blocks = Blocks::new(content, layout.delimiter, layout.quotes, self.block);
        // within the pool from the start, as every batch would have to enter it otherwise
        let outcome = rayon::scope(|_| self.rows(&mut blocks, (path, place), layout, log, columns, &row));
        self.packed = blocks.bytes_read();
        if matches!(outcome, Err(DataError::Interrupted)) {
            return (None, outcome);
        }
        match blocks.into_content().finish() {
            Ok(found) => (found, outcome),
            Err(error) => (None, Err(DataError::read(path)(error))),
        }
    }

    fn rows<C: Sync>(
        &mut self,
        blocks: &mut Blocks,
        (path, place): (&Path, &Place),
        layout: Layout,
        log: &mut RawLog,
        columns: impl FnOnce(&Header) -> Result<C, DataError> + Send,
        row: &(impl Fn(&C, &Row, &mut Piece) -> Result<(), DataError> + Sync),
    ) -> Result<(), DataError> {
        let names = match layout.names {
            Some(names) => names.iter().map(|&name| name.to_owned()).collect(),
            None => Work::read_header(blocks, layout.delimiter),
        };
        if names.is_empty() {
            return ended(blocks, path, 0);
        }
        let header = Header { path, place, names: &names };
        let columns = columns(&header)?;
        let how = (self.fill, self.bad.tolerated > 0);
        let parse = |work: &mut Work| work.parse(&header, layout.delimiter, how, |on, piece| row(&columns, on, piece));

        let Self { batches: [next, current, last], bad, .. } = self;
        let (before, bad_before) = (self.done.rows, bad.count);
        Work::read(current, blocks);
        while Work::any(current) || Work::any(last) {
            // three steps of the way side by side: only blocks wait for each other, and in order
            let parse_current = || current.par_iter_mut().for_each(parse);
            let append_last = || last.iter_mut().try_for_each(|work| work.append(&header, log, bad));
            let ((), ((), appended)) =
                rayon::join(|| Work::read(next, blocks), || rayon::join(parse_current, append_last));
            appended?;
            if Work::any(last) {
                self.done.rows += last.iter().map(|work| work.rows).sum::<u64>();
                (self.watch)(Advance { bytes: self.done.bytes + blocks.bytes_read(), rows: self.done.rows })?;
            }
            std::mem::swap(last, current);
            std::mem::swap(current, next);
        }
        let rows = self.done.rows - before;
        let bad_rows = bad.count - bad_before;
        if rows == 0 && bad_rows > 0 && !blocks.has_failed() {
            return Err(DataError::request(
                format!("all {bad_rows} rows of `{}` are wrong; {}", path.display(), bad.first.join("; ")),
                "see whether the log is described as it is: its columns, its delimiter, its labels",
            ));
        }
        ended(blocks, path, rows)
    }
}

/// The content ended: as it should, early, or before any row.
fn ended(blocks: &mut Blocks, path: &Path, rows: u64) -> Result<(), DataError> {
    match blocks.failure() {
        Some(error) => Err(DataError::read(path)(error)),
        None if rows == 0 => Err(DataError::NoRows { path: path.to_path_buf() }),
        None => Ok(()),
    }
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}
