//! One batch on a device.

use std::rc::Rc;

use crate::data::RawBatch;
use crate::tensor::{Buffer, FieldIds, FieldLayout, Kernels};

/// A batch where the kernels can reach it.
pub struct Batch<D: Kernels> {
    /// Number of rows, B.
    pub rows: usize,
    /// Which embedding rows each sample takes.
    pub ids: Rc<D::Ids>,
    /// Number of distinct (field, id) pairs, U.
    pub distinct: usize,
    /// Numerical columns, B×P.
    pub numerical: Buffer<D>,
    /// One label column a task, B each.
    pub labels: Vec<Buffer<D>>,
}

/// Keeps one batch's memory for the next one.
pub struct BatchSlot<D: Kernels> {
    device: D,
    layout: FieldLayout,
    current: Option<Batch<D>>,
}

impl<D: Kernels> BatchSlot<D> {
    /// For batches of fields of these sizes.
    pub fn new(device: &D, layout: FieldLayout) -> Self {
        Self { device: device.clone(), layout, current: None }
    }

    /// Brings a batch to the device.
    pub fn load(&mut self, raw: &RawBatch) -> &Batch<D> {
        let rows = raw.rows;
        let columns = raw.numerical.len();
        let labels = raw.labels.chunks_exact(rows);
        let (mut ids, reusable) = match self.current.take() {
            Some(batch) => {
                let same = batch.rows == rows;
                let Batch { ids, numerical, labels, .. } = batch;
                let ids = Rc::into_inner(ids).map(|ids| self.device.recycle(ids)).unwrap_or_default();
                (ids, same.then_some((numerical, labels)))
            }
            None => (FieldIds::default(), None),
        };
        ids.index(&self.layout, &raw.categorical, rows);
        let distinct = ids.len();
        let (numerical, labels) = match reusable {
            Some((mut numerical, mut columns)) => {
                self.device.write(&mut numerical, &raw.numerical);
                columns.iter_mut().zip(labels).for_each(|(buffer, values)| self.device.write(buffer, values));
                (numerical, columns)
            }
            None => (
                if columns == 0 { self.device.zeros(0) } else { self.device.upload(&raw.numerical) },
                labels.map(|values| self.device.upload(values)).collect(),
            ),
        };
        let ids = Rc::new(self.device.ids(ids));
        self.current.insert(Batch { rows, ids, distinct, numerical, labels })
    }
}
