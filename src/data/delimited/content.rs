//! The bytes of a delimited file, unpacked where need be, with the digest of the file itself taken on the way.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::archive::{Member, Unpacking};
#[cfg(feature = "parquet")]
use super::columns::ColumnsText;

/// Where a delimited file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On the disk, packed with gzip or not.
    File(PathBuf),
    /// In an archive; with it, a folder for archives within the archive.
    Member(Member, PathBuf),
}

/// The bytes of a delimited file, unpacked where need be.
pub(super) enum Content {
    Plain(Hashing),
    Gzip(Box<MultiGzDecoder<Hashing>>),
    Member(Unpacking),
    #[cfg(feature = "parquet")]
    Columns(Box<ColumnsText>),
}

impl Content {
    pub(super) fn open(place: &Place) -> io::Result<Self> {
        match place {
            #[cfg(feature = "parquet")]
            Place::File(path) if is_parquet(path) => Ok(Self::Columns(Box::new(ColumnsText::open(path)?))),
            #[cfg(not(feature = "parquet"))]
            Place::File(path) if is_parquet(path) => Err(io::Error::other(
                "this build reads no Parquet: build with `--features parquet`, or save the log as CSV",
            )),
            Place::File(path) => {
                let hashing = Hashing { file: File::open(path)?, hasher: Box::default() };
                Ok(if is_gzip(path) {
                    Self::Gzip(Box::new(MultiGzDecoder::new(hashing)))
                } else {
                    Self::Plain(hashing)
                })
            }
            Place::Member(member, folder) => Ok(Self::Member(member.open(folder)?)),
        }
    }

    /// How much of the file on the disk has been read.
    pub(super) fn bytes_read(&self) -> u64 {
        match self {
            Self::Plain(hashing) => hashing.hasher.count(),
            Self::Gzip(decoder) => decoder.get_ref().hasher.count(),
            Self::Member(member) => member.packed_bytes_read(),
            #[cfg(feature = "parquet")]
            Self::Columns(columns) => columns.bytes_read(),
        }
    }

    /// Reads what is left of the file on the disk and says how long it is and what its digest is, in hex; `None` for what is
    /// not read from its beginning to its end.
    pub(super) fn finish(self) -> io::Result<Option<(u64, String)>> {
        let mut hashing = match self {
            Self::Plain(hashing) => hashing,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Member(_) => return Ok(None),
            #[cfg(feature = "parquet")]
            Self::Columns(_) => return Ok(None),
        };
        hashing.hasher.update_reader(&mut hashing.file)?;
        Ok(Some((hashing.hasher.count(), hashing.hasher.finalize().to_hex().to_string())))
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(hashing) => hashing.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Member(member) => member.read(buffer),
            #[cfg(feature = "parquet")]
            Self::Columns(columns) => columns.read(buffer),
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

pub(in crate::data) fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

pub(super) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}
