//! A batch's index in the GPU's memory.

use std::cell::OnceCell;

use super::{Gpu, run, sent};
use crate::tensor::FieldIds;

/// Members of a compact row that one thread sums at most: popular ids would keep the others waiting.
const PIECE: usize = 64;

/// A batch's [`FieldIds`], here and there.
pub struct Ids<G: Gpu> {
    gpu: G,
    /// As it came.
    pub host: FieldIds,
    /// Table rows, compact rows of each sample, members of each compact row, and the pieces that these are cut into.
    words: G::Memory<u32>,
    /// Where each part starts among the words.
    at: Parts,
    /// The compact row of each table row, made when first asked for.
    places: OnceCell<G::Memory<u32>>,
}

/// Where the parts of the index begin.
#[derive(Default)]
struct Parts {
    compact: usize,
    members: usize,
    piece_starts: usize,
    piece_places: usize,
    row_pieces: usize,
    /// Pieces of the rows that go by table, and of all.
    pieces: [usize; 2],
}

impl<G: Gpu> Ids<G> {
    pub(super) fn new(gpu: &G, host: FieldIds) -> Self {
        let mut words = host.rows.clone();
        let mut at = Parts { compact: words.len(), ..Parts::default() };
        words.extend(&host.compact[..host.batch * host.fields()]);
        at.members = words.len();
        words.extend(&host.members[..host.batch * host.fields()]);
        let (mut starts, mut places, mut row_pieces) = (vec![], vec![], vec![]);
        for j in 0..host.fields() {
            for row in host.range(j) {
                row_pieces.push(starts.len() as u32);
                let first = host.member_starts[row] as usize;
                for start in (0..host.members(row).len()).step_by(PIECE) {
                    starts.push((first + start) as u32);
                    places.push(j.saturating_sub(host.tables) as u32);
                }
            }
            if j + 1 == host.tables {
                at.pieces[0] = starts.len();
            }
        }
        at.pieces[1] = starts.len();
        row_pieces.push(starts.len() as u32);
        starts.push((host.batch * host.fields()) as u32);
        for (part, from) in
            [(&mut at.piece_starts, starts), (&mut at.piece_places, places), (&mut at.row_pieces, row_pieces)]
        {
            *part = words.len();
            words.extend(from);
        }
        let words = sent(gpu, &words);
        Self { gpu: gpu.clone(), host, words, at, places: OnceCell::new() }
    }

    fn part(&self, at: usize) -> u64 {
        G::address(&self.words) + 4 * at as u64
    }

    /// The table rows, U.
    pub(super) fn rows(&self) -> u64 {
        self.part(0)
    }

    /// The compact rows of each sample, B×F.
    pub(super) fn compact(&self) -> u64 {
        self.part(self.at.compact)
    }

    /// The samples of each compact row.
    pub(super) fn members(&self) -> u64 {
        self.part(self.at.members)
    }

    /// Where the members of each piece start, and those of the last end.
    pub(super) fn piece_starts(&self) -> u64 {
        self.part(self.at.piece_starts)
    }

    /// The place of each piece's field among those that go direct.
    pub(super) fn piece_places(&self) -> u64 {
        self.part(self.at.piece_places)
    }

    /// Where the pieces of each compact row start, and those of the last end.
    pub(super) fn row_pieces(&self) -> u64 {
        self.part(self.at.row_pieces)
    }

    /// Pieces of the rows of fields that go by table.
    pub(super) fn table_pieces(&self) -> usize {
        self.at.pieces[0]
    }

    /// Pieces of all rows.
    pub(super) fn pieces(&self) -> usize {
        self.at.pieces[1]
    }

    /// The compact row of each of the table's rows, or absent.
    pub(super) fn places(&self, table_rows: usize) -> u64 {
        let places = self.places.get_or_init(|| {
            let places: G::Memory<u32> = self.gpu.allocate(table_rows);
            run(&self.gpu, "forget_rows", table_rows, &[G::address(&places)]);
            run(&self.gpu, "mark_rows", self.host.len(), &[self.rows(), G::address(&places)]);
            places
        });
        assert_eq!(G::length(places), table_rows, "a model has one table");
        G::address(places)
    }
}
