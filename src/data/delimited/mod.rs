//! Delimited text, read strictly: every complaint names file, line and column, and a file that is not the one
//! `Download` saw is refused.
//!
//! A file is read in blocks of whole records ([`blocks`]), many of which are split ([`cells`]) and parsed side by side,
//! each into a [`Piece`] of its own. Pieces join the log in the order of the file, so that the log, and the first
//! complaint, are what reading row by row would give.

mod blocks;
mod cells;
mod content;
mod decimal;
mod quotes;
mod row;
#[cfg(test)]
mod tests;
mod work;

use std::io;
use std::path::Path;

use rayon::prelude::*;

use self::blocks::Blocks;
use self::content::{Content, is_gzip};
pub(crate) use self::row::{Header, Row};
use self::work::Work;
use super::log::{Piece, RawLog};
use super::source::SourceFile;
use super::{Advance, DataError};

/// Bytes of a block: small enough for a core's cache with all that is made of it, large enough for BLAKE3's wide code
/// paths.
const BLOCK: usize = 1 << 17;
/// Blocks of a batch: while one batch is parsed the next is read. Between two batches comes a look at the interrupt
/// flag.
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
    /// Hears how far reading is, over all files, and may stop it.
    pub(crate) watch: &'a mut dyn FnMut(Advance) -> Result<(), DataError>,
    /// What the files read so far came to.
    pub(crate) done: Advance,
    /// Bytes of a block.
    block: usize,
    /// Memory for the blocks that are parsed and for those that are read.
    batches: [Vec<Work>; 2],
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        root: &'a Path,
        fill: Option<f32>,
        watch: &'a mut dyn FnMut(Advance) -> Result<(), DataError>,
    ) -> Self {
        Self {
            root,
            fill,
            watch,
            done: Advance::default(),
            block: BLOCK,
            batches: [Work::batch(BATCH), Work::batch(BATCH)],
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
        columns: impl FnOnce(&Header) -> Result<C, DataError>,
        row: impl Fn(&C, &Row, &mut Piece) -> Result<(), DataError> + Sync,
    ) -> Result<(), DataError> {
        let path = &file.path;
        let opened = self.root.join(path);
        let content = Content::open(&opened).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DataError::NotAsDownloaded { path: path.clone(), what: "vanished" },
            _ => DataError::read(path)(error),
        })?;
        let mut blocks = Blocks::new(content, layout.delimiter, layout.quotes, self.block);

        let outcome = self.rows(&mut blocks, (path, &opened), layout, log, columns, row);
        if matches!(outcome, Err(DataError::Interrupted)) {
            return outcome;
        }
        let (bytes, digest) = blocks.into_content().finish().map_err(DataError::read(path))?;
        if (bytes, digest.as_str()) != (file.bytes, &file.digest) {
            return Err(DataError::NotAsDownloaded { path: path.clone(), what: "changed" });
        }
        self.done.bytes += bytes;
        outcome
    }

    fn rows<C: Sync>(
        &mut self,
        blocks: &mut Blocks,
        (path, opened): (&Path, &Path),
        layout: Layout,
        log: &mut RawLog,
        columns: impl FnOnce(&Header) -> Result<C, DataError>,
        row: impl Fn(&C, &Row, &mut Piece) -> Result<(), DataError> + Sync,
    ) -> Result<(), DataError> {
        let names = match layout.names {
            Some(names) => names.iter().map(|&name| name.to_owned()).collect(),
            None => Work::read_header(blocks, layout.delimiter),
        };
        if names.is_empty() {
            return ended(blocks, path, 0);
        }
        let header = Header { path, file: opened, names: &names };
        let columns = columns(&header)?;
        let fill = self.fill;
        let parse = |work: &mut Work| work.parse(&header, layout.delimiter, fill, |on, piece| row(&columns, on, piece));

        let [current, next] = &mut self.batches;
        let before = self.done.rows;
        Work::read(current, blocks);
        while current[0].is_some() {
            rayon::join(|| Work::read(next, blocks), || current.par_iter_mut().for_each(parse));
            for work in current.iter_mut() {
                if let Some((error, byte)) = work.wrong.take() {
                    return Err(header.locate(error, byte));
                }
                log.append(&mut work.piece)?;
                self.done.rows += work.rows;
            }
            (self.watch)(Advance { bytes: self.done.bytes + blocks.bytes_read(), rows: self.done.rows })?;
            std::mem::swap(current, next);
        }
        ended(blocks, path, self.done.rows - before)
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
