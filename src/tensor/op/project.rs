//! A linear map without bias.

use dfdx::shapes::Dim;

use crate::tensor::{Buffer, Kernels, Matrix, NodeId, Op, ParamId, Product, Pull, Tape, Var};

/// B×I times a matrix of I×O.
pub fn project<I: Dim, O: Dim, D: Kernels>(
    tape: &Tape<D>,
    x: Var<(usize, I)>,
    weight: ParamId,
    out: O,
) -> Var<(usize, O)> {
    let (batch, inputs) = x.shape;
    let op = Project { x: x.node, weight, batch, inputs: inputs.size(), outputs: out.size() };
    let mut y = tape.workspace().take(batch * out.size());
    tape.device().product(&op.forward(), &tape.value(x), &tape.params()[weight].value, &mut y);
    tape.record(y, (batch, out), op)
}

struct Project {
    x: NodeId,
    weight: ParamId,
    batch: usize,
    inputs: usize,
    outputs: usize,
}

impl Project {
    fn forward(&self) -> Product {
        Product {
            batch: 1,
            m: self.batch,
            k: self.inputs,
            n: self.outputs,
            a: Matrix::row_major(self.inputs),
            b: Matrix::row_major(self.outputs),
            c: Matrix::row_major(self.outputs),
            accumulate: false,
        }
    }

    /// `xᵀ·c`.
    fn weight_back(&self, accumulate: bool) -> Product {
        let Product { a, c, .. } = self.forward();
        Product { m: self.inputs, k: self.batch, a: a.transposed(), b: c, accumulate, ..self.forward() }
    }

    /// `c·Wᵀ`.
    fn input_back(&self, accumulate: bool) -> Product {
        let Product { a, b, c, .. } = self.forward();
        Product { k: self.outputs, n: self.inputs, a: c, b: b.transposed(), c: a, accumulate, ..self.forward() }
    }
}

impl<D: Kernels> Op<D> for Project {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x], vec![self.weight])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let mut weight = pull.gradient(self.weight, self.inputs * self.outputs);
        let sink = weight.sink();
        pull.device().product(&self.weight_back(sink.accumulate), pull.value(self.x), &cotangent, sink.buffer);
        pull.put_gradient(self.weight, weight);
        if pull.wants(self.x) {
            let mut x = pull.cotangent(self.x);
            let sink = x.sink();
            pull.device().product(&self.input_back(sink.accumulate), &cotangent, pull.param(self.weight), sink.buffer);
            pull.put_cotangent(self.x, x);
        }
        pull.workspace().give(cotangent);
    }
}
