//! Rows in the order of their scores, as the ranking metrics need them.

/// One key a row, unsorted, that orders as the score does: the score above, the label in the lowest bit. −0 and 0 are
/// the same. `None` with a score that is not a number; a label is positive unless 0.
pub(super) fn keys(scores: &[f32], labels: &[u8]) -> Option<Vec<u64>> {
    let key = |(&score, &label): (&f32, &u8)| {
        (!score.is_nan()).then(|| u64::from(in_order(score)) << 1 | u64::from(label != 0))
    };
    scores.iter().zip(labels).map(key).collect()
}

/// The runs of sorted keys that have the same score, worst first: how many rows, how many of them positive.
pub(super) fn ties(sorted: &[u64]) -> impl DoubleEndedIterator<Item = (u64, u64)> {
    let tie = |tied: &[u64]| (tied.len() as u64, tied.iter().map(|key| key & 1).sum());
    sorted.chunk_by(|a, b| a >> 1 == b >> 1).map(tie)
}

/// An integer that orders as the number does.
fn in_order(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}
