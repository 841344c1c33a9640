//! Balancers that see running averages of the shared task gradients in place of the gradients: a K×P buffer, kept by
//! whoever drives them.

mod db_mtl;
mod moco;

pub use db_mtl::DbMtl;
pub use moco::MoCo;
