//! Balancers that need only the losses: each maps K losses to K weights, `w_k = ∂total/∂L_k`, and one backward pass of
//! `Σ w_k L_k` does the rest. A scalarisation is completely described by these derivatives.

mod bandit_mtl;
mod cosmos;
mod dwa;
mod famo;
mod gls;
mod imtl_l;
mod ls;
mod pbi;
mod rlw;
mod scale_invariant_ls;
mod stch;
mod stch_raw;
mod stl;
mod uw;

pub use bandit_mtl::BanditMtl;
pub use cosmos::Cosmos;
pub use dwa::Dwa;
pub use famo::Famo;
pub use gls::Gls;
pub use imtl_l::ImtlL;
pub(in crate::balance) use imtl_l::LossScales;
pub use ls::Ls;
pub use pbi::Pbi;
pub use rlw::Rlw;
pub use scale_invariant_ls::ScaleInvariantLs;
pub use stch::Stch;
pub use stch_raw::StchRaw;
pub use stl::Stl;
pub use uw::Uw;
