//! Widths of the networks, by name or spelt out.

use dfdx::shapes::{Const, Dim};
use serde::{Deserialize, Serialize};

use crate::registry::{Entry, to_ron};

/// Widths of embedding, bottom and tower. The named ones are compile-time dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sizes {
    /// Embedding 128, bottom 512 and 256, tower 128 and 64: the sizes of both published libraries.
    #[default]
    Paper,
    /// Embedding 32, bottom 128 and 64, tower 32 and 16.
    Small,
    /// Embedding 8, bottom 16 and 8, tower 8 and 4: for tests.
    Tiny,
    /// Any widths, checked when the model is built.
    Custom {
        /// Width of an embedding row.
        embed: usize,
        /// Widths of the two bottom (expert) layers.
        bottom: (usize, usize),
        /// Widths of the two hidden tower layers.
        tower: (usize, usize),
    },
}

impl Sizes {
    /// The sizes a pipeline can name, for `mtorec list sizes`.
    pub fn entries() -> Vec<Entry> {
        let paper = Sizes::Custom { embed: 128, bottom: (512, 256), tower: (128, 64) };
        [
            ("Paper", Sizes::Paper, "embedding 128, bottom 512 and 256, tower 128 and 64, as published"),
            ("Small", Sizes::Small, "embedding 32, bottom 128 and 64, tower 32 and 16"),
            ("Tiny", Sizes::Tiny, "embedding 8, bottom 16 and 8, tower 8 and 4: for tests"),
            ("Custom", paper, "any widths, checked when the model is built"),
        ]
        .into_iter()
        .map(|(name, sizes, summary)| Entry { name, summary, source: "", defaults: to_ron(&sizes) })
        .collect()
    }
}

/// The dimensions of a network as types: `Const<N>` where known at compile time, so that a wrong wiring does not compile;
/// `usize` for [`Sizes::Custom`], through the same code.
#[allow(missing_docs)]
pub trait Widths: Copy + 'static {
    type Embed: Dim;
    type Bottom1: Dim;
    type Bottom2: Dim;
    type Tower1: Dim;
    type Tower2: Dim;
    fn embed(&self) -> Self::Embed;
    fn bottom(&self) -> (Self::Bottom1, Self::Bottom2);
    fn tower(&self) -> (Self::Tower1, Self::Tower2);
}

macro_rules! named {
    ($($(#[$meta:meta])* $Name:ident: $embed:literal; $b1:literal, $b2:literal; $t1:literal, $t2:literal)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $Name;

        impl Widths for $Name {
            type Embed = Const<$embed>;
            type Bottom1 = Const<$b1>;
            type Bottom2 = Const<$b2>;
            type Tower1 = Const<$t1>;
            type Tower2 = Const<$t2>;
            fn embed(&self) -> Self::Embed {
                Const
            }
            fn bottom(&self) -> (Self::Bottom1, Self::Bottom2) {
                (Const, Const)
            }
            fn tower(&self) -> (Self::Tower1, Self::Tower2) {
                (Const, Const)
            }
        }
    )+};
}

named! {
    /// [`Sizes::Paper`].
    Paper: 128; 512, 256; 128, 64
    /// [`Sizes::Small`].
    Small: 32; 128, 64; 32, 16
    /// [`Sizes::Tiny`].
    Tiny: 8; 16, 8; 8, 4
}

/// [`Sizes::Custom`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Custom {
    pub(super) embed: usize,
    pub(super) bottom: (usize, usize),
    pub(super) tower: (usize, usize),
}

impl Widths for Custom {
    type Embed = usize;
    type Bottom1 = usize;
    type Bottom2 = usize;
    type Tower1 = usize;
    type Tower2 = usize;
    fn embed(&self) -> usize {
        self.embed
    }
    fn bottom(&self) -> (usize, usize) {
        self.bottom
    }
    fn tower(&self) -> (usize, usize) {
        self.tower
    }
}
