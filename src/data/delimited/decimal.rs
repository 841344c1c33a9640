//! Numbers as logs write them, read from the bytes at once. Whatever else a number may look like (exponents, signs,
//! dozens of digits) is left to the standard library, and so is every number that this quick way could round wrongly.

/// Digits that always fit an `i64`.
const MOST_DIGITS: usize = 18;

/// The powers of ten.
const POWERS: [i64; MOST_DIGITS + 1] = {
    let mut powers = [1; MOST_DIGITS + 1];
    let mut at = 1;
    while at <= MOST_DIGITS {
        powers[at] = 10 * powers[at - 1];
        at += 1;
    }
    powers
};

/// What one is, divided by the powers of ten.
const FRACTIONS: [f64; MOST_DIGITS + 1] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15, 1e-16, 1e-17,
    1e-18,
];

/// The `f32` nearest to plain decimals: digits, with a point among them or without, after a minus or nothing.
///
/// Digits, fraction and their product are rounded to `f64` once each: the product is hardly more than three units in the
/// last place from the true value. Rounding it to `f32` is then right unless it lies that near to the middle between two
/// `f32`.
#[inline]
pub(super) fn float(text: &[u8], start: usize, end: usize) -> Option<f32> {
    const DROPPED: u32 = f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS;
    const MIDDLE: u64 = 1 << (DROPPED - 1);
    const NEAR: u64 = 4;
    let negative = text.get(start) == Some(&b'-');
    let start = start + usize::from(negative);
    let (whole, decimals) = match text.get(start..end)? {
        [digit @ b'0'..=b'9', b'.', decimals @ ..] if decimals.len() < MOST_DIGITS => {
            let low = match decimals.len() {
                count @ 1..=8 => last_digits(text, end, count)?,
                _ => digits(text, start + 2, end)?,
            };
            (i64::from(digit - b'0') * POWERS[decimals.len()] + low, decimals.len())
        }
        field => match field.iter().position(|byte| *byte == b'.') {
            None => (digits(text, start, end)?, 0),
            Some(_) if field.len() > MOST_DIGITS + 1 => return None,
            Some(point) => {
                let decimals = field.len() - point - 1;
                let high = digits(text, start, start + point)?;
                (high * POWERS[decimals] + digits(text, start + point + 1, end)?, decimals)
            }
        },
    };
    let value = whole as f64 * FRACTIONS[decimals];
    let dropped = value.to_bits() & ((1 << DROPPED) - 1);
    if dropped.abs_diff(MIDDLE) <= NEAR {
        return None;
    }
    Some(if negative { -value as f32 } else { value as f32 })
}

/// The integer that these 1 to 18 digits are.
#[inline]
pub(super) fn digits(text: &[u8], start: usize, end: usize) -> Option<i64> {
    match end.checked_sub(start)? {
        0 => None,
        count @ ..=8 => last_digits(text, end, count),
        count @ ..=16 => Some(last_digits(text, end - 8, count - 8)? * 100_000_000 + last_digits(text, end, 8)?),
        count @ ..=MOST_DIGITS => {
            let (high, middle) = (last_digits(text, end - 16, count - 16)?, last_digits(text, end - 8, 8)?);
            Some((high * 100_000_000 + middle) * 100_000_000 + last_digits(text, end, 8)?)
        }
        _ => None,
    }
}

/// The integer that the 1 to 8 digits before `end` are, all at once: the eight bytes before `end` are one word, whose
/// bytes before the digits become zeros; then pairs of digits, of pairs and of fours are put together.
#[inline(always)]
fn last_digits(text: &[u8], end: usize, count: usize) -> Option<i64> {
    let word = u64::from_le_bytes(*text.get(..end)?.last_chunk()?);
    let unwanted = 64 - 8 * count as u32;
    let digits = ((word ^ 0x3030_3030_3030_3030) >> unwanted) << unwanted;
    // a byte above 9 is above 127 itself, or so once 118 is added
    if (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    const EVERY_OTHER: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let even = (pairs & EVERY_OTHER).wrapping_mul(100 + (1_000_000 << 32));
    let odd = ((pairs >> 16) & EVERY_OTHER).wrapping_mul(1 + (10_000 << 32));
    Some((even.wrapping_add(odd) >> 32) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number as it stands between others.
    fn float_of(field: &str) -> Option<f32> {
        let text = format!("12345678,{field},9.5");
        float(text.as_bytes(), 9, 9 + field.len())
    }

    fn digits_of(field: &str) -> Option<i64> {
        let text = format!("12345678,{field},9");
        digits(text.as_bytes(), 9, 9 + field.len())
    }

    #[test]
    fn plain_numbers_are_read_at_once() {
        let fields = [
            "0",
            "7",
            "-0.0",
            "0.5",
            "0.33557800000000004",
            "-123.25",
            "16777216",
            "0.0021060534",
            "12345678.901234567",
        ];
        for field in fields {
            assert_eq!(float_of(field).map(f32::to_bits), Some(field.parse::<f32>().unwrap().to_bits()), "{field}");
        }
        for field in ["0", "007", "50000001", "1234567890123456", "999999999999999999"] {
            assert_eq!(digits_of(field), Some(field.parse().unwrap()), "{field}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        let fields =
            ["", "-", ".", "5.", ".5", "+1", "1e5", "inf", "NaN", " 1", "1 ", "1.2.3", "--1", "1:", "0/1", "1\u{b0}"];
        for field in fields {
            assert_eq!(float_of(field), None, "{field}");
        }
        for field in ["", "-1", "+1", "1.0", "1234567890123456789", "1x", "x1", "12345678:0123456"] {
            assert_eq!(digits_of(field), None, "{field}");
        }
        // nothing before it to make a word of
        assert_eq!((digits(b"1234567", 0, 7), float(b"0.5", 0, 3)), (None, None));
    }

    #[test]
    fn the_middle_between_two_numbers_is_not_rounded_twice() {
        // 2^24 + 1, and a number that f64 rounds to it but f32 must not
        for field in ["16777217", "16777217.000000001", "-16777219"] {
            assert_eq!(float_of(field), None, "{field}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_what_the_standard_library_reads(field in "-?[0-9]{0,10}[.]?[0-9]{0,18}") {
            if let Some(number) = float_of(&field) {
                prop_assert_eq!(number.to_bits(), field.parse::<f32>().unwrap().to_bits());
            }
            if let Some(integer) = digits_of(&field) {
                prop_assert_eq!(Ok(integer), field.parse());
            }
        }

        #[test]
        fn near_the_middle_between_two_numbers_too(bits in 0x3000_0000_u32..0x4f00_0000, places in 0_usize..18) {
            let (low, high) = (f32::from_bits(bits), f32::from_bits(bits + 1));
            let field = format!("{:.places$}", (f64::from(low) + f64::from(high)) / 2.0);
            if let Some(number) = float_of(&field) {
                prop_assert_eq!(number.to_bits(), field.parse::<f32>().unwrap().to_bits());
            }
        }
    }
}
