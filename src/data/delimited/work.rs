//! One block's way into the log, with memory that the next block uses again.

use super::bad_rows::BadRows;
use super::blocks::{Block, Blocks};
use super::cells::Cells;
use super::row::{Header, Row};
use crate::data::DataError;
use crate::data::log::{Piece, RawLog};

/// A block, what is found in it and what is made of it.
#[derive(Default)]
pub(super) struct Work {
    block: Block,
    cells: Cells,
    /// What the rows came to.
    piece: Piece,
    /// How many rows.
    pub(super) rows: u64,
    /// The complaints, and where their rows start in the unpacked content.
    wrong: Vec<(DataError, u64)>,
}

impl Work {
    /// Work to do, still without blocks.
    pub(super) fn batch(size: usize) -> Vec<Self> {
        std::iter::repeat_with(Self::default).take(size).collect()
    }

    /// Takes the blocks that come next; at the end of the content there are fewer, or none.
    pub(super) fn read(batch: &mut [Self], blocks: &mut Blocks) {
        for work in batch {
            blocks.next(&mut work.block);
        }
    }

    /// Whether there is a block in a batch.
    pub(super) fn any(batch: &[Self]) -> bool {
        batch.iter().any(|work| !work.block.is_empty())
    }

    /// Makes a piece of the block, up to the first wrong row unless such are tolerated.
    pub(super) fn parse(
        &mut self,
        header: &Header,
        delimiter: u8,
        (fill, tolerant): (Option<f32>, bool),
        read: impl Fn(&Row, &mut Piece) -> Result<(), DataError>,
    ) {
        let Self { block, cells, piece, rows, wrong } = self;
        cells.split(block, delimiter);
        *rows = cells.records().len() as u64;
        for &record in cells.records() {
            let row = Row { header, fields: cells.fields(block, record), fill };
            let before = piece.mark();
            if let Err(error) = row.check_count().and_then(|()| read(&row, piece)) {
                piece.back_to(before);
                wrong.push((error, block.offset + u64::from(record.start)));
                *rows -= 1;
                if !tolerant {
                    return;
                }
            }
        }
    }

    /// Adds the piece to the log.
    ///
    /// # Errors
    /// The first complaint about the block that is not tolerated, with its line, or the log's about the piece.
    pub(super) fn append(&mut self, header: &Header, log: &mut RawLog, bad: &mut BadRows) -> Result<(), DataError> {
        for (error, byte) in self.wrong.drain(..) {
            bad.add(error, |error| header.locate(error, byte))?;
        }
        log.append(&mut self.piece)
    }

    /// Takes the names of the columns off the content; none when there is no record.
    pub(super) fn read_header(blocks: &mut Blocks, delimiter: u8) -> Vec<String> {
        let Self { mut block, mut cells, .. } = Self::default();
        loop {
            blocks.next(&mut block);
            cells.split(&block, delimiter);
            if let Some(&first) = cells.records().first() {
                let rest = cells.records().get(1).map_or(block.bytes().len(), |second| second.start as usize);
                blocks.put_back(&block, rest);
                let names = cells.fields(&block, first);
                return (0..names.len()).map(|at| String::from_utf8_lossy(names.get(at)).into_owned()).collect();
            }
            if block.is_empty() {
                return Vec::new();
            }
        }
    }
}
