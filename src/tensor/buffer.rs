//! Flat buffers: on the CPU rank-1 dfdx tensors, and the one place that looks at their memory directly.

use dfdx::tensor::Cpu;

use super::Kernels;

/// `len` f32 values on device `D`.
pub type Buffer<D> = <D as Kernels>::Buffer;

/// Slices of a CPU buffer; dfdx offers single elements only.
pub trait CpuSlice {
    /// All values.
    fn slice(&self) -> &[f32];
    /// All values, writable; copies first when the buffer is shared.
    fn slice_mut(&mut self) -> &mut [f32];
}

impl CpuSlice for Buffer<Cpu> {
    fn slice(&self) -> &[f32] {
        let len = dfdx::shapes::HasShape::shape(self).0;
        if len == 0 {
            return &[];
        }
        // SAFETY: a `Buffer` is only ever made by `Kernels::zeros`/`upload` below, as a fresh contiguous tensor of shape
        // `(len,)` with stride 1, whose storage is a `Vec` of exactly `len` elements; dfdx's `Index` yields a reference
        // to its first element, so `len` elements follow it in the same allocation, and they stay put and unchanged
        // while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(&raw const self[[0]], len) }
    }

    fn slice_mut(&mut self) -> &mut [f32] {
        let len = dfdx::shapes::HasShape::shape(self).0;
        if len == 0 {
            return &mut [];
        }
        // SAFETY: as above; dfdx's `IndexMut` first makes the storage unique (`Arc::make_mut`), and `self` is borrowed
        // mutably for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(&raw mut self[[0]], len) }
    }
}
