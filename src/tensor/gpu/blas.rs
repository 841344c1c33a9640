//! Products as a BLAS takes them: column by column, one of the two strides of each factor being 1.

use crate::tensor::{Matrix, Product};

/// A call of a strided batched `gemm` on column-major matrices. Row-major C = A·B is column-major Cᵀ = Bᵀ·Aᵀ, so B comes
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) struct Call {
    pub batch: usize,
    /// Rows of the result, columns of C.
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub first: Factor,
    pub second: Factor,
    pub result: Factor,
}

/// A column-major matrix: where it starts, whether it is taken transposed, and its strides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) struct Factor {
    pub offset: usize,
    pub transposed: bool,
    /// Distance between columns.
    pub leading: usize,
    /// Distance between the matrices of a batch.
    pub stride: usize,
}

impl Factor {
    /// A row-major rows×cols matrix, read as its column-major transpose.
    fn of(matrix: Matrix, rows: usize, cols: usize) -> Self {
        let Matrix { offset, row, col, batch } = matrix;
        // the stride along an extent of one means nothing
        if col == 1 || cols == 1 {
            return Self { offset, transposed: false, leading: if rows == 1 { cols } else { row }, stride: batch };
        }
        assert!(row == 1 || rows == 1, "rows or columns of a factor are contiguous");
        Self { offset, transposed: true, leading: col, stride: batch }
    }
}

impl Call {
    /// The call for a product.
    pub fn of(p: &Product) -> Self {
        Self {
            batch: p.batch,
            m: p.n,
            n: p.m,
            k: p.k,
            first: Factor::of(p.b, p.k, p.n),
            second: Factor::of(p.a, p.m, p.k),
            result: Factor::of(p.c, p.m, p.n),
        }
    }

    /// What a BLAS insists on.
    #[cfg(test)]
    pub fn check(&self) {
        let rows = |factor: &Factor, plain: usize, transposed: usize| {
            if factor.transposed { transposed } else { plain }
        };
        assert!(self.first.leading >= rows(&self.first, self.m, self.k), "{self:?}");
        assert!(self.second.leading >= rows(&self.second, self.k, self.n), "{self:?}");
        assert!(!self.result.transposed && self.result.leading >= self.m, "{self:?}");
    }
}
