//! Logits of products and mixtures of probabilities, in f64: B numbers each, so exactness is cheap.

/// `σ(x)`.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(e^u + e^v + e^w)` for the three ways in which not both of two events happen, as odds; and the share of each.
fn odds_against(a: f64, b: f64) -> (f64, [f64; 3]) {
    // 1/(σ(a)·σ(b)) − 1 = e^−a + e^−b + e^−(a+b)
    let terms = [-a, -b, -a - b];
    let most = terms.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let shares = terms.map(|term| (term - most).exp());
    let sum: f64 = shares.iter().sum();
    (most + sum.ln(), shares.map(|share| share / sum))
}

/// `out = logit(σ(a)·σ(b))`.
pub(super) fn product_logits(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        *out = -odds_against(f64::from(*a), f64::from(*b)).0 as f32;
    }
}

/// Its pull-back to a.
pub(super) fn product_logits_back(a: &[f32], b: &[f32], c: &[f32], (sink, accumulate): (&mut [f32], bool)) {
    for (((a, b), c), sink) in a.iter().zip(b).zip(c).zip(sink) {
        let (_, [of_a, _, of_both]) = odds_against(f64::from(*a), f64::from(*b));
        let gradient = (f64::from(*c) * (of_a + of_both)) as f32;
        *sink = if accumulate { *sink + gradient } else { gradient };
    }
}

/// Keeps a mixture's probability where its logit is finite.
const LEAST: f64 = 1e-30;

/// `out[b] = logit(scale·Σ_c gate[b, c]·σ(x[c, b]))`.
pub(super) fn mixture_logits(scale: f32, gate: &[f32], x: &[f32], out: &mut [f32]) {
    let batch = out.len();
    for (b, out) in out.iter_mut().enumerate() {
        let (p, rest) = mixture(scale, (gate, x), batch, b);
        *out = (p.ln() - rest.ln()) as f32;
    }
}

/// The mixture's probability of sample b, and of the contrary.
fn mixture(scale: f32, (gate, x): (&[f32], &[f32]), batch: usize, b: usize) -> (f64, f64) {
    let critics = gate.len() / batch;
    let scale = f64::from(scale);
    let (mut p, mut rest, mut total) = (0.0, 0.0, 0.0);
    for c in 0..critics {
        let (weight, x) = (f64::from(gate[b * critics + c]), f64::from(x[c * batch + b]));
        p += scale * weight * sigmoid(x);
        rest += scale * weight * sigmoid(-x);
        total += scale * weight;
    }
    (p.max(LEAST), (1.0 - total + rest).max(LEAST))
}

/// Its pull-back.
pub(super) fn mixture_logits_back(
    scale: f32,
    (gate, x): (&[f32], &[f32]),
    cotangent: &[f32],
    (gate_sink, gate_accumulate): (&mut [f32], bool),
    (x_sink, x_accumulate): (&mut [f32], bool),
) {
    let batch = cotangent.len();
    let critics = gate.len() / batch;
    for (b, c) in cotangent.iter().enumerate() {
        let (p, rest) = mixture(scale, (gate, x), batch, b);
        // dz = dp·(1/p + 1/(1 − p))
        let dp = f64::from(*c) * f64::from(scale) * (1.0 / p + 1.0 / rest);
        for j in 0..critics {
            let (at, to) = (b * critics + j, j * batch + b);
            let s = sigmoid(f64::from(x[to]));
            let (d_gate, d_x) = ((dp * s) as f32, (dp * f64::from(gate[at]) * s * (1.0 - s)) as f32);
            gate_sink[at] = if gate_accumulate { gate_sink[at] + d_gate } else { d_gate };
            x_sink[to] = if x_accumulate { x_sink[to] + d_x } else { d_x };
        }
    }
}
