//! Values put together and taken apart: sums, stacks, a row in front of others.

use dfdx::shapes::{Dim, Shape};

use crate::tensor::kernels::Sink;
use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// `a + b`.
pub fn add<S: Shape, D: Kernels>(tape: &Tape<D>, a: Var<S>, b: Var<S>) -> Var<S> {
    let len = a.shape.num_elements();
    let mut out = tape.workspace().take(len);
    for (from, accumulate) in [(a, false), (b, true)] {
        tape.device().copy(len, (&tape.value(from), 0), (Sink { buffer: &mut out, accumulate }, 0));
    }
    tape.record(out, a.shape, Add { terms: [a.node, b.node] })
}

struct Add {
    terms: [NodeId; 2],
}

impl<D: Kernels> Op<D> for Add {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (self.terms.to_vec(), vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let len = D::len(&cotangent);
        let mut first = pull.cotangent(self.terms[0]);
        pull.device().copy(len, (&cotangent, 0), (first.sink(), 0));
        pull.put_cotangent(self.terms[0], first);
        pull.deposit(self.terms[1], cotangent);
    }
}

/// E values of B×N as a bank of E×B×N.
pub fn stack<N: Dim, D: Kernels>(tape: &Tape<D>, parts: &[Var<(usize, N)>]) -> Var<(usize, usize, N)> {
    let (batch, cols) = parts[0].shape;
    let len = batch * cols.size();
    let mut out = tape.workspace().take(parts.len() * len);
    let parts: Vec<_> = parts.iter().map(|part| tape.fitted("a stack", *part, (batch, cols))).collect();
    for (e, part) in parts.iter().enumerate() {
        let sink = Sink { buffer: &mut out, accumulate: false };
        tape.device().copy(len, (&tape.value(*part), 0), (sink, e * len));
    }
    let op = Stack { parts: parts.iter().map(|part| part.node).collect(), len };
    tape.record(out, (parts.len(), batch, cols), op)
}

struct Stack {
    parts: Vec<NodeId>,
    len: usize,
}

impl<D: Kernels> Op<D> for Stack {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (self.parts.clone(), vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        for (e, part) in self.parts.iter().enumerate().filter(|(_, part)| pull.wants(**part)).collect::<Vec<_>>() {
            let mut slot = pull.cotangent(*part);
            pull.device().copy(self.len, (&cotangent, e * self.len), (slot.sink(), 0));
            pull.put_cotangent(*part, slot);
        }
        pull.workspace().give(cotangent);
    }
}

/// One row in front of every row: `[row | x[b]]`, B×(R + N).
pub fn prefix_rows<R: Dim, N: Dim, D: Kernels>(
    tape: &Tape<D>,
    row: Var<(R,)>,
    x: Var<(usize, N)>,
) -> Var<(usize, usize)> {
    let (batch, cols) = x.shape;
    let width = row.shape.0.size() + cols.size();
    let mut out = tape.workspace().take(batch * width);
    tape.device().prefix_rows(&tape.value(row), &tape.value(x), &mut out);
    tape.record(out, (batch, width), Prefix { row: row.node, x: x.node })
}

struct Prefix {
    row: NodeId,
    x: NodeId,
}

impl<D: Kernels> Op<D> for Prefix {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.row, self.x], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let (mut row, mut x) = (pull.cotangent(self.row), pull.cotangent(self.x));
        pull.device().prefix_rows_back(&cotangent, row.sink(), x.sink());
        pull.put_cotangent(self.row, row);
        pull.put_cotangent(self.x, x);
        pull.workspace().give(cotangent);
    }
}
