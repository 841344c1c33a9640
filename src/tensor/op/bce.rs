//! Binary cross-entropy on logits: the loss of every task.

use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// Mean binary cross-entropy of B logits against B labels in {0, 1}, in nats: the scalar to differentiate, and its value
/// in f64.
pub fn bce<D: Kernels>(tape: &Tape<D>, logits: Var<(usize,)>, labels: Var<(usize,)>) -> (Var<()>, f64) {
    let loss = tape.device().bce(&tape.value(logits), &tape.value(labels));
    let mut value = tape.workspace().take(1);
    tape.device().write(&mut value, &[loss as f32]);
    (tape.record(value, (), Bce { logits: logits.node, labels: labels.node }), loss)
}

struct Bce {
    logits: NodeId,
    labels: NodeId,
}

impl<D: Kernels> Op<D> for Bce {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.logits], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let mut logits = pull.cotangent(self.logits);
        pull.device().bce_back(pull.value(self.logits), pull.value(self.labels), &cotangent, logits.sink());
        pull.put_cotangent(self.logits, logits);
        pull.workspace().give(cotangent);
    }
}
