//! Walking over a parameter whose gradients may hold some of its rows only.

use std::ops::Range;

use super::pieces::{for_each_piece, map_pieces, range};
use crate::tensor::Cpu;
use crate::tensor::kernels::Held;

/// Elements of a piece.
pub(super) const CHUNK: usize = 1 << 14;

/// A parameter cut into pieces of whole rows.
pub(super) struct Walk {
    len: usize,
    /// Width of a row and (row, compact row), ascending; without them the gradients hold everything.
    rows: Option<(usize, Vec<(u32, u32)>)>,
}

impl Walk {
    /// Over a parameter of this many elements.
    pub(super) fn new(held: Held<Cpu>, len: usize) -> Self {
        let rows = match held {
            Held::All => None,
            Held::Rows { width, ids } => Some((width, ids.ascending())),
        };
        Self { len, rows }
    }

    /// How many pieces there are: a matter of the parameter's shape alone.
    pub(super) fn pieces(&self) -> usize {
        match &self.rows {
            None => self.len.div_ceil(CHUNK),
            Some((width, _)) => (self.len / width).div_ceil(Self::rows_a_piece(*width)),
        }
    }

    fn rows_a_piece(width: usize) -> usize {
        (CHUNK / width).max(1)
    }

    /// Runs `work` for every piece, in parallel when that is worth it.
    pub(super) fn for_each_piece(&self, work: impl Fn(usize) + Sync + Send) {
        for_each_piece(self.pieces(), self.len, work);
    }

    /// The results of `work` for every piece, in order.
    pub(super) fn map_pieces<T: Send>(&self, work: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
        map_pieces(self.pieces(), self.len, work)
    }

    /// The runs of a piece, in order: the elements of the parameter, and those of a gradient, if it holds them.
    pub(super) fn runs(&self, piece: usize, mut each: impl FnMut(Range<usize>, Option<Range<usize>>)) {
        let Some((width, touched)) = &self.rows else {
            let at = range(piece, CHUNK, self.len);
            return each(at.clone(), Some(at));
        };
        let rows = range(piece, Self::rows_a_piece(*width), self.len / width);
        let first = touched.partition_point(|&(row, _)| (row as usize) < rows.start);
        let last = touched.partition_point(|&(row, _)| (row as usize) < rows.end);
        let mut next = rows.start;
        for &(row, compact) in &touched[first..last] {
            let (row, compact) = (row as usize, compact as usize);
            if next < row {
                each(next * width..row * width, None);
            }
            each(row * width..(row + 1) * width, Some(compact * width..(compact + 1) * width));
            next = row + 1;
        }
        if next < rows.end {
            each(next * width..rows.end * width, None);
        }
    }
}

/// What weighted gradients hold of a run, in memory that is used again; nothing where they do not hold it.
pub(super) fn held_parts<'a, 'b>(
    parts: &'b mut Vec<(f32, &'a [f32])>,
    gradients: &[(f32, &'a [f32])],
    held: Option<&Range<usize>>,
) -> &'b [(f32, &'a [f32])] {
    parts.clear();
    parts.extend(held.iter().flat_map(|held| gradients.iter().map(|(w, gradient)| (*w, &gradient[(*held).clone()]))));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{FieldIds, FieldLayout};

    #[test]
    fn every_element_comes_once_and_a_batchs_rows_with_their_gradient() {
        let width = 100;
        let layout = FieldLayout::new([700, 300], width);
        let mut ids = FieldIds::default();
        let batch: Vec<u32> = vec![3, 299, 650, 0, 3, 7, 699, 0];
        ids.index(&layout, &batch, 4);
        let walk = Walk::new(Held::Rows { width, ids: &ids }, 1000 * width);
        assert!(walk.pieces() > 3);
        let (mut next, mut found) = (0, Vec::new());
        for piece in 0..walk.pieces() {
            walk.runs(piece, |at, held| {
                assert_eq!(at.start, next);
                next = at.end;
                if let Some(held) = held {
                    assert_eq!(ids.rows[held.start / width] as usize, at.start / width);
                    assert_eq!((held.len(), at.len()), (width, width));
                    found.push(held.start / width);
                }
            });
        }
        found.sort_unstable();
        assert_eq!((next, found), (1000 * width, (0..ids.len()).collect()));
    }
}
