//! A file's content in blocks of whole records, so that blocks can be split and read side by side.

use std::io::{self, Read};

use memchr::{memchr, memchr2, memrchr2};

use super::content::Content;
use super::is_line_end;
use super::quotes::last_end;

/// A byte order mark says nothing about UTF-8 text, and belongs to no field.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A longer record is a mistake: most likely a quote that is never closed.
const LONGEST: usize = 1 << 31;

/// Whole records, the last of them with its line end.
#[derive(Default)]
pub(super) struct Block {
    /// Longer than what was read into it, so that no byte is set twice.
    buffer: Vec<u8>,
    length: usize,
    /// Where it starts in the unpacked content.
    pub(super) offset: u64,
    /// Whether it holds quotes that mean something.
    pub(super) quoted: bool,
    /// Whether it holds carriage returns.
    pub(super) returns: bool,
}

impl Block {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Looks for what is rare, so that the usual block is quickly split.
    fn look(&mut self, quotes: bool) {
        let found = memchr2(b'"', b'\r', self.bytes());
        self.quoted = quotes && found.is_some_and(|at| memchr(b'"', &self.bytes()[at..]).is_some());
        self.returns = found.is_some_and(|at| memchr(b'\r', &self.bytes()[at..]).is_some());
    }

    /// Replaces what it holds.
    fn set(&mut self, bytes: &[u8]) {
        self.length = 0;
        self.push(bytes);
    }

    fn push(&mut self, bytes: &[u8]) {
        self.space(self.length + bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// What follows the bytes, up to this length.
    fn space(&mut self, length: usize) -> &mut [u8] {
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        &mut self.buffer[self.length..length.max(self.length)]
    }
}

/// Cuts a content into blocks.
pub(super) struct Blocks {
    content: Content,
    delimiter: u8,
    /// Whether fields may stand in double quotes.
    quotes: bool,
    /// Bytes read for a block, unless a single record takes more.
    size: usize,
    /// What was read and belongs to the next block.
    carry: Vec<u8>,
    /// Where the next block starts in the unpacked content.
    offset: u64,
    ended: bool,
    /// Why the content ended early; the records before it count.
    failure: Option<io::Error>,
}

impl Blocks {
    pub(super) fn new(content: Content, delimiter: u8, quotes: bool, size: usize) -> Self {
        let (carry, offset) = (Vec::new(), 0);
        Self { content, delimiter, quotes, size, carry, offset, ended: false, failure: None }
    }

    /// How much of the file has been read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.content.bytes_read()
    }

    /// Why the content ended early, if it did.
    pub(super) fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn into_content(self) -> Content {
        self.content
    }

    /// Fills a block with the records that come next; leaves it empty at the end.
    pub(super) fn next(&mut self, block: &mut Block) {
        block.set(&self.carry);
        // whole blocks of the file, whatever was carried over: a hash of aligned blocks is the quickest
        let mut size = self.carry.len() + self.size;
        let end = loop {
            self.fill(block, size);
            if self.offset == 0 && block.bytes().starts_with(MARK) {
                block.buffer.drain(..MARK.len());
                block.length -= MARK.len();
                self.offset = MARK.len() as u64;
            }
            block.look(self.quotes);
            if self.ended && self.failure.is_none() {
                // so that every record has a line end
                if block.bytes().last().is_some_and(|last| !is_line_end(*last)) {
                    block.push(b"\n");
                }
                break block.length;
            }
            match self.whole_records(block) {
                Some(end) => break end,
                None if self.ended => break 0,
                None if block.length >= LONGEST => {
                    self.failure = Some(io::Error::other("a record of more than 2 GiB; a quote may not be closed"));
                    self.ended = true;
                }
                None => size = 2 * block.length.max(size),
            }
        };
        self.carry.clear();
        self.carry.extend_from_slice(&block.bytes()[end..]);
        block.length = end;
        block.offset = self.offset;
        self.offset += end as u64;
    }

    /// Takes back a block but for its first bytes: the next one starts after them.
    pub(super) fn put_back(&mut self, block: &Block, from: usize) {
        self.carry = [&block.bytes()[from..], &self.carry].concat();
        self.offset = block.offset + from as u64;
    }

    /// Reads until the block has this many bytes or the content ends.
    fn fill(&mut self, block: &mut Block, size: usize) {
        while block.length < size && !self.ended {
            match self.content.read(block.space(size)) {
                Ok(0) => self.ended = true,
                Ok(count) => block.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error);
                    self.ended = true;
                }
            }
        }
    }

    /// Where the last whole record ends, if there is one.
    fn whole_records(&self, block: &Block) -> Option<usize> {
        if block.quoted {
            last_end(block.bytes(), self.delimiter)
        } else {
            memrchr2(b'\n', b'\r', block.bytes()).map(|at| at + 1)
        }
    }
}
