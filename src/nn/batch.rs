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

    /// Where each field's rows lie.
    pub fn layout(&self) -> &FieldLayout {
        &self.layout
    }

    /// Indexes a batch's ids and brings it to the device.
    pub fn load(&mut self, raw: &RawBatch) -> &Batch<D> {
        let mut ids = self.take_ids();
        ids.index(&self.layout, &raw.categorical, raw.rows);
        self.place(raw, ids)
    }

    /// The index of the batch before, for its memory.
    pub fn take_ids(&mut self) -> FieldIds {
        let ids = self
            .current
            .as_mut()
            .map(|batch| std::mem::replace(&mut batch.ids, Rc::new(self.device.ids(FieldIds::default()))));
        ids.and_then(Rc::into_inner).map(|ids| self.device.recycle(ids)).unwrap_or_default()
    }

    /// Brings a batch to the device whose ids are indexed already.
    pub fn place(&mut self, raw: &RawBatch, ids: FieldIds) -> &Batch<D> {
        let (rows, distinct) = (raw.rows, ids.len());
        let labels = raw.labels.chunks_exact(rows);
        let (numerical, labels) = match self.current.take().filter(|batch| batch.rows == rows) {
            Some(Batch { mut numerical, labels: mut columns, .. }) => {
                self.device.write(&mut numerical, &raw.numerical);
                columns.iter_mut().zip(labels).for_each(|(buffer, values)| self.device.write(buffer, values));
                (numerical, columns)
            }
            None => (
                if raw.numerical.is_empty() { self.device.zeros(0) } else { self.device.upload(&raw.numerical) },
                labels.map(|values| self.device.upload(values)).collect(),
            ),
        };
        let ids = Rc::new(self.device.ids(ids));
        self.current.insert(Batch { rows, ids, distinct, numerical, labels })
    }
}
