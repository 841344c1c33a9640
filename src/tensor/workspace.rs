//! Buffers that come back: a step allocates what the step before it gave up, so the steady state touches no new memory.

use std::cell::RefCell;
use std::collections::HashMap;

use super::{Buffer, Kernels};

/// A pool of buffers by exact length. What it hands out holds stale values: whoever takes a buffer overwrites it whole.
pub struct Workspace<D: Kernels> {
    device: D,
    free: RefCell<HashMap<usize, Vec<Buffer<D>>>>,
}

impl<D: Kernels> Workspace<D> {
    /// An empty pool on a device.
    pub fn new(device: &D) -> Self {
        Self { device: device.clone(), free: RefCell::default() }
    }

    /// The device the buffers live on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// A buffer of `len` values of no particular content.
    pub fn take(&self, len: usize) -> Buffer<D> {
        let recycled = self.free.borrow_mut().get_mut(&len).and_then(Vec::pop);
        recycled.unwrap_or_else(|| self.device.zeros(len))
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Buffer<D>) {
        let len = D::len(&buffer);
        self.free.borrow_mut().entry(len).or_default().push(buffer);
    }

    /// Frees everything in the pool: for when batches of another size come.
    pub fn clear(&self) {
        self.free.borrow_mut().clear();
    }
}
