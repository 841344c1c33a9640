//! One batch on a device.

use std::ops::Range;
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

/// A batch on the host, ready for the device.
#[derive(Default)]
pub struct Assembled {
    /// Its rows.
    pub raw: RawBatch,
    /// Its ids, indexed.
    pub ids: FieldIds,
}

impl Assembled {
    /// Indexes the ids of the rows that `raw` holds.
    pub fn index(&mut self, layout: &FieldLayout) {
        self.ids.index(layout, &self.raw.categorical, self.raw.rows);
    }

    /// Cuts the batch into parts whose sizes differ by one row at most. The parts' embedding gradients have the same compact
    /// rows, so that they can be multiplied and added.
    pub fn parts(&self, count: usize) -> Vec<Self> {
        let rows = self.raw.rows;
        (0..count).map(|part| self.rows(part * rows / count..(part + 1) * rows / count)).collect()
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        Self { raw: self.raw.rows(rows.clone()), ids: self.ids.part(rows) }
    }
}

/// Keeps a batch's memory, or that of its parts, for the one after the next: while one is worked on, the next comes to the
/// device.
pub struct BatchSlot<D: Kernels> {
    device: D,
    layout: FieldLayout,
    current: Vec<Batch<D>>,
    next: Vec<Batch<D>>,
    /// The batch before the current one, whose memory the next will have.
    spare: Vec<Batch<D>>,
}

impl<D: Kernels> BatchSlot<D> {
    /// For batches of fields of these sizes.
    pub fn new(device: &D, layout: FieldLayout) -> Self {
        Self { device: device.clone(), layout, current: Vec::new(), next: Vec::new(), spare: Vec::new() }
    }

    /// Where batches go.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Where each field's rows lie.
    pub fn layout(&self) -> &FieldLayout {
        &self.layout
    }

    /// Indexes a batch's ids, cuts it into parts and brings them to the device.
    pub fn load(&mut self, raw: &RawBatch, parts: usize) -> &[Batch<D>] {
        let ids = self.take_ids().into_iter().next().unwrap_or_default();
        let mut whole = Assembled { raw: raw.clone(), ids };
        whole.index(&self.layout);
        let mut parts = if parts > 1 { whole.parts(parts) } else { vec![whole] };
        self.place(&mut parts);
        self.arrive();
        self.advance()
    }

    /// The indices of the batch before the current one, for their memory.
    pub fn take_ids(&mut self) -> Vec<FieldIds> {
        let empty = || Rc::new(self.device.ids(FieldIds::default()));
        let ids = self.spare.iter_mut().map(|batch| std::mem::replace(&mut batch.ids, empty()));
        ids.filter_map(Rc::into_inner).map(|ids| self.device.recycle(ids)).collect()
    }

    /// Brings the parts of the next batch to the device, beside the work on the current one; their ids move there. Nothing
    /// else may be done with them, not even given up, before they [`arrive`](Self::arrive).
    pub fn place(&mut self, parts: &mut [Assembled]) {
        let mut before = std::mem::take(&mut self.spare).into_iter();
        let device = &self.device;
        self.next = device.ahead(|| {
            let place = |Assembled { raw, ids }: &mut Assembled| {
                let before = before.next().filter(|batch| batch.rows == raw.rows);
                place(device, raw, std::mem::take(ids), before)
            };
            parts.iter_mut().map(place).collect()
        });
    }

    /// Has the device wait for the next batch, if it is not there yet.
    pub fn arrive(&self) {
        self.device.arrive();
    }

    /// Makes the next batch, which has arrived, the current one.
    pub fn advance(&mut self) -> &[Batch<D>] {
        self.spare = std::mem::replace(&mut self.current, std::mem::take(&mut self.next));
        &self.current
    }

    /// The current batch.
    pub fn current(&self) -> &[Batch<D>] {
        &self.current
    }
}

/// Brings one batch to the device, in the memory of one of the same size, if there is one.
fn place<D: Kernels>(device: &D, raw: &RawBatch, ids: FieldIds, before: Option<Batch<D>>) -> Batch<D> {
    let (rows, distinct) = (raw.rows, ids.len());
    let labels = raw.labels.chunks_exact(rows);
    let (numerical, labels) = match before {
        Some(Batch { mut numerical, labels: mut columns, .. }) => {
            device.write(&mut numerical, &raw.numerical);
            columns.iter_mut().zip(labels).for_each(|(buffer, values)| device.write(buffer, values));
            (numerical, columns)
        }
        None => (
            if raw.numerical.is_empty() { device.zeros(0) } else { device.upload(&raw.numerical) },
            labels.map(|values| device.upload(values)).collect(),
        ),
    };
    Batch { rows, ids: Rc::new(device.ids(ids)), distinct, numerical, labels }
}
