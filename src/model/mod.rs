//! One file per architecture, forward only; the sizes of their layers; the registry.
//!
//! To add one: a file with the hyper-parameters (`Default`, serde, [`Describe`](crate::registry::Describe)) and an
//! [`Architecture`], and a line in the registry below; `list`, the language and `check`'s suggestions follow.

mod aitm;
mod architecture;
mod checkpoint;
mod ds_moe;
mod esmm;
mod meta_heac;
mod mmoe;
mod network;
mod omoe;
mod ple;
mod shared_bottom;
mod single_task;
mod sizes;
mod stem;

pub use aitm::Aitm;
pub use architecture::{Adaptation, Architecture, Misfit, Model};
pub use checkpoint::{CheckpointError, ModelCard, load_tensors, read_checkpoint, write_checkpoint};
pub use ds_moe::{DsMoe, Router};
pub use esmm::Esmm;
pub use meta_heac::MetaHeac;
pub use mmoe::Mmoe;
pub use network::{Network, count_parameters};
pub use omoe::Omoe;
pub use ple::Ple;
pub use shared_bottom::SharedBottom;
pub use single_task::SingleTask;
pub use sizes::{Sizes, Widths};
pub use stem::Stem;

use std::ops::RangeInclusive;

use crate::data::Schema;
use crate::nn::Builder;
use crate::tensor::Kernels;

/// The registry, and what each of its entries is asked to do.
macro_rules! architectures {
    ($($Name:ident($Payload:ty)),+ $(,)?) => {
        crate::registry! {
            /// The architectures a pipeline can name.
            pub enum Arch { $($Name($Payload)),+ }
        }

        impl Arch {
            /// Each of them with its defaults, in the order of the registry.
            pub fn defaults() -> Vec<Arch> {
                vec![$(Arch::$Name(<$Payload>::default())),+]
            }

            /// How many tasks it takes.
            pub fn tasks(&self) -> RangeInclusive<usize> {
                match self {
                    $(Arch::$Name(_) => <$Payload as Architecture>::TASKS,)+
                }
            }

            /// See [`Architecture::fits`].
            ///
            /// # Errors
            /// When a hyper-parameter lets no model be built.
            pub fn fits(&self) -> Result<(), Misfit> {
                match self {
                    $(Arch::$Name(arch) => arch.fits(),)+
                }
            }

            /// See [`Architecture::ALIASES`].
            fn aliases(&self) -> &'static [(&'static str, &'static str)] {
                match self {
                    $(Arch::$Name(_) => <$Payload as Architecture>::ALIASES,)+
                }
            }

            /// Makes the layers of whatever architecture it is.
            fn build<W: Widths, D: Kernels>(
                &self,
                widths: W,
                schema: &Schema,
                builder: &mut Builder<D>,
            ) -> Result<Box<dyn Model<D>>, String> {
                let (takes, tasks) = (self.tasks(), schema.tasks.len());
                if !takes.contains(&tasks) {
                    return Err(format!("it takes {} tasks, the data have {tasks}", in_words(&takes)));
                }
                self.fits().map_err(|misfit| misfit.problem)?;
                Ok(match self {
                    $(Arch::$Name(arch) => arch.build(widths, schema, builder),)+
                })
            }
        }
    };
}

/// `2`, `1 to 4`, `1 or more`.
pub(crate) fn in_words(range: &RangeInclusive<usize>) -> String {
    match (*range.start(), *range.end()) {
        (least, usize::MAX) => format!("{least} or more"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    }
}

architectures! {
    SingleTask(SingleTask),
    SharedBottom(SharedBottom),
    Omoe(Omoe),
    Mmoe(Mmoe),
    Ple(Ple),
    Aitm(Aitm),
    Esmm(Esmm),
    Stem(Stem),
    MetaHeac(MetaHeac),
    DsMoe(DsMoe),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_well() {
        assert_eq!([1..=usize::MAX, 2..=2, 1..=4].map(|range| in_words(&range)), ["1 or more", "2", "1 to 4"]);
    }
}
