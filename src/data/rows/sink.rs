//! Writing rows, tensor by tensor.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use bytemuck::Pod;

use crate::data::{Advance, DataError};

/// Rows whose columns are handed over between two looks at the interrupt flag.
const CHUNK: usize = 1024;

/// A file being written: the chosen rows of one tensor after the other.
pub(super) struct Sink<'a> {
    path: &'a Path,
    out: BufWriter<File>,
    bytes: u64,
    bytes_per_row: u64,
    rows: usize,
    chosen: Option<&'a [u32]>,
    watch: &'a mut dyn FnMut(Advance) -> Result<(), DataError>,
}

impl<'a> Sink<'a> {
    /// Starts a file of this many rows.
    pub(super) fn create(
        path: &'a Path,
        rows: usize,
        bytes_per_row: u64,
        chosen: Option<&'a [u32]>,
        watch: &'a mut dyn FnMut(Advance) -> Result<(), DataError>,
    ) -> Result<Self, DataError> {
        let out = BufWriter::new(File::create(path).map_err(DataError::write(path))?);
        Ok(Self { path, out, bytes: 0, bytes_per_row, rows, chosen, watch })
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(DataError::write(self.path))
    }

    /// Adds the chosen rows of a tensor.
    pub(super) fn tensor<T: Pod>(&mut self, values: &[T], width: usize) -> Result<(), DataError> {
        let mut gathered = Vec::new();
        for start in (0..self.rows).step_by(CHUNK) {
            let end = (start + CHUNK).min(self.rows);
            let chosen = match self.chosen {
                None => Chosen::Range(start..end),
                Some(chosen) => Chosen::of(&chosen[start..end]),
            };
            match chosen {
                Chosen::Range(rows) => self.put(bytemuck::cast_slice(&values[rows.start * width..rows.end * width]))?,
                Chosen::Single(rows) => {
                    gathered.clear();
                    for &row in rows {
                        gathered.extend_from_slice(&values[row as usize * width..][..width]);
                    }
                    self.put(bytemuck::cast_slice(&gathered))?;
                }
            }
            let rows = (self.bytes / self.bytes_per_row).min(self.rows as u64);
            (self.watch)(Advance { bytes: self.bytes, rows })?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), DataError> {
        self.out.flush().map_err(DataError::write(self.path))
    }
}

/// Some of the rows to write.
enum Chosen<'a> {
    /// They stand side by side already.
    Range(Range<usize>),
    /// They have to be brought together.
    Single(&'a [u32]),
}

impl<'a> Chosen<'a> {
    fn of(rows: &'a [u32]) -> Self {
        match rows {
            [first, .., last] if rows.windows(2).all(|pair| pair[0] + 1 == pair[1]) => {
                Self::Range(*first as usize..*last as usize + 1)
            }
            _ => Self::Single(rows),
        }
    }
}
