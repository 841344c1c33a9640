//! Which losses a balancer makes sense of.

use super::Balancer;
use super::gram::{Mgda, Normalise};

impl Balancer {
    /// What each task's loss must exceed for this balancer to mean anything, because it takes logarithms of the losses
    /// or divides by them; nothing where any real loss will do.
    pub fn losses_above(&self, tasks: usize) -> Option<Vec<f64>> {
        match self {
            Balancer::ScaleInvariantLs(_)
            | Balancer::Gls(_)
            | Balancer::Stch(_)
            | Balancer::LogMgda(_)
            | Balancer::LogCaGrad(_)
            | Balancer::LogImtlG(_)
            | Balancer::DbMtl(_)
            | Balancer::Mgda(Mgda { normalise: Normalise::Loss | Normalise::LossPlus, .. }) => Some(vec![0.0; tasks]),
            Balancer::Famo(famo) if famo.lower_bounds.is_empty() => Some(vec![0.0; tasks]),
            Balancer::Famo(famo) => Some(famo.lower_bounds.clone()),
            Balancer::CrMogm(smoothed) => smoothed.of.losses_above(tasks),
            Balancer::ClippyAdam(clipped) => clipped.of.losses_above(tasks),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{gram, loss};

    #[test]
    fn logarithms_need_positive_losses() {
        let bound = |balancer: Balancer| balancer.losses_above(2);
        assert_eq!(bound(gram::LogMgda::default().into()), Some(vec![0.0; 2]));
        assert_eq!(bound(loss::Famo::default().into()), Some(vec![0.0; 2]));
        let famo = loss::Famo { lower_bounds: vec![-21.0, -20.5], ..loss::Famo::default() };
        assert_eq!(bound(famo.into()), Some(vec![-21.0, -20.5]));
        let wrapped = gram::CrMogm { of: Box::new(gram::LogImtlG::default().into()), ..gram::CrMogm::default() };
        assert_eq!(bound(wrapped.into()), Some(vec![0.0; 2]));
        assert_eq!(bound(gram::NashMtl::default().into()), None);
        assert_eq!(bound(gram::Mgda::default().into()), None);
        assert!(bound(Mgda { normalise: Normalise::LossPlus, ..Mgda::default() }.into()).is_some());
    }
}
