//! Logits of probabilities that are products or mixtures, so that every loss can be computed from logits.

use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// `logit(σ(a)·σ(b))`: the logit of two events that both happen.
pub fn product_logits<D: Kernels>(tape: &Tape<D>, a: Var<(usize,)>, b: Var<(usize,)>) -> Var<(usize,)> {
    let mut out = tape.workspace().take(a.shape.0);
    tape.device().product_logits(&tape.value(a), &tape.value(b), &mut out);
    tape.record(out, a.shape, Product { a: a.node, b: b.node })
}

struct Product {
    a: NodeId,
    b: NodeId,
}

impl<D: Kernels> Op<D> for Product {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.a, self.b], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        for (of, other) in [(self.a, self.b), (self.b, self.a)] {
            let mut slot = pull.cotangent(of);
            pull.device().product_logits_back(pull.value(of), pull.value(other), &cotangent, slot.sink());
            pull.put_cotangent(of, slot);
        }
        pull.workspace().give(cotangent);
    }
}

/// `logit(scale·Σ_c gate[b, c]·σ(x[c, b]))`: the logit of a gated mixture of C critics, gate B×C, x C×B.
pub fn mixture_logits<D: Kernels>(
    tape: &Tape<D>,
    gate: Var<(usize, usize)>,
    x: Var<(usize, usize)>,
    scale: f32,
) -> Var<(usize,)> {
    let (critics, batch) = x.shape;
    let gate = tape.fitted("critic gate", gate, (batch, critics));
    let mut out = tape.workspace().take(batch);
    tape.device().mixture_logits(scale, &tape.value(gate), &tape.value(x), &mut out);
    tape.record(out, (batch,), Mixture { gate: gate.node, x: x.node, scale })
}

struct Mixture {
    gate: NodeId,
    x: NodeId,
    scale: f32,
}

impl<D: Kernels> Op<D> for Mixture {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.gate, self.x], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let (mut gate, mut x) = (pull.cotangent(self.gate), pull.cotangent(self.x));
        let inputs = (pull.value(self.gate), pull.value(self.x));
        pull.device().mixture_logits_back(self.scale, inputs, &cotangent, gate.sink(), x.sink());
        pull.put_cotangent(self.gate, gate);
        pull.put_cotangent(self.x, x);
        pull.workspace().give(cotangent);
    }
}
