//! The rows of a file one after the other, for those who keep none of them.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::blocks::{Block, Blocks};
use super::cells::Cells;
use super::content::{Content, Place};
use super::row::{Header, Row};
use super::work::Work;
use super::{BLOCK, Layout, ended};
use crate::data::DataError;

/// Goes through the rows of a file in order, in the memory of one block: `columns` makes of the column names what `row`
/// gets with every row, and `pause` after every block, with how many bytes of the file have been read; it may end the
/// reading. `shown` is the file as messages name it.
///
/// Returns what became of `columns`, and the digest of the file if it was read to its end.
///
/// # Errors
/// When the file cannot be read or holds no row, or `columns`, `row` or `pause` object.
pub(crate) fn each_row<C, E: From<DataError>>(
    root: &Path,
    shown: &Path,
    layout: Layout,
    fill: Option<f32>,
    columns: impl FnOnce(&Header) -> Result<C, DataError>,
    mut row: impl FnMut(&mut C, &Row) -> Result<(), DataError>,
    mut pause: impl FnMut(&mut C, u64) -> Result<ControlFlow<()>, E>,
) -> Result<(C, Option<String>), E> {
    let unreadable = |error: io::Error| E::from(DataError::read(shown)(error));
    let place = Place::File(root.join(shown));
    let content = Content::open(&place).map_err(unreadable)?;
    let mut blocks = Blocks::new(content, layout.delimiter, layout.quotes, BLOCK);
    let names = match layout.names {
        Some(names) => names.iter().map(|&name| name.to_owned()).collect(),
        None => Work::read_header(&mut blocks, layout.delimiter),
    };
    if names.is_empty() {
        ended(&mut blocks, shown, 0)?;
    }
    let header = Header { path: shown, place: &place, names: &names };
    let mut columns = columns(&header)?;
    let (mut block, mut cells, mut rows) = (Block::default(), Cells::default(), 0);
    loop {
        blocks.next(&mut block);
        if block.is_empty() {
            break;
        }
        cells.split(&block, layout.delimiter);
        for &record in cells.records() {
            let on = Row { header: &header, fields: cells.fields(&block, record), fill };
            let outcome = on.check_count().and_then(|()| row(&mut columns, &on));
            outcome.map_err(|error| header.locate(error, block.offset + u64::from(record.start)))?;
        }
        rows += cells.records().len() as u64;
        if pause(&mut columns, blocks.bytes_read())?.is_break() {
            return Ok((columns, None));
        }
    }
    ended(&mut blocks, shown, rows)?;
    let found = blocks.into_content().finish().map_err(unreadable)?;
    Ok((columns, found.map(|(_, digest)| digest)))
}
