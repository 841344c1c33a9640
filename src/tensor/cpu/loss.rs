//! Binary cross-entropy on logits.

/// Mean of `softplus(z) − y·z`, in f64.
pub(super) fn bce(logits: &[f32], labels: &[f32]) -> f64 {
    let sum: f64 = logits
        .iter()
        .zip(labels)
        .map(|(&z, &y)| {
            let (z, y) = (f64::from(z), f64::from(y));
            z.max(0.0) - z * y + (-z.abs()).exp().ln_1p()
        })
        .sum();
    sum / logits.len() as f64
}

/// `sink (+)= cotangent·(σ(z) − y)/B`.
pub(super) fn bce_back(logits: &[f32], labels: &[f32], cotangent: f32, sink: &mut [f32], accumulate: bool) {
    let scale = cotangent / logits.len() as f32;
    for ((sink, z), y) in sink.iter_mut().zip(logits).zip(labels) {
        let gradient = scale * (sigmoid(*z) - y);
        *sink = if accumulate { *sink + gradient } else { gradient };
    }
}

/// The logistic function, without overflow.
pub(super) fn sigmoid(z: f32) -> f32 {
    let e = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}
