//! BLAKE3 digests: the names of everything in the store.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault;

/// Bytes of a file that one core hashes: whole subtrees of BLAKE3, which are powers of two.
const SUBTREE: u64 = 1 << 21;
/// Bytes read at once: they are hashed while still in the core's cache.
const BLOCK: usize = 1 << 16;

/// A BLAKE3 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of a file's content; all cores read and hash.
    ///
    /// # Errors
    /// When the file cannot be read, or is cut short meanwhile.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let length = fault::at("store.length", || std::fs::metadata(path))?.len();
        let hash = match length {
            ..=SUBTREE => hash_part(path, 0..length)?.finalize(),
            _ => {
                let left = left_subtree_len(length);
                // within the pool from the start, as every part would have to enter it otherwise
                let (left, right) = rayon::scope(|_| both(path, 0..left, left..length))?;
                merge_subtrees_root(&left, &right, Mode::Hash)
            }
        };
        Ok(Self(*hash.as_bytes()))
    }

    /// The digest of a list of fields. Every field is preceded by its length, so that no two lists share their bytes;
    /// `purpose` keeps digests of different meanings apart.
    pub fn of_fields<'a>(purpose: &str, fields: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        for field in fields {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The first eight digits: enough for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

/// The chaining value of one subtree of a file.
fn subtree(path: &Path, part: Range<u64>) -> io::Result<ChainingValue> {
    let length = part.end - part.start;
    if length <= SUBTREE {
        return Ok(hash_part(path, part)?.finalize_non_root());
    }
    let middle = part.start + left_subtree_len(length);
    let (left, right) = both(path, part.start..middle, middle..part.end)?;
    Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

fn both(path: &Path, left: Range<u64>, right: Range<u64>) -> io::Result<(ChainingValue, ChainingValue)> {
    let (left, right) = rayon::join(|| subtree(path, left), || subtree(path, right));
    Ok((left?, right?))
}

fn hash_part(path: &Path, part: Range<u64>) -> io::Result<blake3::Hasher> {
    // a handle of its own: every handle has one position
    let mut file = fault::at("store.digest", || File::open(path))?;
    file.seek(SeekFrom::Start(part.start))?;
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(part.start);
    let mut block = [0; BLOCK];
    let mut left = part.end - part.start;
    while left > 0 {
        let block = &mut block[..left.min(BLOCK as u64) as usize];
        file.read_exact(block)?;
        hasher.update(block);
        left -= block.len() as u64;
    }
    Ok(hasher)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| ParseDigestError)?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_blake3_test_vector_holds() {
        let digest = Digest::of_bytes(b"");
        // The digest of no bytes, from the BLAKE3 specification's test vectors.
        assert_eq!(digest.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("xyz".parse::<Digest>(), Err(ParseDigestError));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..5 * SUBTREE + 1).map(|at| ((at * at) >> 7) as u8).collect();
        for around in [0, BLOCK as u64, SUBTREE, 2 * SUBTREE, 3 * SUBTREE, 4 * SUBTREE, 5 * SUBTREE] {
            for length in around.saturating_sub(1)..=around + 1 {
                let bytes = &bytes[..length as usize];
                std::fs::write(&path, bytes).unwrap();
                assert_eq!(Digest::of_file(&path).unwrap(), Digest::of_bytes(bytes), "{length} bytes");
            }
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let of = |fields: &[&str]| Digest::of_fields("test", fields.iter().map(|field| field.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
    }
}
