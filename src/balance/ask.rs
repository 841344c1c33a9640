//! Asking one balancer about given losses and gradients: what `mtorec balance` does, apart from reading and printing.

use serde::{Deserialize, Serialize};

use super::driver::{Answer, Driver, Rates};
use super::gram::Gram;
use super::{Balancer, Coefficients, Step};

/// What is given: one step, or several (`steps`), each of which takes what it does not say itself from the outer level.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Task gradients of the shared parameters, K×P.
    pub gradients: Option<Vec<Vec<f64>>>,
    /// For a balancer of several batches, the task gradients of each; `gradients` alone stand for all of them.
    pub batches: Option<Vec<Vec<Vec<f64>>>>,
    /// Their Gram matrix, K×K, where the gradients themselves are not known.
    pub gram: Option<Vec<Vec<f64>>>,
    /// Mean task losses, K; 1 each where they are not given.
    pub losses: Option<Vec<f64>>,
    /// The losses of the same batch after the step, for balancers that look again; without them, the next step's losses.
    pub losses_after: Option<Vec<f64>>,
    /// Epochs done before the step.
    pub epoch: Option<u64>,
    /// Where the shared parameters start, P; 0 each where they are not given. On the outer level only.
    pub parameters: Option<Vec<f64>>,
    /// The steps, one after the other, by one balancer that remembers. On the outer level only.
    pub steps: Option<Vec<Request>>,
}

/// What a balancer answers to one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepAnswer {
    /// `w`, the coefficients of the task gradients in the combined shared gradient (of the tasks' updates, for a balancer of
    /// updates).
    pub weights: Vec<f64>,
    /// What each task's own parameters receive, as a multiple of their gradient.
    pub own: Vec<f64>,
    /// The combined shared gradient, clipped where the balancer clips; of a balancer that makes the update itself, that
    /// update at a learning rate of 1. Absent where only a Gram matrix or losses were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub combined: Option<Vec<f64>>,
    /// The norm of the combined gradient. Absent where only losses were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<f64>,
    /// Cosines between the combined gradient and each task's: below 0, the step hurts that task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosines: Option<Vec<f64>>,
    /// The shared parameters after Adam's step. Absent where no gradients were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Vec<f64>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The hyper-parameters make no sense for this number of tasks.
    #[error("{0}")]
    Balancer(String),
    /// A step lacks something.
    #[error("step {step}: {problem}")]
    Step {
        /// Which step, from 1.
        step: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// Asks a balancer step after step.
///
/// # Errors
/// When the balancer cannot be built for as many tasks as there are losses or gradients, or a step does not fit.
pub fn ask(balancer: &Balancer, request: &Request, rates: Rates, seed: u64) -> Result<Vec<StepAnswer>, AskError> {
    let alone = [Request::default()];
    let steps = request.steps.as_deref().unwrap_or(&alone);
    let mut session: Option<Session> = None;
    let mut answers = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let wrong = |problem: String| AskError::Step { step: at + 1, problem };
        if step.steps.is_some() || step.parameters.is_some() {
            return Err(wrong("`steps` and `parameters` belong to the outer level".to_owned()));
        }
        let given = Given::of(step, request).map_err(wrong)?;
        let session = match &mut session {
            Some(session) => session,
            empty => empty.insert(Session::new(balancer, &given, request, rates, seed)?),
        };
        answers.push(session.step(&given, at as u64).map_err(wrong)?);
        let after = match step.losses_after.clone().or_else(|| request.losses_after.clone()) {
            Some(after) => Some(after),
            None => steps.get(at + 1).and_then(|next| Given::of(next, request).ok()).map(|next| next.losses),
        };
        if let Some(after) = after {
            session.look_again(&after).map_err(wrong)?;
        }
    }
    Ok(answers)
}

/// One step with everything it takes from the outer level.
struct Given {
    losses: Vec<f64>,
    batches: Vec<Vec<Vec<f64>>>,
    gram: Option<Gram>,
    epoch: u64,
}

