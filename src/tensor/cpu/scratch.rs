//! Memory for the inside of a kernel: each thread keeps what it used, so that the steady state touches no new pages.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static KEPT: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A slice of stale values that goes back to its thread when dropped.
pub(super) struct Scratch {
    values: Vec<f32>,
    len: usize,
}

impl Scratch {
    /// `len` values of no particular content.
    pub(super) fn take(len: usize) -> Self {
        let mut values = KEPT.with_borrow_mut(|kept| {
            // the smallest that is large enough; failing that, the largest grows
            let fitting = (0..kept.len()).filter(|&i| kept[i].len() >= len).min_by_key(|&i| kept[i].len());
            let chosen = fitting.or_else(|| (0..kept.len()).max_by_key(|&i| kept[i].len()));
            chosen.map(|i| kept.swap_remove(i)).unwrap_or_default()
        });
        if values.len() < len {
            values = vec![0.0; len];
        }
        Self { values, len }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // a thread that ends has dropped what it kept
        let _ = KEPT.try_with(|kept| kept.borrow_mut().push(values));
    }
}
