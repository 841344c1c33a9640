//! Balancers: how K task losses and gradients become one update. Nothing here knows of tensors, devices or models:
//! nearly every balancer sees K losses, or the K×K Gram matrix of the shared task gradients, and answers with K numbers.
//!
//! One file a method: the hyper-parameters a pipeline can write, and the method itself. Adding one is a new file,
//! declared in the room of its kind ([`loss`], [`gram`], [`track`], [`cross`], [`element`], [`update`]), and one line in
//! the registry below.

mod adam;
#[cfg(test)]
mod agreement;
pub mod ask;
pub mod cross;
mod domain;
mod draw;
pub mod driver;
pub mod element;
#[cfg(test)]
mod examples;
pub mod gram;
mod guard;
mod hyper;
pub mod loss;
mod memory;
mod method;
mod softmax;
pub mod solver;
mod span;
#[cfg(test)]
mod tests;
pub mod track;
pub mod update;

use serde_json::Value;

pub use method::{
    Blend, CrossBalancer, ElementBalancer, ExcessBalancer, GramBalancer, LossBalancer, Method, Need, TrackBalancer,
    UpdateBalancer, UpdateBounds,
};
pub use span::Span;

/// Losses are raised to this before a logarithm or a division.
const LOSS_FLOOR: f64 = 1e-8;

/// One optimizer step as a balancer sees it.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Optimizer steps done before this one.
    pub index: u64,
    /// Epochs done before this one.
    pub epoch: u64,
    /// Seed of the balancer's own randomness; together with `index` it decides every draw.
    pub seed: u64,
    /// Mean task losses on the batch, K of them.
    pub losses: &'a [f64],
}

impl Step<'_> {
    /// The losses, raised to at least 1e-8: for methods that divide by them or take their logarithms.
    pub fn positive_losses(&self) -> Vec<f64> {
        self.losses.iter().map(|loss| loss.max(LOSS_FLOOR)).collect()
    }
}

/// What a balancer wants done with the K task gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficients {
    /// `w`: the shared parameters receive `Σ w_k g_k`.
    pub shared: Vec<f64>,
    /// Task k's own parameters receive this multiple of their gradient of `L_k` (METHODS' task rules).
    pub task: Vec<f64>,
    /// Largest norm of the combined shared gradient; a longer one is scaled by `max_norm / (norm + 1e-6)`.
    pub max_norm: Option<f64>,
}

impl Coefficients {
    /// Task parameters follow their own loss, unweighted (METHODS' rule TS-sum).
    pub fn tasks_alone(shared: Vec<f64>) -> Self {
        Self { task: vec![1.0; shared.len()], shared, max_norm: None }
    }

    /// Task parameters follow the weighted loss `Σ w_k L_k`, as the shared ones do (TS-w). A task without a shared
    /// gradient, whose weight is therefore arbitrary, trains its own parameters with weight 1.
    pub fn tasks_weighted(shared: Vec<f64>, gram: &gram::Gram) -> Self {
        let mut task = vec![1.0; shared.len()];
        for k in gram.present() {
            task[k] = shared[k];
        }
        Self { shared, task, max_norm: None }
    }

    /// The same coefficients with the combined shared gradient clipped.
    #[must_use]
    pub fn clipped_at(self, max_norm: Option<f64>) -> Self {
        Self { max_norm, ..self }
    }

    /// The factor by which clipping shortens a combined shared gradient of this norm.
    pub fn clip_factor(&self, norm: f64) -> f64 {
        match self.max_norm {
            Some(max) if norm > max => max / (norm + 1e-6),
            _ => 1.0,
        }
    }
}

/// Saves and restores all that a balancer remembers, exactly (f64 as shortest round-trip decimals).
pub trait Memory {
    /// Everything remembered, as JSON; `Null` for a balancer that remembers nothing.
    fn save(&self) -> Value {
        Value::Null
    }
    /// Takes up what [`Memory::save`] gave.
    ///
    /// # Errors
    /// When the value is not one that `save` of the same balancer with the same number of tasks gives.
    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let _ = saved;
        Ok(())
    }
}

