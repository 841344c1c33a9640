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
        let length = file.metadata()?.len();
        let mut archive = ZipArchive::new(file).map_err(wrong)?;
        let sizes = sizes(&archive.by_name(last).map_err(wrong)?, length)?;
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
    let length = archive.metadata()?.len();
    let mut archive = ZipArchive::new(archive).map_err(wrong)?;
    let mut member = archive.by_name(name).map_err(wrong)?;
    let (_, size) = sizes(&member, length)?;
    let mut inner = tempfile::tempfile_in(folder)?;
    // one byte more shows a member that is longer than it says
    check_length(io::copy(&mut (&mut member).take(size + 1), &mut inner)?, size)?;
    inner.seek(SeekFrom::Start(0))?;
    Ok(inner)
}

/// The packed and the unpacked size of a member in an archive of this length, if a log could have them. What the archive
/// says of the packed size counts only as far as there are bytes.
fn sizes<R: Read>(member: &ZipFile<'_, R>, length: u64) -> io::Result<(u64, u64)> {
    let (packed, size) = (member.compressed_size().min(length), member.size());
    if size > SMALL && size / LARGEST_RATIO > packed {
        return Err(io::Error::other(format!(
            "`{}` would unpack from {packed} to {size} bytes, which no log does",
            member.name().map_err(wrong)?
        )));
    }
    Ok((packed, size))
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
fn unpack_tar(
    mut archive: ZipArchive<File>,
    packed: u64,
    tar: &str,
    wanted: &str,
    tell: &SyncSender<io::Result<Vec<u8>>>,
) {
    let mut all = || -> io::Result<()> {
        let member = archive.by_name(tar).map_err(wrong)?;
        let most = packed.saturating_mul(LARGEST_RATIO).saturating_add(SMALL);
        let mut files = tar::Archive::new(MultiGzDecoder::new(member).take(most));
        for file in files.entries()? {
            let mut file = file?;
            // links lead elsewhere, and a sparse file holds more zeros than anything packed could
            if !file.header().entry_type().is_file() || file.path()?.file_name().is_none_or(|name| name != wanted) {
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
        let length = archive.metadata()?.len();
        let mut archive = ZipArchive::new(archive).map_err(wrong)?;
        let packed = archive.by_name(tar).map_err(wrong)?.compressed_size().min(length);
        let (tell, pieces) = sync_channel(AHEAD);
        let (tar, file) = (tar.to_owned(), file.to_owned());
        let work = move || unpack_tar(archive, packed, &tar, &file, &tell);
        thread::Builder::new().name("unpack".to_owned()).spawn(work)?;
        // logs pack to about a tenth; only the progress depends on it
        Ok(Self { pieces, current: Vec::new(), at: 0, read: 0, sizes: (packed, packed.saturating_mul(10)) })
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
    fn names_that_lead_elsewhere_are_only_names() {
        let names = ["../../out.csv", "/etc/out.csv", "C:\\out.csv", "a/../../out.csv", "..\\out.csv"];
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, b"1,2\n".as_slice())).collect();
        let (archive, tar) = (packed(&files), packed(&files));
        for name in names {
            assert_eq!(read(&archive, &[name]).unwrap(), b"1,2\n", "{name}");
            let outer = packed(&[(name, &tar)]);
            assert_eq!(read(&outer, &[name, "../../out.csv"]).unwrap(), b"1,2\n", "{name}");
        }
        // a link in a zip archive is a text that says where to
        let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
        writer.add_symlink("rows.csv", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        let linked = writer.finish().unwrap().into_inner();
        assert_eq!(read(&linked, &["rows.csv"]).unwrap(), b"/etc/passwd");
    }

    /// A packed tar archive with one member whose header says what `change` makes it say.
    fn tar_of(name: &str, bytes: &[u8], change: impl Fn(&mut tar::Header)) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        change(&mut header);
        header.set_cksum();
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
        tar.append(&header, bytes).unwrap();
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn links_and_holes_in_tar_archives_are_no_files() {
        let refused = |tar: &[u8]| read(&packed(&[("log.tar.gz", tar)]), &["log.tar.gz", "rows.data"]).unwrap_err();
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo, tar::EntryType::Char] {
            let tar = tar_of("log/rows.data", b"", |header| {
                header.set_entry_type(kind);
                header.set_link_name("/etc/passwd").unwrap();
            });
            assert_eq!(refused(&tar).to_string(), "`log.tar.gz` holds no `rows.data`", "{kind:?}");
        }
        // two gigabytes of zeros before one byte
        let sparse = tar_of("log/rows.data", b"1", |header| {
            header.set_entry_type(tar::EntryType::GNUSparse);
            let gnu = header.as_gnu_mut().unwrap();
            gnu.sparse[0].offset[..12].copy_from_slice(b"17777777777\0");
            gnu.sparse[0].numbytes[..12].copy_from_slice(b"00000000001\0");
            gnu.set_real_size(1 << 31);
        });
        assert_eq!(refused(&sparse).to_string(), "`log.tar.gz` holds no `rows.data`");
        // names that lead elsewhere are compared, and lead nowhere
        let out = tar_of("../../rows.data", b"1\n", |_| {});
        assert_eq!(read(&packed(&[("log.tar.gz", &out)]), &["log.tar.gz", "rows.data"]).unwrap(), b"1\n");
    }

    #[test]
    fn a_bomb_that_lies_about_its_packed_size_is_refused() {
        let size = 40 << 20;
        let mut bomb = packed(&[("rows.csv", &vec![b'0'; size])]);
        let (start, length) = (bomb.len(), bomb.len() as u64);
        let central = bomb.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
        // in the directory and before the member itself
        for at in [central + 20, 18] {
            bomb[at..at + 4].copy_from_slice(&(size as u32 / 2).to_le_bytes());
        }
        assert_eq!(bomb.len(), start);
        let error = read(&bomb, &["rows.csv"]).unwrap_err().to_string();
        assert!(error.contains(&format!("would unpack from {length} to {size} bytes")), "{error}");
        let outer = packed(&[("inner.zip", &bomb)]);
        assert!(read(&outer, &["inner.zip", "rows.csv"]).unwrap_err().to_string().contains("which no log does"));
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
