//! What stands before every balancer: numbers that are not finite never reach its memory, and never come out as a
//! harmless-looking answer.

use serde_json::Value;

use super::gram::Gram;
use super::{Coefficients, GramBalancer, LossBalancer, Memory, Method, Step};

/// A balancer behind the check.
struct Guarded<B: ?Sized>(Box<B>);

/// Puts the check before a method.
pub(super) fn guarded(method: Method) -> Method {
    match method {
        Method::Loss(balancer) => Method::Loss(Box::new(Guarded(balancer))),
        Method::Gram(balancer) => Method::Gram(Box::new(Guarded(balancer))),
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
