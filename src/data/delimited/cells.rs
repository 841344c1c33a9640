//! Where the records and fields of a block lie.

use super::blocks::Block;
use super::bytes::{CHUNK, equal};
use super::{is_line_end, quotes};

/// Cuts written at once, as most chunks have no more.
const MOST: usize = 8;
/// Cuts for which there is room at first: as many as a block of rather short fields has.
const ROOM: usize = 1 << 14;
/// Stands where no byte of the file does.
const FILLER: u8 = 0;

/// Where the records and fields of a block lie.
#[derive(Default)]
pub(super) struct Cells {
    /// The fields of a quoted block without their quotes, each with one byte after it.
    unquoted: Vec<u8>,
    /// The places of the delimiters and line ends, after one that stands for the byte before the first.
    cuts: Vec<u32>,
    records: Vec<Record>,
}

/// One record.
#[derive(Clone, Copy)]
pub(super) struct Record {
    /// The cuts before its first field and after its last.
    first: u32,
    last: u32,
    /// Where it starts in its block.
    pub(super) start: u32,
}

/// The fields of a record; each lies between two cuts.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    /// The text in which places are.
    pub(super) text: &'a [u8],
    cuts: &'a [u32],
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.cuts.len() - 1
    }

    /// Where a field starts and ends.
    #[inline]
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        (self.cuts[at].wrapping_add(1) as usize, self.cuts[at + 1] as usize)
    }

    /// A field without the white space round it.
    #[inline]
    pub(super) fn get(&self, at: usize) -> &'a [u8] {
        let (start, end) = self.place(at);
        self.text[start..end].trim_ascii()
    }
}

impl Cells {
    /// Finds the fields of a block of less than 4 GiB.
    pub(super) fn split(&mut self, block: &Block, delimiter: u8) {
        self.records.clear();
        if block.quoted {
            self.split_quoted(block.bytes(), delimiter);
        } else if block.returns {
            self.split_plain::<true>(block.bytes(), delimiter);
        } else {
            self.split_plain::<false>(block.bytes(), delimiter);
        }
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn fields<'a>(&'a self, block: &'a Block, record: Record) -> Fields<'a> {
        let text = if block.quoted { &self.unquoted } else { block.bytes() };
        Fields { text, cuts: &self.cuts[record.first as usize..=record.last as usize] }
    }

    /// Without quotes every delimiter and line end cuts. They are found 64 bytes at a time; carriage returns are looked
    /// for only where there are any.
    fn split_plain<const RETURNS: bool>(&mut self, bytes: &[u8], delimiter: u8) {
        if self.cuts.is_empty() {
            self.cuts.resize(ROOM, 0);
        }
        self.cuts[0] = u32::MAX;
        let (mut count, mut before) = (1, 0);
        let mut padded = [0; CHUNK];
        for (start, chunk) in (0..).step_by(CHUNK).zip(bytes.chunks(CHUNK)) {
            let chunk = match chunk.first_chunk() {
                Some(whole) => whole,
                None => {
                    padded[..chunk.len()].copy_from_slice(chunk);
                    // no delimiter can be this one, nor a line end
                    padded[chunk.len()..].fill(FILLER);
                    &padded
                }
            };
            let masks = Masks::of::<RETURNS>(chunk, delimiter);
            // room for a whole chunk's cuts, so that they can be written by the eight
            if self.cuts.len() < count + CHUNK {
                self.cuts.resize(2 * (count + CHUNK), 0);
            }
            write_cuts(&mut self.cuts[count..], start, masks);
            let mut left = masks.line_ends;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                let at = count as u32 + (masks.found & (bit - 1)).count_ones();
                self.end_record(before, at);
                before = at;
                left ^= bit;
            }
            count += masks.count;
        }
    }

    /// Notes a record between two line ends, unless it is a blank line.
    fn end_record(&mut self, first: u32, last: u32) {
        let start = self.cuts[first as usize].wrapping_add(1);
        if last > first + 1 || self.cuts[last as usize] > start {
            self.records.push(Record { first, last, start });
        }
    }

    fn split_quoted(&mut self, bytes: &[u8], delimiter: u8) {
        self.unquoted.clear();
        self.cuts.clear();
        self.cuts.push(u32::MAX);
        let mut at = 0;
        while let Some(blank) = bytes[at..].iter().position(|byte| !is_line_end(*byte)) {
            at += blank;
            let (first, start) = (self.cuts.len() as u32 - 1, at as u32);
            loop {
                let end = quotes::field(bytes, at, delimiter, &mut self.unquoted);
                self.cuts.push(self.unquoted.len() as u32);
                self.unquoted.push(FILLER);
                at = (end + 1).min(bytes.len());
                if bytes.get(end) != Some(&delimiter) {
                    break;
                }
            }
            self.records.push(Record { first, last: self.cuts.len() as u32 - 1, start });
        }
    }
}

/// Writes the places of this many bits that are set. There is room for 64.
#[inline]
fn write_cuts(cuts: &mut [u32], start: u32, Masks { mut found, count, .. }: Masks) {
    let mut next = |cut: &mut u32| {
        *cut = start + found.trailing_zeros();
        found &= found.wrapping_sub(1);
    };
    // a loop of fixed length has no end to guess; what it writes too much is written over
    cuts[..MOST].iter_mut().for_each(&mut next);
    if count > MOST {
        cuts[MOST..count].iter_mut().for_each(&mut next);
    }
}

/// What is where in 64 bytes.
#[derive(Clone, Copy)]
struct Masks {
    /// The delimiters and line ends.
    found: u64,
    /// How many they are.
    count: usize,
    /// The line ends.
    line_ends: u64,
}

impl Masks {
    #[inline]
    fn of<const RETURNS: bool>(chunk: &[u8; CHUNK], delimiter: u8) -> Self {
        let mut line_ends = equal(chunk, b'\n');
        if RETURNS {
            line_ends |= equal(chunk, b'\r');
        }
        let found = equal(chunk, delimiter) | line_ends;
        Self { found, count: found.count_ones() as usize, line_ends }
    }
}
