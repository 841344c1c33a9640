//! Balancers that see the K×K Gram matrix of the shared task gradients (and the losses): each maps it to the K
//! coefficients `w` of the combined gradient `d = Σ w_k g_k`. A page of small algebra each; the optimisation problems
//! they share are in [`solver`](super::solver).

mod aligned_mtl;
mod cagrad;
mod config;
mod cr_mogm;
mod dual_proj;
mod fair_grad;
mod grad_norm;
mod grad_vac;
mod imtl;
mod imtl_g;
mod krum;
mod log_cagrad;
mod log_imtl_g;
mod log_mgda;
mod matrix;
mod mgda;
mod nash_mtl;
mod pareto_mtl;
mod pc_grad;
mod up_grad;

pub use aligned_mtl::{AlignedMtl, AlignedScale};
pub use cagrad::CaGrad;
pub use config::ConFig;
pub use cr_mogm::CrMogm;
pub use dual_proj::DualProj;
pub use fair_grad::FairGrad;
pub use grad_norm::GradNorm;
pub use grad_vac::GradVac;
pub use imtl::Imtl;
pub use imtl_g::ImtlG;
pub use krum::{Distance, Krum};
pub use log_cagrad::LogCaGrad;
pub use log_imtl_g::LogImtlG;
pub use log_mgda::LogMgda;
pub use matrix::{Gram, GramError};
pub use mgda::{Combine, Mgda, Normalise};
pub use nash_mtl::{NashMtl, NashScale};
pub use pareto_mtl::ParetoMtl;
pub use pc_grad::PcGrad;
pub use up_grad::UpGrad;

pub(in crate::balance) use matrix::dot;
pub(in crate::balance) use nash_mtl::bargain;
