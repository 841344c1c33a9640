//! Buffers that come back: a step allocates what the step before it gave up, so the steady state touches no new memory.

use std::cell::RefCell;
use std::collections::HashMap;

use super::{Buffer, Kernels};

/// Buffers given back between two looks at what is still of use: some ten steps' worth.
const LOOK: usize = 1 << 10;

/// A pool of buffers by exact length. What it hands out holds stale values: whoever takes a buffer overwrites it whole.
pub struct Workspace<D: Kernels> {
    device: D,
    free: RefCell<Free<D>>,
}

/// Buffers that nobody uses.
struct Free<D: Kernels> {
    by_len: HashMap<usize, Shelf<D>>,
    /// Buffers given back since the last look.
    given: usize,
}

/// Those of one length.
struct Shelf<D: Kernels> {
    buffers: Vec<Buffer<D>>,
    /// Whether any was asked for since the last look.
    asked: bool,
}

impl<D: Kernels> Default for Free<D> {
    fn default() -> Self {
        Self { by_len: HashMap::new(), given: 0 }
    }
}

impl<D: Kernels> Default for Shelf<D> {
    fn default() -> Self {
        Self { buffers: Vec::new(), asked: false }
    }
}

impl<D: Kernels> Free<D> {
    fn take(&mut self, len: usize) -> Option<Buffer<D>> {
        let shelf = self.by_len.entry(len).or_default();
        shelf.asked = true;
        shelf.buffers.pop()
    }

    /// Lengths come and go with the number of distinct ids in a batch: what nobody asks for is not kept.
    fn give(&mut self, len: usize, buffer: Buffer<D>) {
        self.by_len.entry(len).or_default().buffers.push(buffer);
        self.given += 1;
        if self.given == LOOK {
            self.given = 0;
            self.by_len.retain(|_, shelf| std::mem::take(&mut shelf.asked));
        }
    }
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
        let recycled = self.free.borrow_mut().take(len);
        recycled.unwrap_or_else(|| self.device.zeros(len))
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Buffer<D>) {
        let len = D::len(&buffer);
        self.free.borrow_mut().give(len, buffer);
    }

    /// Frees everything in the pool: for when batches of another size come.
    pub fn clear(&self) {
        *self.free.borrow_mut() = Free::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Cpu;

    #[test]
    fn what_nobody_asks_for_again_is_not_kept() {
        let workspace = Workspace::new(&Cpu::default());
        for step in 0..10 * LOOK {
            let (same, other) = (workspace.take(10), workspace.take(100 + step));
            workspace.give(same);
            workspace.give(other);
        }
        let free = workspace.free.borrow();
        assert!(free.by_len.len() <= 2 * LOOK, "{} lengths are kept", free.by_len.len());
        assert_eq!(free.by_len[&10].buffers.len(), 1);
    }
}
