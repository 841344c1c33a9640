//! The gated sum of a mixture of experts.

use std::ops::Range;

use dfdx::shapes::Dim;

use crate::tensor::kernels::{MixShape, Sink};
use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// Some experts of a bank, as candidates of a gate.
#[derive(Debug, Clone)]
pub struct Candidates<N: Dim> {
    bank: Var<(usize, usize, N)>,
    experts: Range<usize>,
    stopped: bool,
}

impl<N: Dim> Candidates<N> {
    /// Every expert of a bank.
    pub fn all(bank: Var<(usize, usize, N)>) -> Self {
        Self { bank, experts: 0..bank.shape.0, stopped: false }
    }

    /// These experts of a bank.
    pub fn some(bank: Var<(usize, usize, N)>, experts: Range<usize>) -> Self {
        Self { bank, experts, stopped: false }
    }

    /// How many experts there are in a list.
    pub fn count(candidates: &[Self]) -> usize {
        candidates.iter().map(|part| part.experts.len()).sum()
    }

    /// The same, with no gradient into the experts from this gate.
    pub fn stopped(self) -> Self {
        Self { stopped: true, ..self }
    }
}

/// `h[b] = Σ_j gate[b, j]·x_j[b]`: a gate of B×J over J candidates of width N, in the order given.
pub fn mix<N: Dim, D: Kernels>(
    tape: &Tape<D>,
    gate: Var<(usize, usize)>,
    candidates: &[Candidates<N>],
) -> Var<(usize, N)> {
    let (_, batch, cols) = candidates[0].bank.shape;
    let gate = tape.fitted("a gate", gate, (batch, Candidates::count(candidates)));
    let mut out = tape.workspace().take(batch * cols.size());
    let mut parts = Vec::with_capacity(candidates.len());
    let mut first = 0;
    for Candidates { bank, experts, stopped } in candidates.iter().cloned() {
        let bank = tape.fitted("a candidate's bank", bank, (bank.shape.0, batch, cols));
        let count = experts.len();
        let shape = MixShape { batch, cols: cols.size(), experts, gate: gate.shape.1, first };
        let sink = Sink { buffer: &mut out, accumulate: first > 0 };
        tape.device().mix(&shape, &tape.value(gate), &tape.value(bank), sink);
        parts.push(Part { bank: bank.node, whole: bank.shape.0 == count, shape, stopped });
        first += count;
    }
    tape.record(out, (batch, cols), Mix { gate: gate.node, parts })
}

struct Part {
    bank: NodeId,
    /// Whether these are all experts of the bank.
    whole: bool,
    shape: MixShape,
    stopped: bool,
}

struct Mix {
    gate: NodeId,
    parts: Vec<Part>,
}

impl<D: Kernels> Op<D> for Mix {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        let banks = self.parts.iter().filter(|part| !part.stopped).map(|part| part.bank);
        (std::iter::once(self.gate).chain(banks).collect(), vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let mut gate = pull.cotangent(self.gate);
        for part in &self.parts {
            let mut bank = (!part.stopped).then(|| pull.cotangent(part.bank));
            if let Some(bank) = &mut bank
                && !part.whole
            {
                // the other experts of the bank get nothing from here
                bank.clear(pull.device());
            }
            let inputs = (pull.value(self.gate), pull.value(part.bank));
            let sink = bank.as_mut().map(|bank| bank.sink());
            pull.device().mix_back(&part.shape, inputs, &cotangent, gate.sink(), sink);
            if let Some(bank) = bank {
                pull.put_cotangent(part.bank, bank);
            }
        }
        pull.put_cotangent(self.gate, gate);
        pull.workspace().give(cotangent);
    }
}
