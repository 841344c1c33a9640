//! Linear maps, one or a bank of them: `y[e] = x[e]·W[e] + b[e]`, weights stored inputs×outputs.

use dfdx::shapes::Dim;

use crate::tensor::{Buffer, Kernels, Matrix, NodeId, Op, ParamId, Product, Pull, Tape, Var};

/// E×B×I times a bank of E maps I→O.
pub fn bank_linear<I: Dim, O: Dim, D: Kernels>(
    tape: &Tape<D>,
    x: Var<(usize, usize, I)>,
    weight: ParamId,
    bias: ParamId,
    out: O,
) -> Var<(usize, usize, O)> {
    let (groups, batch, inputs) = x.shape;
    let op =
        Linear { x: x.node, weight, bias, groups, shared: false, batch, inputs: inputs.size(), outputs: out.size() };
    let y = op.forward(tape);
    tape.record(y, (groups, batch, out), op)
}

/// B×I times each of a bank of E maps I→O: E×B×O.
pub fn shared_linear<I: Dim, O: Dim, D: Kernels>(
    tape: &Tape<D>,
    x: Var<(usize, I)>,
    groups: usize,
    weight: ParamId,
    bias: ParamId,
    out: O,
) -> Var<(usize, usize, O)> {
    let (batch, inputs) = x.shape;
    let op =
        Linear { x: x.node, weight, bias, groups, shared: true, batch, inputs: inputs.size(), outputs: out.size() };
    let y = op.forward(tape);
    tape.record(y, (groups, batch, out), op)
}

struct Linear {
    x: NodeId,
    weight: ParamId,
    bias: ParamId,
    groups: usize,
    /// Whether all maps of the bank take the same input.
    shared: bool,
    batch: usize,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    fn x(&self) -> Matrix {
        Matrix::row_major(self.inputs).every(if self.shared { 0 } else { self.batch * self.inputs })
    }

    fn y(&self) -> Matrix {
        Matrix::row_major(self.outputs).every(self.batch * self.outputs)
    }

    fn w(&self) -> Matrix {
        Matrix::row_major(self.outputs).every(self.inputs * self.outputs)
    }

    fn forward<D: Kernels>(&self, tape: &Tape<D>) -> Buffer<D> {
        let mut y = tape.workspace().take(self.groups * self.batch * self.outputs);
        let product = Product {
            batch: self.groups,
            m: self.batch,
            k: self.inputs,
            n: self.outputs,
            a: self.x(),
            b: self.w(),
            c: self.y(),
            accumulate: false,
        };
        let params = tape.params();
        tape.device().product(&product, &tape.node_value(self.x), &params[self.weight].value, &mut y);
        tape.device().add_bias(self.groups, self.batch, &params[self.bias].value, &mut y);
        y
    }
}

impl<D: Kernels> Op<D> for Linear {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x], vec![self.weight, self.bias])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let mut dw = pull.gradient(self.weight, self.groups * self.inputs * self.outputs);
        let sink = dw.sink();
        let product = Product {
            batch: self.groups,
            m: self.inputs,
            k: self.batch,
            n: self.outputs,
            a: self.x().transposed(),
            b: self.y(),
            c: self.w(),
            accumulate: sink.accumulate,
        };
        pull.device().product(&product, pull.value(self.x), &cotangent, sink.buffer);
        pull.put_gradient(self.weight, dw);

        let mut db = pull.gradient(self.bias, self.groups * self.outputs);
        pull.device().column_sums(self.groups, self.batch, &cotangent, db.sink());
        pull.put_gradient(self.bias, db);

        if pull.wants(self.x) {
            let mut dx = pull.cotangent(self.x);
            let sink = dx.sink();
            // maps that share an input add up there, one after the other
            let (batch, rounds) = if self.shared { (1, self.groups) } else { (self.groups, 1) };
            for e in 0..rounds {
                let product = Product {
                    batch,
                    m: self.batch,
                    k: self.outputs,
                    n: self.inputs,
                    a: self.y().skip(e),
                    b: self.w().skip(e).transposed(),
                    c: self.x(),
                    accumulate: sink.accumulate || e > 0,
                };
                pull.device().product(&product, &cotangent, pull.param(self.weight), sink.buffer);
            }
            pull.put_cotangent(self.x, dx);
        }
        pull.workspace().give(cotangent);
    }
}
