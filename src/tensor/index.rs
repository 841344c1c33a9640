//! Which rows of the embedding table a batch touches: the index from which the factored first layer works.

/// Where each field's rows lie in the one embedding table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldLayout {
    offsets: Vec<usize>,
}

impl FieldLayout {
    /// Fields of these sizes (rows), one after the other.
    pub fn new(sizes: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        for size in sizes {
            offsets.push(offsets[offsets.len() - 1] + size);
        }
        Self { offsets }
    }

    /// Number of fields.
    pub fn fields(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Rows of the whole table.
    pub fn rows(&self) -> usize {
        self.offsets[self.fields()]
    }

    /// The table's rows that belong to a field.
    pub fn range(&self, field: usize) -> std::ops::Range<usize> {
        self.offsets[field]..self.offsets[field + 1]
    }
}

/// The distinct ids of one batch, field by field.
///
/// A *compact* row is one distinct (field, id) pair of the batch; compact rows are numbered field by field, ids ascending,
/// so they also ascend in the embedding table.
#[derive(Debug, Clone, Default)]
pub struct FieldIds {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Compact rows of field f: `starts[f]..starts[f + 1]`.
    pub starts: Vec<u32>,
    /// The embedding-table row of each compact row, ascending.
    pub rows: Vec<u32>,
    /// The compact row of (sample b, field f) at `b * fields + f`.
    pub compact: Vec<u32>,
    /// The samples that take each compact row, ascending: those of row u are `members[member_starts[u]..member_starts[u + 1]]`.
    pub members: Vec<u32>,
    /// Where each compact row's samples start in `members`.
    pub member_starts: Vec<u32>,
    /// Position by table row, valid for the field being indexed; kept to avoid allocating.
    seen: Vec<u32>,
}

impl FieldIds {
    /// Number of fields.
    pub fn fields(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Number of compact rows, U.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// No field at all.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Compact rows of a field.
    pub fn range(&self, field: usize) -> std::ops::Range<usize> {
        self.starts[field] as usize..self.starts[field + 1] as usize
    }

    /// The compact rows of a sample, field by field.
    pub fn sample(&self, row: usize) -> &[u32] {
        let fields = self.fields();
        &self.compact[row * fields..(row + 1) * fields]
    }

    /// The samples that take a compact row, ascending.
    pub fn members(&self, compact: usize) -> &[u32] {
        &self.members[self.member_starts[compact] as usize..self.member_starts[compact + 1] as usize]
    }

    /// Indexes a batch: `categorical` is row-major B×F, ids within their field.
    ///
    /// # Panics
    /// When an id is not below its field's size: data sets are checked when they are opened.
    pub fn index(&mut self, layout: &FieldLayout, categorical: &[u32], batch: usize) {
        const ABSENT: u32 = u32::MAX;
        let fields = layout.fields();
        assert_eq!(categorical.len(), batch * fields, "one id a row and field");
        self.batch = batch;
        self.starts.clear();
        self.starts.push(0);
        self.rows.clear();
        self.compact.resize(batch * fields, 0);
        self.seen.resize(layout.rows(), ABSENT);
        for field in 0..fields {
            let range = layout.range(field);
            let first = self.rows.len();
            for row in 0..batch {
                let table_row = range.start + categorical[row * fields + field] as usize;
                assert!(table_row < range.end, "an id beyond its field's size");
                if self.seen[table_row] == ABSENT {
                    self.seen[table_row] = 0;
                    self.rows.push(table_row as u32);
                }
            }
            self.rows[first..].sort_unstable();
            for (position, &table_row) in self.rows.iter().enumerate().skip(first) {
                self.seen[table_row as usize] = position as u32;
            }
            for row in 0..batch {
                let table_row = range.start + categorical[row * fields + field] as usize;
                self.compact[row * fields + field] = self.seen[table_row];
            }
            for &table_row in &self.rows[first..] {
                self.seen[table_row as usize] = ABSENT;
            }
            self.starts.push(self.rows.len() as u32);
        }
        self.index_members();
    }

    /// Inverts `compact` by a counting sort.
    fn index_members(&mut self) {
        let fields = self.fields();
        self.member_starts.clear();
        self.member_starts.resize(self.rows.len() + 1, 0);
        for &compact in &self.compact {
            self.member_starts[compact as usize + 1] += 1;
        }
        for u in 0..self.rows.len() {
            self.member_starts[u + 1] += self.member_starts[u];
        }
        let mut next = self.member_starts.clone();
        self.members.resize(self.compact.len(), 0);
        for (position, &compact) in self.compact.iter().enumerate() {
            let slot = &mut next[compact as usize];
            self.members[*slot as usize] = (position / fields) as u32;
            *slot += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_rows_ascend_and_point_back() {
        let layout = FieldLayout::new([5, 3]);
        let mut ids = FieldIds::default();
        for categorical in [vec![4, 0, 1, 2, 4, 2], vec![0, 0, 0, 1, 3, 1]] {
            ids.index(&layout, &categorical, 3);
            assert!(ids.rows.is_sorted_by(|a, b| a < b));
            for (row, pair) in categorical.chunks(2).enumerate() {
                for (field, &id) in pair.iter().enumerate() {
                    let compact = ids.sample(row)[field] as usize;
                    assert!(ids.members(compact).contains(&(row as u32)));
                    assert!(ids.range(field).contains(&compact));
                    assert_eq!(ids.rows[compact] as usize, layout.range(field).start + id as usize);
                }
            }
        }
        assert_eq!(ids.rows, [0, 3, 5, 6]);
    }
}
