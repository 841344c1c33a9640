//! Batches: the seeded order of an epoch, its ranges, and the gathering of rows that lie apart.

use std::ops::Range;

use super::Rows;
use super::draw::Draw;

/// The order in which an epoch visits the rows: exact, uniformly random, different for each epoch of a seed.
///
/// # Panics
/// When there are more than `u32::MAX` rows; a data set never has.
pub fn epoch_order(rows: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let rows = u32::try_from(rows).expect("a data set has fewer than 2^32 rows");
    Draw::new(seed, "epoch order", epoch).permutation(rows)
}

/// Cuts `0..rows` into batches of `batch` rows (at least one) and a shorter last one.
///
/// A last batch of a single row is merged into the one before it: batch normalisation has no variance to divide by.
pub fn batches(rows: usize, batch: usize) -> Vec<Range<usize>> {
    let batch = batch.max(1);
    let mut ranges: Vec<Range<usize>> =
        (0..rows).step_by(batch).map(|start| start..(start + batch).min(rows)).collect();
    if batch > 1 && ranges.len() > 1 && rows % batch == 1 {
        ranges.pop();
        if let Some(last) = ranges.last_mut() {
            last.end = rows;
        }
    }
    ranges
}

/// Cuts every batch into two of the same size, the support and the query set of meta training: an odd row is left out, and
/// so is a batch whose halves would have fewer than two rows.
pub fn halves(batches: &[Range<usize>]) -> Vec<Range<usize>> {
    let whole = batches.iter().filter(|batch| batch.len() >= 4);
    let halves = whole.flat_map(|batch| {
        let middle = batch.start + batch.len() / 2;
        [batch.start..middle, middle..middle + batch.len() / 2]
    });
    halves.collect()
}

/// One batch as a model reads it; its vectors keep their memory from batch to batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawBatch {
    /// Number of rows, B.
    pub rows: usize,
    /// Ids within the field: `[B, fields]`, row-major.
    pub categorical: Vec<u32>,
    /// Numerical columns: `[B, columns]`, row-major.
    pub numerical: Vec<f32>,
    /// Labels, 0 or 1: `[K, B]`, one task after the other.
    pub labels: Vec<f32>,
}

impl RawBatch {
    /// Some of its rows.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        let of = |width: usize| rows.start * width..rows.end * width;
        let tasks = self.labels.chunks_exact(self.rows.max(1));
        Self {
            rows: rows.len(),
            categorical: self.categorical[of(self.categorical.len() / self.rows.max(1))].to_vec(),
            numerical: self.numerical[of(self.numerical.len() / self.rows.max(1))].to_vec(),
            labels: tasks.flat_map(|column| column[rows.clone()].iter().copied()).collect(),
        }
    }
}

impl Rows {
    /// Copies the rows with these indices, in this order, into a batch.
    ///
    /// # Panics
    /// When an index is not below the number of rows, as slicing does.
    pub fn gather(&self, indices: &[u32], out: &mut RawBatch) {
        out.rows = indices.len();
        copy_rows(self.categorical(), self.fields(), indices, &mut out.categorical);
        copy_rows(self.numerical(), self.columns(), indices, &mut out.numerical);

        let (labels, tasks) = (self.labels(), self.tasks());
        out.labels.resize(indices.len() * tasks, 0.0);
        if indices.is_empty() {
            return;
        }
        for (task, column) in out.labels.chunks_exact_mut(indices.len()).enumerate() {
            for (slot, &row) in column.iter_mut().zip(indices) {
                *slot = f32::from(labels[row as usize * tasks + task]);
            }
        }
    }
}

