//! The bytes of a delimited file, unpacked where need be, with the digest of the file itself taken on the way.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// The bytes of a delimited file, unpacked where need be.
pub(super) enum Content {
    Plain(Hashing),
    Gzip(Box<MultiGzDecoder<Hashing>>),
}

impl Content {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let hashing = Hashing { file: File::open(path)?, hasher: Box::default() };
        Ok(if is_gzip(path) { Self::Gzip(Box::new(MultiGzDecoder::new(hashing))) } else { Self::Plain(hashing) })
    }

    /// How much of the file has been read.
    pub(super) fn bytes_read(&self) -> u64 {
        match self {
            Self::Plain(hashing) => hashing.hasher.count(),
            Self::Gzip(decoder) => decoder.get_ref().hasher.count(),
        }
    }

    /// Reads what is left and says how long the file is and what its digest is, in hex.
    pub(super) fn finish(self) -> io::Result<(u64, String)> {
        let mut hashing = match self {
            Self::Plain(hashing) => hashing,
            Self::Gzip(decoder) => decoder.into_inner(),
        };
        hashing.hasher.update_reader(&mut hashing.file)?;
        Ok((hashing.hasher.count(), hashing.hasher.finalize().to_hex().to_string()))
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(hashing) => hashing.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

/// A file whose digest is taken as it is read.
pub(super) struct Hashing {
    file: File,
    hasher: Box<blake3::Hasher>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

pub(super) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}
