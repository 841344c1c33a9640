//! SHA-256, by which those who publish files say what they hold.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::Digest;

/// The SHA-256 of a file's content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256([u8; 32]);

/// The text is no SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 has 64 hexadecimal digits")]
pub struct ParseSha256Error;

impl Sha256 {
    /// The digest of all that a reader gives; `None` when `stop`, which is asked now and then, says so.
    ///
    /// # Errors
    /// When reading fails.
    pub fn of_reader(mut reader: impl Read, stop: impl Fn() -> bool) -> io::Result<Option<Self>> {
        let mut hasher = sha2::Sha256::new();
        let mut block = vec![0; 1 << 18];
        loop {
            if stop() {
                return Ok(None);
            }
            match reader.read(&mut block) {
                Ok(0) => return Ok(Some(Self(hasher.finalize().into()))),
                Ok(read) => hasher.update(&block[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl FromStr for Sha256 {
    type Err = ParseSha256Error;

    fn from_str(text: &str) -> Result<Self, ParseSha256Error> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ParseSha256Error);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| ParseSha256Error)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    #[test]
    fn the_published_example_holds() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let got = Sha256::of_reader(&b"abc"[..], || false).unwrap().unwrap();
        assert_eq!(got.to_string(), expected);
        assert_eq!(expected.to_uppercase().parse(), Ok(got));
        for wrong in ["", "ba78", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Sha256>(), Err(ParseSha256Error), "{wrong}");
        }
    }
}
