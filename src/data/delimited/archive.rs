//! Files within zip archives, and within archives within those, zip or `.tar.gz`: unpacked by a thread of their own while they are parsed,
//! never onto the disk under a name, and never to more than a log could unpack to.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::read::MultiGzDecoder;
use zip::ZipArchive;
use zip::read::ZipFile;

/// Bytes unpacked at once.
const PIECE: usize = 1 << 18;
/// Pieces that may wait to be parsed.
const AHEAD: usize = 8;
/// How many times its packed size a text of numbers can unpack to, generously; deflate itself can reach a thousand.
const LARGEST_RATIO: u64 = 100;
/// Small members may be anything.
const SMALL: u64 = 1 << 20;

/// A member of an archive, by the names that lead to it: one for each archive on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The archive on the disk.
    pub(crate) archive: PathBuf,
    /// The member's name; or that of an archive within it, and so on.
    pub(crate) names: Vec<String>,
}

/// A member being unpacked.
pub(super) struct Unpacking {
    pieces: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
    /// Unpacked bytes that have been read.
    read: u64,
    /// Packed and unpacked size.
    sizes: (u64, u64),
}

impl Member {
    /// Starts to unpack; `folder` holds archives within the archive meanwhile, in files without a name.
    ///
    /// # Errors
    /// When the archive cannot be read, has no such member, or one that no log could unpack to.
    pub(super) fn open(&self, folder: &Path) -> io::Result<Unpacking> {
        let (last, within) = self.names.split_last().ok_or_else(|| io::Error::other("no member is named"))?;
        let mut file = File::open(&self.archive)?;
        if let [.., tar] = within
            && is_tar(tar)
        {
            for name in &within[..within.len() - 1] {
                file = unpacked(file, name, folder)?;
            }
            return Unpacking::of_tar(file, tar, last);
        }
        for name in within {
            file = unpacked(file, name, folder)?;
        }
        let mut archive = ZipArchive::new(file).map_err(wrong)?;
        let sizes = {
            let member = archive.by_name(last).map_err(wrong)?;
            (member.compressed_size(), plausible(&member)?)
        };
        let (tell, pieces) = sync_channel(AHEAD);
        let name = last.clone();
        thread::Builder::new().name("unpack".to_owned()).spawn(move || unpack(archive, &name, sizes.1, &tell))?;
        Ok(Unpacking { pieces, current: Vec::new(), at: 0, read: 0, sizes })
    }
}

fn is_tar(name: &str) -> bool {
    [".tar.gz", ".tgz"].iter().any(|end| name.to_ascii_lowercase().ends_with(end))
}

/// The names of the files in an archive; or in an archive within it, if `within` names one.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn members(archive: &Path, within: Option<&str>, folder: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(archive)?;
    if let Some(name) = within {
        file = unpacked(file, name, folder)?;
    }
    let archive = ZipArchive::new(file).map_err(wrong)?;
    let names = archive.file_names().map(|name| name.map(|name| name.into_owned()).map_err(wrong));
    let names = names.collect::<io::Result<Vec<String>>>()?;
    Ok(names.into_iter().filter(|name| !name.ends_with('/')).collect())
}

/// A member in a file without a name.
fn unpacked(archive: File, name: &str, folder: &Path) -> io::Result<File> {
    let mut archive = ZipArchive::new(archive).map_err(wrong)?;
    let mut member = archive.by_name(name).map_err(wrong)?;
    let size = plausible(&member)?;
    let mut inner = tempfile::tempfile_in(folder)?;
    // one byte more shows a member that is longer than it says
    check_length(io::copy(&mut (&mut member).take(size + 1), &mut inner)?, size)?;
    inner.seek(SeekFrom::Start(0))?;
    Ok(inner)
}

