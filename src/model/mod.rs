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
pub use architecture::{Architecture, Model};
pub use checkpoint::{CheckpointError, ModelCard, load_tensors, read_checkpoint, write_checkpoint};
pub use ds_moe::{DsMoe, Router};
pub use esmm::Esmm;
pub use meta_heac::MetaHeac;
pub use mmoe::Mmoe;
pub use network::Network;
pub use omoe::Omoe;
pub use ple::Ple;
pub use shared_bottom::SharedBottom;
pub use single_task::SingleTask;
pub use sizes::{Sizes, Widths};
pub use stem::Stem;

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
            /// Makes the layers of whatever architecture it is.
            fn build<W: Widths, D: Kernels>(
                &self,
                widths: W,
                schema: &Schema,
                builder: &mut Builder<D>,
            ) -> Result<Box<dyn Model<D>>, String> {
                match self {
                    $(Arch::$Name(arch) => {
                        arch.fits(schema)?;
                        Ok(arch.build(widths, schema, builder))
                    })+
                }
            }
        }
    };
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
