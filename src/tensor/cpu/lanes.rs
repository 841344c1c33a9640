//! Arithmetic for the inside of vectorised loops.

/// Inner product over independent lanes, in a fixed order.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (ys, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in xs.iter().zip(ys) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let rest: f32 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The logistic function. Below −87 and above 87 it stays what it is there: 10⁻³⁸ from its limits.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `eˣ` to two units in the last place for |x| ≤ 87, without branches or calls: the library's would end vectorisation.
/// (The polynomial is the one of `expf` in Moshier's Cephes.)
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5·2²³: a sum with it is rounded to an integer, which its lowest bits hold.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with so few bits that small multiples of it are exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2.0 - n * LN_2.1;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let two_to_n = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (p * r * r + r + 1.0) * two_to_n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_two_units_in_the_last_place() {
        for i in -86_999..=86_999 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "e^{x}: {error:e}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(sigmoid(-1e9) < 1e-37 && sigmoid(1e9) == 1.0 && sigmoid(0.0) == 0.5);
    }
}
