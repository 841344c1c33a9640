//! The mean over a sample's tokens.

use std::rc::Rc;

use dfdx::shapes::Dim;

use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// The mean of a sample's field embeddings and its numeric token: B×D. `compact` holds the embeddings of the batch's
/// distinct ids, `token` the numeric tokens (none: 0×D).
pub fn mean_token<E: Dim, D: Kernels>(
    tape: &Tape<D>,
    ids: &Rc<D::Ids>,
    batch: usize,
    compact: Var<(usize, E)>,
    token: Var<(usize, E)>,
) -> Var<(usize, E)> {
    let width = compact.shape.1;
    let mut out = tape.workspace().take(batch * width.size());
    tape.device().mean_token(width.size(), ids, &tape.value(compact), &tape.value(token), &mut out);
    let op = MeanToken::<D> { ids: Rc::clone(ids), compact: compact.node, token: token.node, width: width.size() };
    tape.record(out, (batch, width), op)
}

struct MeanToken<D: Kernels> {
    ids: Rc<D::Ids>,
    compact: NodeId,
    token: NodeId,
    width: usize,
}

impl<D: Kernels> Op<D> for MeanToken<D> {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.compact, self.token], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let (mut compact, mut token) = (pull.cotangent(self.compact), pull.cotangent(self.token));
        pull.device().mean_token_back(self.width, &self.ids, &cotangent, compact.sink(), token.sink());
        pull.put_cotangent(self.compact, compact);
        pull.put_cotangent(self.token, token);
        pull.workspace().give(cotangent);
    }
}