impl Given {
    fn of(step: &Request, outer: &Request) -> Result<Self, String> {
        // gradients given with the step stand before batches of the outer level, and the other way round
        let own = |of: &Request| of.batches.clone().or_else(|| of.gradients.clone().map(|gradients| vec![gradients]));
        let rows = if step.gram.is_some() { own(step) } else { own(step).or_else(|| own(outer)) };
        let batches = rows.unwrap_or_default();
        if batches.first().is_some_and(Vec::is_empty) || step.batches.as_ref().is_some_and(Vec::is_empty) {
            return Err("there are no gradients in `gradients` or `batches`".to_owned());
        }
        let gram = match step.gram.as_ref().or(outer.gram.as_ref()) {
            Some(rows) if batches.is_empty() => Some(Gram::from_rows(rows).map_err(|e| e.to_string())?),
            _ => None,
        };
        let gram = match batches.first() {
            Some(gradients) => Some(Gram::from_gradients(gradients).map_err(|e| e.to_string())?),
            None => gram,
        };
        let losses = step.losses.clone().or_else(|| outer.losses.clone());
        let tasks = gram.as_ref().map(Gram::tasks).or(losses.as_ref().map(Vec::len));
        let Some(tasks) = tasks.filter(|tasks| *tasks > 0) else {
            return Err("it gives neither `gradients`, `gram` nor `losses`".to_owned());
        };
        let losses = losses.unwrap_or_else(|| vec![1.0; tasks]);
        if losses.len() != tasks {
            return Err(format!("there are {} losses for {tasks} gradients", losses.len()));
        }
        let width = batches.first().map_or(0, |gradients| gradients[0].len());
        let fits = |gradients: &Vec<Vec<f64>>| gradients.len() == tasks && gradients.iter().all(|g| g.len() == width);
        if !batches.iter().all(fits) {
            return Err(format!("every batch should have {tasks} gradients of {width} entries"));
        }
        Ok(Self { losses, batches, gram, epoch: step.epoch.or(outer.epoch).unwrap_or(0) })
    }
}

/// A balancer that remembers.
struct Session {
    driver: Driver,
    tasks: usize,
    seed: u64,
}

impl Session {
    fn new(balancer: &Balancer, given: &Given, request: &Request, rates: Rates, seed: u64) -> Result<Self, AskError> {
        let tasks = given.losses.len();
        let method = balancer.build(tasks).map_err(AskError::Balancer)?;
        let width = given.batches.first().map_or(0, |gradients| gradients[0].len());
        let theta = request.parameters.clone().unwrap_or_else(|| vec![0.0; width]);
        Ok(Self { driver: Driver::new(method, rates, theta, seed), tasks, seed })
    }

    fn step(&mut self, given: &Given, index: u64) -> Result<StepAnswer, String> {
        if given.losses.len() != self.tasks {
            return Err(format!("it has {} tasks, the first has {}", given.losses.len(), self.tasks));
        }
        let Some(gradients) = given.batches.first() else { return self.without_gradients(given, index) };
        let width = self.driver.theta().len();
        if gradients[0].len() != width {
            return Err(format!("its gradients have {} entries for {width} parameters", gradients[0].len()));
        }
        let Answer { coefficients, combined } = self.driver.step(given.epoch, &given.losses, &given.batches);
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let norm = dot(&combined, &combined).sqrt();
        let cosine = |g: &Vec<f64>| {
            let norms = dot(g, g).sqrt() * norm;
            if norms > 0.0 { dot(g, &combined) / norms } else { 0.0 }
        };
        Ok(StepAnswer {
            weights: coefficients.shared,
            own: coefficients.task,
            cosines: Some(gradients.iter().map(cosine).collect()),
            combined: Some(combined),
            norm: Some(norm),
            parameters: Some(self.driver.theta().to_vec()),
        })
    }

    /// With a Gram matrix, or losses alone.
    fn without_gradients(&mut self, given: &Given, index: u64) -> Result<StepAnswer, String> {
        let step = Step { index, epoch: given.epoch, seed: self.seed, losses: &given.losses };
        let coefficients = self.driver.coefficients(&step, given.gram.as_ref())?;
        let Coefficients { shared, task, .. } = &coefficients;
        let (mut norm, mut cosines) = (None, None);
        if let Some(gram) = &given.gram {
            let length = gram.quadratic(shared).sqrt();
            let of = |(product, norm): (f64, f64)| if norm * length > 0.0 { product / (norm * length) } else { 0.0 };
            cosines = Some(gram.mul(shared).into_iter().zip(gram.norms()).map(of).collect());
            norm = Some(length * coefficients.clip_factor(length));
        }
        Ok(StepAnswer { weights: shared.clone(), own: task.clone(), combined: None, norm, cosines, parameters: None })
    }

