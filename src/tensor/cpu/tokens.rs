//! Means over a sample's tokens, and rows put in front of others.

use super::mixture::scale;
use super::reduce::add_one;
use crate::tensor::FieldIds;

/// Tokens of a sample: its fields and, unless it is empty, the numeric token.
fn share(ids: &FieldIds, token: usize) -> f32 {
    1.0 / (ids.fields() + usize::from(token > 0)).max(1) as f32
}

/// `out[b] = (token[b] + Σ_f E[id_f])/tokens`.
pub(super) fn mean(width: usize, ids: &FieldIds, compact: &[f32], token: &[f32], out: &mut [f32]) {
    let share = share(ids, token.len());
    for (b, out) in out.chunks_exact_mut(width).enumerate() {
        out.fill(0.0);
        for &row in ids.sample(b) {
            add_one(&compact[row as usize * width..(row as usize + 1) * width], out);
        }
        if !token.is_empty() {
            add_one(&token[b * width..(b + 1) * width], out);
        }
        out.iter_mut().for_each(|out| *out *= share);
    }
}

/// Its pull-back: each token takes its share of the samples' cotangents.
pub(super) fn mean_back(
    width: usize,
    ids: &FieldIds,
    cotangent: &[f32],
    (compact, compact_accumulate): (&mut [f32], bool),
    (token, token_accumulate): (&mut [f32], bool),
) {
    let share = share(ids, token.len());
    for (row, compact) in compact.chunks_exact_mut(width).enumerate() {
        if !compact_accumulate {
            compact.fill(0.0);
        }
        for &member in ids.members(row) {
            scale(share, &cotangent[member as usize * width..(member as usize + 1) * width], compact, true);
        }
    }
    if !token.is_empty() {
        scale(share, cotangent, token, token_accumulate);
    }
}

/// `out[b] = [row | x[b]]`.
pub(super) fn prefix(row: &[f32], x: &[f32], out: &mut [f32]) {
    let rows = (out.len() - x.len()) / row.len().max(1);
    let width = x.len() / rows.max(1);
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(row.len() + width)) {
        let (front, back) = out.split_at_mut(row.len());
        front.copy_from_slice(row);
        back.copy_from_slice(x);
    }
}

/// Its pull-back.
pub(super) fn prefix_back(
    cotangent: &[f32],
    (row, row_accumulate): (&mut [f32], bool),
    (x, x_accumulate): (&mut [f32], bool),
) {
    let rows = (cotangent.len() - x.len()) / row.len().max(1);
    let width = x.len() / rows.max(1);
    let mut sums = vec![0.0f64; row.len()];
    for (c, x) in cotangent.chunks_exact(row.len() + width).zip(x.chunks_exact_mut(width)) {
        let (front, back) = c.split_at(row.len());
        sums.iter_mut().zip(front).for_each(|(sum, c)| *sum += f64::from(*c));
        scale(1.0, back, x, x_accumulate);
    }
    for (row, sum) in row.iter_mut().zip(sums) {
        *row = if row_accumulate { *row + sum as f32 } else { sum as f32 };
    }
}
