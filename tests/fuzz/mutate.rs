//! New inputs out of old ones.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

/// Numbers at which something ends.
const NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "127",
    "255",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "-1e-308",
    "NaN",
    "inf",
];
const BYTES: [u8; 12] = [0, 1, b'\n', b'\r', b'"', b'\'', b',', b'(', 0x7f, 0x80, 0xff, 0xc3];

/// Makes inputs.
pub struct Mutator<'a> {
    pub rng: ChaCha8Rng,
    /// Words of the language in work.
    pub dictionary: &'a [String],
    /// Bytes of an input at most.
    pub longest: usize,
    /// How many of the corpus are seeds; they come first in it.
    pub seeds: usize,
}

impl Mutator<'_> {
    /// An input that differs from one of the corpus in a few places.
    pub fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        // sound inputs are not to drown among those that are kept for what is wrong with them
        let of = if self.rng.random_bool(0.3) { &corpus[..self.seeds] } else { corpus };
        let mut input = of.choose(&mut self.rng).cloned().unwrap_or_default();
        for _ in 0..1 << self.rng.random_range(0..4) {
            self.change(&mut input, corpus);
        }
        input.truncate(self.longest);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let rng = &mut self.rng;
        let at = rng.random_range(0..=input.len());
        let length = (rng.random_range(0..64_usize) * rng.random_range(1..16)).min(input.len() - at);
        match rng.random_range(0..11) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = *BYTES.choose(rng).unwrap_or(&0),
            2 => input.truncate(at),
            3 => drop(input.drain(at..at + length)),
            4 => {
                // elsewhere in the same input
                let piece = input[at..at + length].to_vec();
                let to = rng.random_range(0..=input.len());
                input.splice(to..to, piece);
            }
            5 => {
                let other = corpus.choose(rng).map_or(&[][..], |other| other);
                let from = rng.random_range(0..=other.len());
                let piece = &other[from..(from + 8 + length).min(other.len())];
                input.splice(at..at + length, piece.iter().copied());
            }
            6 => {
                let other = corpus.choose(rng).map_or(&[][..], |other| other);
                input.truncate(at);
                input.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
            }
            7 => {
                // over and over: nesting, and long words
                let piece = input[at..at + length.min(1 + rng.random_range(0..4_usize))].to_vec();
                let times = 1 << rng.random_range(1..12);
                input.splice(at..at, piece.repeat(times).into_iter().take(self.longest));
            }
            8 => {
                // a number where one is
                let digits = |at: usize| input[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let starts: Vec<usize> = (0..input.len())
                    .filter(|&at| input[at].is_ascii_digit() && (at == 0 || !input[at - 1].is_ascii_digit()))
                    .collect();
                if let Some(&at) = starts.choose(rng) {
                    let end = at + digits(at);
                    input.splice(at..end, NUMBERS.choose(rng).unwrap_or(&"0").bytes());
                }
            }
            9 => {
                let length = 4.min(input.len() - at);
                let number = rng.next_u32().to_le_bytes();
                input[at..at + length].copy_from_slice(&number[..length]);
            }
            _ => {
                let word = self.dictionary.choose(rng).map_or("", |word| word);
                let end = if rng.random_bool(0.5) { at } else { at + length.min(word.len()) };
                let signs = (0..input.len()).filter(|&at| b"([{,:=\"\n ".contains(&input[at])).map(|at| at + 1);
                match signs.collect::<Vec<_>>().choose(rng) {
                    // where another word begins
                    Some(&at) if rng.random_bool(0.5) => input.splice(at..at, word.bytes()),
                    _ => input.splice(at..end, word.bytes()),
                };
            }
        }
    }
}
