//! Which rows of the embedding table a batch touches: the index from which the first layer works.

/// Where each field's rows lie in the one embedding table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldLayout {
    offsets: Vec<usize>,
    width: usize,
}

impl FieldLayout {
    /// Fields of these sizes (rows), one after the other; every row is `width` wide.
    pub fn new(sizes: impl IntoIterator<Item = usize>, width: usize) -> Self {
        let mut offsets = vec![0];
        for size in sizes {
            offsets.push(offsets[offsets.len() - 1] + size);
        }
        Self { offsets, width }
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

/// How a field's embeddings get through the first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A table of products, one row a distinct id, of which every sample sums one row.
    Table,
    /// Every sample's own embedding through the product.
    Direct,
}

/// What a sample costs that sums one row of a table of products, forward and backward, in multiplications of a matrix
/// product: measured, see `benches/README.md`.
const LOOKUP: usize = 6;

impl Route {
    /// The cheaper one for a field of which a batch holds `distinct` ids: an output column costs a product of the
    /// embedding's width for every distinct id and a look-up for every sample, or that product for every sample.
    pub fn of(distinct: usize, batch: usize, width: usize) -> Self {
        if distinct * width + batch * LOOKUP <= batch * width { Self::Table } else { Self::Direct }
    }
}

/// The distinct ids of one batch, field by field.
///
/// A *compact* row is one distinct (field, id) pair of the batch. The fields are taken in an order of their own — those
/// that go by [`Route::Table`] first — and within a field compact rows ascend with the id.
#[derive(Debug, Clone, Default)]
pub struct FieldIds {
    /// Rows of the batch, B.
    pub batch: usize,
    /// The fields in the order of their compact rows.
    pub order: Vec<usize>,
    /// How many of them go by [`Route::Table`].
    pub tables: usize,
    /// Compact rows of the j-th field in that order: `starts[j]..starts[j + 1]`.
    pub starts: Vec<u32>,
    /// The embedding-table row of each compact row.
    pub rows: Vec<u32>,
    /// The compact row of sample b in the j-th field at `b * fields + j`.
    pub compact: Vec<u32>,
    /// The samples that take each compact row, ascending: those of row u are `members[member_starts[u]..member_starts[u + 1]]`.
    pub members: Vec<u32>,
    /// Where each compact row's samples start in `members`.
    pub member_starts: Vec<u32>,
    /// Position by table row; all absent between batches.
    seen: Vec<u32>,
    /// Distinct table rows, field by field.
    found: Vec<u32>,
}

/// No position yet.
const ABSENT: u32 = u32::MAX;

impl FieldIds {
    /// Number of fields.
    pub fn fields(&self) -> usize {
        self.order.len()
    }

    /// Number of compact rows, U.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// No field at all.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Compact rows of the j-th field.
    pub fn range(&self, j: usize) -> std::ops::Range<usize> {
        self.starts[j] as usize..self.starts[j + 1] as usize
    }

    /// Number of compact rows of the fields that go by [`Route::Table`].
    pub fn table_rows(&self) -> usize {
        self.starts.get(self.tables).map_or(0, |&start| start as usize)
    }

    /// The compact rows of a sample, in the order of the fields.
    pub fn sample(&self, row: usize) -> &[u32] {
        let fields = self.fields();
        &self.compact[row * fields..(row + 1) * fields]
    }

    /// The samples that take a compact row, ascending.
    pub fn members(&self, compact: usize) -> &[u32] {
        &self.members[self.member_starts[compact] as usize..self.member_starts[compact + 1] as usize]
    }

    /// (table row, compact row), ascending.
    pub fn ascending(&self) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = self.rows.iter().copied().zip(0..).collect();
        pairs.sort_unstable();
        pairs
    }

    /// Indexes a batch: `categorical` is row-major B×F, ids within their field. Each field goes by the cheaper route.
    ///
    /// # Panics
    /// When an id is not below its field's size: data sets are checked when they are opened.
    pub fn index(&mut self, layout: &FieldLayout, categorical: &[u32], batch: usize) {
        self.index_by(layout, categorical, batch, |distinct| Route::of(distinct, batch, layout.width));
    }