    fn look_again(&mut self, losses: &[f64]) -> Result<(), String> {
        if losses.len() != self.tasks {
            return Err(format!("`losses_after` has {} entries for {} tasks", losses.len(), self.tasks));
        }
        self.driver.after_step(losses);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::examples::{assert_close, rates};
    use crate::balance::gram::NashMtl;
    use crate::balance::loss::Famo;

    fn asked(balancer: impl Into<Balancer>, json: &str) -> Result<Vec<StepAnswer>, String> {
        let request: Request = serde_json::from_str(json).map_err(|e| e.to_string())?;
        ask(&balancer.into(), &request, rates(0.1), 1).map_err(|e| e.to_string())
    }

    #[test]
    fn gradients_and_their_gram_matrix_give_the_same_weights() {
        let by_gradients = asked(NashMtl::default(), r#"{"gradients": [[2, 0], [-1, 2]]}"#).unwrap().remove(0);
        assert_close(&by_gradients.weights, &[0.672_499, 0.601_501], 1e-6);
        assert_close(&by_gradients.combined.unwrap(), &[0.525_731, 0.850_651], 1e-6);
        let by_gram = asked(NashMtl::default(), r#"{"gram": [[4, -2], [-2, 5]]}"#).unwrap().remove(0);
        assert_eq!((by_gram.weights, by_gram.combined), (by_gradients.weights, None));
        assert_close(&[by_gram.norm.unwrap()], &[by_gradients.norm.unwrap()], 1e-12);
        assert_close(&by_gram.cosines.unwrap(), &by_gradients.cosines.unwrap(), 1e-12);
    }

    #[test]
    fn steps_take_from_the_outer_level_and_balancers_remember() {
        let famo = Famo { gamma: 1e-5, ..Famo::default() };
        let json = r#"{"steps": [{"losses": [0.5, 0.125]}, {"losses": [0.4, 0.12]}, {"losses": [0.38, 0.1]}]}"#;
        let weights: Vec<Vec<f64>> = asked(famo.clone(), json).unwrap().into_iter().map(|step| step.weights).collect();
        assert_close(&weights[0], &[0.2, 0.8], 1e-6);
        // z = (0.487503, 0.512497) after the second look: w_k ∝ z_k/L_k
        let (a, b) = (0.487_503 / 0.4, 0.512_497 / 0.12);
        assert_close(&weights[1], &[a / (a + b), b / (a + b)], 1e-5);
        let told = r#"{"losses": [0.5, 0.125], "steps": [{"losses_after": [0.4, 0.12]}, {"losses": [0.4, 0.12]}]}"#;
        assert_close(&asked(famo, told).unwrap()[1].weights, &weights[1], 1e-12);
        let constant = r#"{"gradients": [[2, 0], [-1, 2]], "losses": [0.5, 0.125], "steps": [{}, {}, {}]}"#;
        let answers = asked(crate::balance::track::DbMtl::default(), constant).unwrap();
        assert_close(answers[2].combined.as_ref().unwrap(), &[2.679_795, 4.336], 1e-6);
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_step() {
        for (json, problem) in [
            ("{}", "step 1: it gives neither `gradients`, `gram` nor `losses`"),
            (r#"{"gradients": [[1, 2], [3]]}"#, "step 1: gradient 1 has 1 entries, the first has 2"),
            (r#"{"gradients": []}"#, "step 1: there are no gradients in `gradients` or `batches`"),
            (r#"{"gram": [[1, 2], [3, 4]]}"#, "step 1: the Gram matrix is not symmetric"),
            (r#"{"gram": [[1, 2], [2, 4]], "losses": [1]}"#, "step 1: there are 1 losses for 2 gradients"),
            (r#"{"gradients": [[1], [2]], "parameters": [1, 2]}"#, "step 1: its gradients have 1 entries for 2 param"),
            (r#"{"losses": [1, 2]}"#, "step 1: this balancer needs `gradients`, or their Gram matrix `gram`"),
            (r#"{"loses": [1, 2]}"#, "unknown field `loses`"),
        ] {
            let found = asked(NashMtl::default(), json).unwrap_err();
            assert!(found.starts_with(problem), "{json}: {found}");
        }
        let uneven = asked(Famo::default(), r#"{"steps": [{"losses": [1, 2]}, {"losses": [1]}]}"#).unwrap_err();
        assert_eq!(uneven, "step 1: `losses_after` has 1 entries for 2 tasks");
        let by_gram = asked(crate::balance::update::Pub::default(), r#"{"gram": [[1, 0], [0, 1]]}"#).unwrap_err();
        assert!(by_gram.contains("`gradients`"), "{by_gram}");
    }
}