/// Hyper-parameters of a balancer: what the registry wants beside serde, `Default` and `Describe`.
pub trait Build {
    /// A fresh method for this many tasks.
    ///
    /// # Errors
    /// When a hyper-parameter makes no sense (for this number of tasks), in words a pipeline's author understands.
    fn build(&self, tasks: usize) -> Result<Method, String>;
}

/// Registers the balancers: the enum of the language and the way from each entry to its method.
macro_rules! balancers {
    ($(#[$meta:meta])* pub enum Balancer { $($Variant:ident($Payload:ty)),+ $(,)? }) => {
        crate::registry! { $(#[$meta])* pub enum Balancer { $($Variant($Payload)),+ } }

        impl Balancer {
            /// Each of them with its defaults, in the order of the registry.
            pub fn defaults() -> Vec<Self> {
                vec![$(Balancer::$Variant(<$Payload>::default())),+]
            }

            /// A fresh method for this many tasks. Given losses or a Gram matrix that are not finite, it answers with
            /// coefficients that are not numbers and remembers nothing of that step.
            ///
            /// # Errors
            /// When a hyper-parameter makes no sense (for this number of tasks), in words a pipeline's author understands.
            pub fn build(&self, tasks: usize) -> Result<Method, String> {
                if tasks == 0 {
                    return Err("a balancer needs at least one task".to_owned());
                }
                let method = match self {
                    $(Balancer::$Variant(hyper) => hyper.build(tasks),)+
                };
                method.map(guard::guarded).map_err(|problem| format!("{}: {problem}", self.name()))
            }
        }
    };
}

balancers! {
    /// The balancers a pipeline can name.
    pub enum Balancer {
        Ls(loss::Ls),
        Stl(loss::Stl),
        ScaleInvariantLs(loss::ScaleInvariantLs),
        Uw(loss::Uw),
        Rlw(loss::Rlw),
        Dwa(loss::Dwa),
        Gls(loss::Gls),
        Famo(loss::Famo),
        Stch(loss::Stch),
        StchRaw(loss::StchRaw),
        BanditMtl(loss::BanditMtl),
        ImtlL(loss::ImtlL),
        Cosmos(loss::Cosmos),
        Pbi(loss::Pbi),
        GradNorm(gram::GradNorm),
        Mgda(gram::Mgda),
        LogMgda(gram::LogMgda),
        PcGrad(gram::PcGrad),
        GradVac(gram::GradVac),
        CaGrad(gram::CaGrad),
        LogCaGrad(gram::LogCaGrad),
        ImtlG(gram::ImtlG),
        LogImtlG(gram::LogImtlG),
        Imtl(gram::Imtl),
        NashMtl(gram::NashMtl),
        FairGrad(gram::FairGrad),
        AlignedMtl(gram::AlignedMtl),
        UpGrad(gram::UpGrad),
        DualProj(gram::DualProj),
        ConFig(gram::ConFig),
        Krum(gram::Krum),
        ParetoMtl(gram::ParetoMtl),
        CrMogm(gram::CrMogm),
        DbMtl(track::DbMtl),
        MoCo(track::MoCo),
        MoDo(cross::MoDo),
        SdmGrad(cross::SdmGrad),
        ExcessMtl(element::ExcessMtl),
        GradDrop(element::GradDrop),
        TrimmedMean(element::TrimmedMean),
        AdaTask(update::AdaTask),
        ClippyAdam(update::ClippyAdam),
        Pub(update::Pub),
    }
}

impl Balancer {
    /// Every registered balancer with its defaults, in the order of the registry, at work for the fewest tasks it takes.
    pub fn methods() -> Vec<Method> {
        let at_work = |balancer: &Balancer| (2..8).find_map(|tasks| balancer.build(tasks).ok());
        Self::defaults().iter().map(|balancer| at_work(balancer).expect("defaults for two to seven tasks")).collect()
    }
}

impl Default for Balancer {
    fn default() -> Self {
        Balancer::Ls(loss::Ls::default())
    }
}