    /// The same with another way to choose a route by the number of distinct ids.
    pub fn index_by(
        &mut self,
        layout: &FieldLayout,
        categorical: &[u32],
        batch: usize,
        route: impl Fn(usize) -> Route,
    ) {
        let fields = layout.fields();
        assert_eq!(categorical.len(), batch * fields, "one id a row and field");
        self.batch = batch;
        self.seen.resize(layout.rows(), ABSENT);
        self.found.clear();
        let mut found = Vec::with_capacity(fields);
        for field in 0..fields {
            let range = layout.range(field);
            let first = self.found.len();
            for row in 0..batch {
                let table_row = range.start + categorical[row * fields + field] as usize;
                assert!(table_row < range.end, "an id beyond its field's size");
                if self.seen[table_row] == ABSENT {
                    self.seen[table_row] = 0;
                    self.found.push(table_row as u32);
                }
            }
            self.found[first..].sort_unstable();
            found.push(first..self.found.len());
        }
        let (by_table, direct): (Vec<_>, Vec<_>) = (0..fields).partition(|&f| route(found[f].len()) == Route::Table);
        self.tables = by_table.len();
        self.order = by_table;
        self.order.extend(direct);
        self.rows.clear();
        self.starts.clear();
        self.starts.push(0);
        self.compact.resize(batch * fields, 0);
        for (j, &field) in self.order.iter().enumerate() {
            let first = layout.range(field).start;
            for &table_row in &self.found[found[field].clone()] {
                self.seen[table_row as usize] = self.rows.len() as u32;
                self.rows.push(table_row);
            }
            self.starts.push(self.rows.len() as u32);
            for row in 0..batch {
                self.compact[row * fields + j] = self.seen[first + categorical[row * fields + field] as usize];
            }
        }
        self.rows.iter().for_each(|&table_row| self.seen[table_row as usize] = ABSENT);
        self.index_members();
    }

    /// The index of some of the samples, with the same compact rows as that of all: gradients of several parts of a batch
    /// can then be multiplied and added. Rows that none of these samples takes have no members.
    pub fn part(&self, samples: std::ops::Range<usize>) -> Self {
        let fields = self.fields();
        let mut part = Self {
            batch: samples.len(),
            order: self.order.clone(),
            tables: self.tables,
            starts: self.starts.clone(),
            rows: self.rows.clone(),
            compact: self.compact[samples.start * fields..samples.end * fields].to_vec(),
            ..Self::default()
        };
        part.index_members();
        part
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
    fn compact_rows_point_back_whichever_way_the_fields_go() {
        let layout = FieldLayout::new([5, 3, 4], 2);
        let mut ids = FieldIds::default();
        for categorical in [vec![4, 0, 1, 1, 2, 1, 4, 2, 1], vec![0, 0, 3, 0, 1, 2, 3, 1, 1]] {
            for direct_from in 1..5 {
                let route = |distinct| if distinct < direct_from { Route::Table } else { Route::Direct };
                ids.index_by(&layout, &categorical, 3, route);
                assert!((0..3).all(|j| (route(ids.range(j).len()) == Route::Table) == (j < ids.tables)));
                assert_eq!(ids.table_rows(), (0..ids.tables).map(|j| ids.range(j).len()).sum::<usize>());
                for (b, row) in categorical.chunks(3).enumerate() {
                    for (j, &field) in ids.order.iter().enumerate() {
                        let compact = ids.sample(b)[j] as usize;
                        assert!(ids.members(compact).contains(&(b as u32)));
                        assert!(ids.range(j).contains(&compact));
                        assert_eq!(ids.rows[compact] as usize, layout.range(field).start + row[field] as usize);
                    }
                }
                let ascending = ids.ascending();
                assert!(ascending.is_sorted_by(|a, b| a.0 < b.0) && ascending.len() == ids.len());
                assert!(ascending.iter().all(|&(row, compact)| ids.rows[compact as usize] == row));
            }
        }
    }

    #[test]
    fn a_part_keeps_the_compact_rows_of_the_whole() {
        let layout = FieldLayout::new([5, 3], 2);
        let mut ids = FieldIds::default();
        ids.index(&layout, &[4, 0, 1, 1, 4, 1, 0, 2], 4);
        let part = ids.part(1..3);
        assert_eq!((part.batch, &part.rows, part.len()), (2, &ids.rows, ids.len()));
        assert_eq!((part.sample(0), part.sample(1)), (ids.sample(1), ids.sample(2)));
        for row in 0..ids.len() {
            let members: Vec<u32> = ids.members(row).iter().filter(|b| (1..3).contains(*b)).map(|b| b - 1).collect();
            assert_eq!(part.members(row), members);
        }
        assert!((0..ids.len()).any(|row| part.members(row).is_empty()));
    }

    #[test]
    fn few_ids_go_by_table_and_many_go_direct() {
        assert_eq!(Route::of(31, 2048, 128), Route::Table);
        assert_eq!(Route::of(1000, 2048, 128), Route::Table);
        assert_eq!(Route::of(2046, 2048, 128), Route::Direct);
        assert_eq!(Route::of(4, 2048, 4), Route::Direct, "a look-up costs more than so short a product");
    }
}
