//! Counter-based randomness for dropout: the mask of an element depends on (seed, step, layer, element) alone, so it is
//! the same on any number of threads, after a resume, and in a second forward pass of the same step.

/// What the masks of one operation in one step derive from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u32, u32);

impl Key {
    /// The key of a training step.
    pub fn of_step(seed: u64, step: u64) -> Self {
        let mixed = splitmix(seed ^ splitmix(step.wrapping_add(0x9E37_79B9_7F4A_7C15)));
        Self(mixed as u32, (mixed >> 32) as u32)
    }

    /// The key of a pass before the step's own.
    pub fn before(self) -> Self {
        self.of_operation(usize::MAX)
    }

    /// The key of a part of the step's batch; the first part's is the step's own.
    pub fn of_part(self, part: usize) -> Self {
        if part == 0 { self } else { self.of_operation(usize::MAX - part) }
    }

    /// Its two words, for kernels that are not written in Rust.
    #[cfg(any(test, feature = "cuda"))]
    pub(super) fn words(self) -> [u32; 2] {
        [self.0, self.1]
    }

    /// The key of one operation in that step.
    pub fn of_operation(self, index: usize) -> Self {
        let mixed = splitmix((u64::from(self.1) << 32 | u64::from(self.0)) ^ splitmix(index as u64));
        Self(mixed as u32, (mixed >> 32) as u32)
    }
}

/// SplitMix64's output function (Steele, Lea & Flood, OOPSLA 2014).
fn splitmix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// 32 random bits for element `index` under `key`: a 32-bit mixer that compilers vectorise.
#[inline(always)]
pub fn element_hash(key: Key, index: u32) -> u32 {
    let mut x = index.wrapping_mul(0x9E37_79B9) ^ key.0;
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x = (x ^ key.1 ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// Below this hash an element is dropped, for a drop share in `[0, 1)`.
pub(crate) fn drop_threshold(share: f32) -> u32 {
    (f64::from(share) * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_the_right_share_and_differ_between_steps_and_operations() {
        let share = 0.2;
        let dropped =
            |key: Key| -> Vec<bool> { (0..100_000).map(|i| element_hash(key, i) < drop_threshold(share)).collect() };
        let a = dropped(Key::of_step(1, 0).of_operation(3));
        let count = a.iter().filter(|&&d| d).count() as f64;
        assert!((count / 1e5 - 0.2).abs() < 0.005, "{count}");
        for other in
            [Key::of_step(1, 1).of_operation(3), Key::of_step(1, 0).of_operation(4), Key::of_step(2, 0).of_operation(3)]
        {
            let both = a.iter().zip(dropped(other)).filter(|(a, b)| **a && *b).count() as f64;
            assert!((both / 1e5 - 0.04).abs() < 0.005, "masks of different keys are independent: {both}");
        }
        // neighbours and columns of a power-of-two stride are independent too
        for lag in [1, 512, 4096] {
            let both = a.iter().zip(&a[lag..]).filter(|(a, b)| **a && **b).count() as f64;
            assert!((both / (1e5 - lag as f64) - 0.04).abs() < 0.005, "lag {lag}: {both}");
        }
    }
}