/// The unpacked size, if a log could have it.
fn plausible<R: Read>(member: &ZipFile<'_, R>) -> io::Result<u64> {
    let (packed, size) = (member.compressed_size(), member.size());
    if size > SMALL && size / LARGEST_RATIO > packed {
        return Err(io::Error::other(format!(
            "`{}` would unpack from {packed} to {size} bytes, which no log does",
            member.name().map_err(wrong)?
        )));
    }
    Ok(size)
}

fn check_length(found: u64, announced: u64) -> io::Result<()> {
    if found == announced {
        return Ok(());
    }
    Err(io::Error::other(format!("it holds {found} bytes or more where the archive says {announced}")))
}

fn wrong(error: zip::result::ZipError) -> io::Error {
    match error {
        zip::result::ZipError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// Unpacks until the end, or until nobody listens any more.
fn unpack(mut archive: ZipArchive<File>, name: &str, size: u64, tell: &SyncSender<io::Result<Vec<u8>>>) {
    let mut member = match archive.by_name(name) {
        Ok(member) => member,
        Err(error) => {
            let _ = tell.send(Err(wrong(error)));
            return;
        }
    };
    let mut done = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let outcome = (&mut member).take(PIECE as u64).read_to_end(&mut piece);
        done += piece.len() as u64;
        let outcome = match outcome {
            Ok(0) => check_length(done, size).map(|()| Vec::new()),
            Ok(_) if done > size => check_length(done, size).map(|()| Vec::new()),
            Ok(_) => Ok(piece),
            Err(error) => Err(error),
        };
        let ends = outcome.as_ref().map_or(true, Vec::is_empty);
        if tell.send(outcome).is_err() || ends {
            return;
        }
    }
}

/// Unpacks a file of a packed tar archive in a zip archive, as [`unpack`].
fn unpack_tar(mut archive: ZipArchive<File>, tar: &str, wanted: &str, tell: &SyncSender<io::Result<Vec<u8>>>) {
    let mut all = || -> io::Result<()> {
        let member = archive.by_name(tar).map_err(wrong)?;
        let most = member.compressed_size() * LARGEST_RATIO + SMALL;
        let mut files = tar::Archive::new(MultiGzDecoder::new(member).take(most));
        for file in files.entries()? {
            let mut file = file?;
            if file.path()?.file_name().is_none_or(|name| name != wanted) {
                continue;
            }
            let mut left = file.size();
            while left > 0 {
                let mut piece = Vec::with_capacity(PIECE);
                (&mut file).take(PIECE as u64).read_to_end(&mut piece)?;
                if piece.is_empty() {
                    return Err(io::Error::other(format!("`{wanted}` is cut short, or larger than a log could be")));
                }
                left -= piece.len() as u64;
                if tell.send(Ok(piece)).is_err() {
                    return Ok(());
                }
            }
            let _ = tell.send(Ok(Vec::new()));
            return Ok(());
        }
        Err(io::Error::other(format!("`{tar}` holds no `{wanted}`")))
    };
    if let Err(error) = all() {
        let _ = tell.send(Err(error));
    }
}

impl Unpacking {
    /// Starts to unpack a file of a tar archive, which does not say beforehand how large it is.
    fn of_tar(archive: File, tar: &str, file: &str) -> io::Result<Self> {
        let mut archive = ZipArchive::new(archive).map_err(wrong)?;
        let packed = archive.by_name(tar).map_err(wrong)?.compressed_size();
        let (tell, pieces) = sync_channel(AHEAD);
        let (tar, file) = (tar.to_owned(), file.to_owned());
        let work = move || unpack_tar(archive, &tar, &file, &tell);
        thread::Builder::new().name("unpack".to_owned()).spawn(work)?;
        // logs pack to about a tenth; only the progress depends on it
        Ok(Self { pieces, current: Vec::new(), at: 0, read: 0, sizes: (packed, 10 * packed) })
    }

    /// How much of the packed member has been read, about.
    pub(super) fn packed_bytes_read(&self) -> u64 {
        let (packed, size) = self.sizes;
        if size == 0 { packed } else { packed.min((self.read as f64 / size as f64 * packed as f64) as u64) }
    }
}

impl Read for Unpacking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            // a thread that is gone without a word has panicked
            let next = self.pieces.recv().unwrap_or_else(|_| Err(io::Error::other("unpacking broke off")));
            (self.current, self.at) = (next?, 0);
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..][..count]);
        self.at += count;
        self.read += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, bytes) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn read(bytes: &[u8], names: &[&str]) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.zip");
        std::fs::write(&archive, bytes).unwrap();
        let member = Member { archive, names: names.iter().map(|name| (*name).to_owned()).collect() };
        let mut text = Vec::new();
        member.open(folder.path())?.read_to_end(&mut text)?;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is unpacked onto the disk");
        Ok(text)
    }

    #[test]
    fn members_are_read_however_deep_they_lie() {
        let text: Vec<u8> =
            (0..300_000u32).flat_map(|at| format!("{}\n", at.wrapping_mul(2_654_435_761)).into_bytes()).collect();
        let inner = packed(&[("readme", b"no"), ("rows.csv", &text)]);
        assert_eq!(read(&inner, &["rows.csv"]).unwrap(), text);
        let outer = packed(&[("x/inner.zip", &inner)]);
        assert_eq!(read(&outer, &["x/inner.zip", "rows.csv"]).unwrap(), text);
        assert!(read(&outer, &["rows.csv"]).is_err());
        assert_eq!(read(&packed(&[("empty", b"")]), &["empty"]).unwrap(), b"");
    }

    fn tarred(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn packed_tar_archives_are_read_too() {
        let text: Vec<u8> =
            (0..200_000u32).flat_map(|at| format!("{}\n", at.wrapping_mul(2_654_435_761)).into_bytes()).collect();
        let tar = tarred(&[("log/names", b"no"), ("log/rows.data", &text), ("log/empty", b"")]);
        let outer = packed(&[("log.tar.gz", &tar)]);
        assert_eq!(read(&outer, &["log.tar.gz", "rows.data"]).unwrap(), text);
        assert_eq!(read(&outer, &["log.tar.gz", "empty"]).unwrap(), b"");
        let error = read(&outer, &["log.tar.gz", "rows.test"]).unwrap_err();
        assert_eq!(error.to_string(), "`log.tar.gz` holds no `rows.test`");
        let cut = packed(&[("log.tar.gz", &tar[..tar.len() / 2])]);
        assert!(read(&cut, &["log.tar.gz", "rows.data"]).is_err());
        let bomb = packed(&[("log.tar.gz", &tarred(&[("rows.data", &vec![b'0'; 80 << 20])]))]);
        assert!(read(&bomb, &["log.tar.gz", "rows.data"]).is_err());
    }

    #[test]
    fn bombs_and_cut_archives_are_refused() {
        let bomb = packed(&[("rows.csv", &vec![b'0'; 40 << 20])]);
        let error = read(&bomb, &["rows.csv"]).unwrap_err();
        assert!(error.to_string().contains("which no log does"), "{error}");
        let sound = packed(&[("rows.csv", &(0..90_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>())]);
        for length in [0, 10, sound.len() / 2, sound.len() - 1] {
            assert!(read(&sound[..length], &["rows.csv"]).is_err(), "{length}");
        }
        // a byte of the packed data: the checksum tells
        let mut flipped = sound.clone();
        flipped[sound.len() / 2] ^= 1;
        assert!(read(&flipped, &["rows.csv"]).is_err());
    }

    #[test]
    fn the_files_of_an_archive_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.zip");
        let inner = packed(&[("rows.csv", b"1\n")]);
        std::fs::write(&archive, packed(&[("one.csv", b"1\n"), ("two.zip", &inner)])).unwrap();
        let mut names = members(&archive, None, folder.path()).unwrap();
        names.sort();
        assert_eq!(names, ["one.csv", "two.zip"]);
        assert_eq!(members(&archive, Some("two.zip"), folder.path()).unwrap(), ["rows.csv"]);
    }
}