fn copy_rows<T: Copy + Default>(values: &[T], width: usize, indices: &[u32], out: &mut Vec<T>) {
    out.resize(indices.len() * width, T::default());
    if width == 0 {
        return;
    }
    for (slot, &row) in out.chunks_exact_mut(width).zip(indices) {
        slot.copy_from_slice(&values[row as usize * width..][..width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Field, Parts, Schema};

    #[test]
    fn an_epoch_visits_every_row_once_and_each_epoch_in_another_order() {
        let first = epoch_order(1000, 5, 0);
        assert_eq!(first, epoch_order(1000, 5, 0));
        assert_ne!(first, epoch_order(1000, 5, 1));
        assert_ne!(first, epoch_order(1000, 6, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
    }

    /// A resumed run must see the order the killed one saw, after an upgrade too: these numbers may never change.
    #[test]
    fn the_order_is_pinned() {
        assert_eq!(epoch_order(8, 1, 0), [2, 1, 7, 5, 6, 3, 0, 4]);
    }

    #[test]
    fn batches_cover_the_rows_and_never_end_with_a_single_one() {
        let cut = |rows, batch| batches(rows, batch).into_iter().map(|r| (r.start, r.end)).collect::<Vec<_>>();
        assert_eq!(cut(10, 4), [(0, 4), (4, 8), (8, 10)]);
        assert_eq!(cut(8, 4), [(0, 4), (4, 8)]);
        assert_eq!(cut(9, 4), [(0, 4), (4, 9)]);
        assert_eq!(cut(5, 4), [(0, 5)]);
        assert_eq!(cut(1, 4), [(0, 1)]);
        assert_eq!(cut(3, 1), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(cut(2, 0), [(0, 1), (1, 2)]);
        assert_eq!(cut(0, 4), []);
    }

    fn rows(count: usize) -> Rows {
        let schema = Schema {
            fields: vec![Field { name: "a".into(), size: count.max(1), out_of_vocabulary: None }; 2],
            numerical: (0..30).map(|column| format!("n{column}")).collect(),
            tasks: vec!["x".into(), "y".into(), "z".into()],
        };
        let parts = Parts {
            categorical: (0..count).flat_map(|row| [row as u32, (count - 1 - row) as u32]).collect(),
            numerical: (0..count * 30).map(|at| at as f32).collect(),
            labels: (0..count).flat_map(|row| [(row % 2) as u8, (row % 3 == 0) as u8, 1]).collect(),
            ..Parts::default()
        };
        Rows::from_parts(&schema, parts).unwrap()
    }

    #[test]
    fn halves_are_of_one_size_and_leave_no_more_than_an_odd_row_out() {
        assert_eq!(halves(&batches(23, 10)), [0..5, 5..10, 10..15, 15..20], "three rows cannot be cut");
        assert_eq!(halves(&batches(9, 9)), [0..4, 4..8]);
        assert!(halves(&batches(3, 9)).is_empty());
    }

    #[test]
    fn gathered_rows_are_the_chosen_ones_with_labels_by_task() {
        let rows = rows(5);
        let mut batch = RawBatch::default();
        rows.gather(&[3, 0, 3, 1], &mut batch);
        assert_eq!(batch.rows, 4);
        assert_eq!(batch.categorical, [3, 1, 0, 4, 3, 1, 1, 3]);
        assert_eq!(batch.numerical[..2], [90.0, 91.0]);
        assert_eq!(batch.numerical[30..32], [0.0, 1.0]);
        assert_eq!(batch.labels, [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]);

        let middle = batch.rows(1..3);
        assert_eq!((middle.rows, &middle.categorical[..]), (2, &[0, 4, 3, 1][..]));
        assert_eq!(middle.labels, [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(middle.numerical, batch.numerical[30..90]);

        // A smaller batch in the same memory leaves nothing behind.
        rows.gather(&[4], &mut batch);
        assert_eq!((batch.rows, batch.categorical.len(), batch.labels.as_slice()), (1, 2, &[0.0, 0.0, 1.0][..]));
        rows.gather(&[], &mut batch);
        assert_eq!(batch, RawBatch { rows: 0, ..batch.clone() });
        assert!(batch.categorical.is_empty() && batch.numerical.is_empty() && batch.labels.is_empty());
    }
}
