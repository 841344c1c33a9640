//! What stands before every balancer: numbers that are not finite never reach its memory, and never come out as a
//! harmless-looking answer.

use serde_json::Value;

use super::gram::Gram;
use super::{
    Blend, Coefficients, CrossBalancer, ElementBalancer, ExcessBalancer, GramBalancer, LossBalancer, Memory, Method,
    Step, TrackBalancer, UpdateBalancer,
};

/// A balancer behind the check.
struct Guarded<B: ?Sized>(Box<B>);

/// Puts the check before a method.
pub(super) fn guarded(method: Method) -> Method {
    match method {
        Method::Loss(balancer) => Method::Loss(Box::new(Guarded(balancer))),
        Method::Gram(balancer) => Method::Gram(Box::new(Guarded(balancer))),
        Method::Track(balancer) => Method::Track(Box::new(Guarded(balancer))),
        Method::Cross(balancer) => Method::Cross(Box::new(Guarded(balancer))),
        Method::Excess(balancer) => Method::Excess(Box::new(Guarded(balancer))),
        Method::Element(balancer) => Method::Element(Box::new(Guarded(balancer))),
        Method::Update(balancer) => Method::Update(Box::new(Guarded(balancer))),
        // without a memory of its own
        Method::TaskAdam(weights) => Method::TaskAdam(weights),
        // what it shortens is behind the check already
        Method::Clipped(of, bounds) => Method::Clipped(of, bounds),
    }
}

fn all_finite(numbers: &[f64]) -> bool {
    numbers.iter().all(|number| number.is_finite())
}

impl<B: Memory + ?Sized> Memory for Guarded<B> {
    fn save(&self) -> Value {
        self.0.save()
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        self.0.restore(saved)
    }
}

impl LossBalancer for Guarded<dyn LossBalancer> {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        if all_finite(step.losses) { self.0.weights(step) } else { vec![f64::NAN; step.losses.len()] }
    }

    fn wants_losses_after_step(&self) -> bool {
        self.0.wants_losses_after_step()
    }

    fn after_step(&mut self, losses: &[f64]) {
        if all_finite(losses) {
            self.0.after_step(losses);
        }
    }
}

impl GramBalancer for Guarded<dyn GramBalancer> {
    fn without_gram(&mut self, step: &Step) -> Option<Coefficients> {
        if all_finite(step.losses) { self.0.without_gram(step) } else { None }
    }

    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        if all_finite(step.losses) && gram.is_finite() {
            self.0.coefficients(step, gram)
        } else {
            Coefficients::tasks_alone(vec![f64::NAN; gram.tasks()])
        }
    }
}

impl TrackBalancer for Guarded<dyn TrackBalancer> {
    fn blend(&self, step: &Step, task: usize, norm: &dyn Fn() -> f64) -> Blend {
        self.0.blend(step, task, norm)
    }

    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients {
        if all_finite(step.losses) && gram.is_finite() {
            self.0.coefficients(step, gram)
        } else {
            Coefficients::tasks_alone(vec![f64::NAN; gram.tasks()])
        }
    }
}

impl CrossBalancer for Guarded<dyn CrossBalancer> {
    fn batches(&self) -> usize {
        self.0.batches()
    }

    fn coefficients(&mut self, step: &Step, cross: &[Vec<f64>]) -> Vec<Coefficients> {
        if all_finite(step.losses) && cross.iter().all(|row| all_finite(row)) {
            self.0.coefficients(step, cross)
        } else {
            vec![Coefficients::tasks_alone(vec![f64::NAN; cross.len()]); self.0.batches()]
        }
    }
}

impl ExcessBalancer for Guarded<dyn ExcessBalancer> {
    fn weights(&mut self, step: &Step, excess: &[f64]) -> Vec<f64> {
        if all_finite(step.losses) && all_finite(excess) {
            self.0.weights(step, excess)
        } else {
            vec![f64::NAN; excess.len()]
        }
    }
}

impl ElementBalancer for Guarded<dyn ElementBalancer> {
    /// Coordinates have no memory: what is not a number stays one by the arithmetic itself.
    fn combine(&self, step: &Step, first: u64, columns: &[&[f32]], out: &mut [f32]) {
        self.0.combine(step, first, columns, out);
    }
}

impl UpdateBalancer for Guarded<dyn UpdateBalancer> {
    fn without_gram(&mut self, step: &Step) -> Option<Vec<f64>> {
        if all_finite(step.losses) { self.0.without_gram(step) } else { None }
    }

    fn weights(&mut self, step: &Step, gram: &Gram) -> Vec<f64> {
        if all_finite(step.losses) && gram.is_finite() {
            self.0.weights(step, gram)
        } else {
            vec![f64::NAN; gram.tasks()]
        }
    }
}
