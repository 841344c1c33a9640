//! A step of training on plain vectors: what every kind of balancer is asked and what its answer does to the parameters, in
//! f64 and without tensors. `mtorec balance` and the toy problem run on it, tests of the methods do, and the step of
//! `stage/train`, which does the same on tensors, is held to it.

use super::adam::Adam;
use super::gram::{Gram, dot};
use super::{Coefficients, Method, Step};

/// Adam's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Step size.
    pub lr: f64,
    /// Decay rates of the moments.
    pub betas: (f64, f64),
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// L2 penalty, coupled; decoupled where the balancer owns the update.
    pub weight_decay: f64,
}

/// What a balancer has made of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The coefficients. Of several batches, the sums over them, so that `shared` are those of batches alike; of an
    /// element-wise balancer, which has none, 1 for each task.
    pub coefficients: Coefficients,
    /// The combined shared gradient that the optimizer takes in. Of a balancer that owns the update, that update at a
    /// learning rate of 1.
    pub combined: Vec<f64>,
}

/// Shared parameters, their optimizer and a balancer.
pub struct Driver {
    method: Method,
    rates: Rates,
    seed: u64,
    steps: u64,
    theta: Vec<f64>,
    /// One, or one a task.
    moments: Vec<Adam>,
    /// K×P averages of gradients, for balancers that see those.
    averages: Vec<Vec<f64>>,
    /// K×P sums of squared gradients, for balancers that see excess risks.
    squares: Vec<Vec<f64>>,
}

impl Driver {
    /// No step taken yet from these parameters; `seed` decides the balancer's draws.
    pub fn new(method: Method, rates: Rates, theta: Vec<f64>, seed: u64) -> Self {
        Self { method, rates, seed, steps: 0, theta, moments: Vec::new(), averages: Vec::new(), squares: Vec::new() }
    }

    /// The parameters.
    pub fn theta(&self) -> &[f64] {
        &self.theta
    }

    /// The balancer.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// One step, the number of steps before it being the step's index. `batches` holds the K task gradients of each batch; where the balancer takes more batches than there are,
    /// the last one stands for the others.
    ///
    /// # Panics
    /// When there is no batch, or its gradients are not one a loss and each as long as the parameters.
    pub fn step(&mut self, epoch: u64, losses: &[f64], batches: &[Vec<Vec<f64>>]) -> Answer {
        let gradients = &batches[0];
        assert!(gradients.len() == losses.len() && gradients.iter().all(|g| g.len() == self.theta.len()));
        let step = Step { index: self.steps, epoch, seed: self.seed, losses };
        self.steps += 1;
        let answer = match &mut self.method {
            Method::Track(balancer) => {
                self.averages.resize(losses.len(), vec![0.0; self.theta.len()]);
                for (k, (average, g)) in self.averages.iter_mut().zip(gradients).enumerate() {
                    let blend = balancer.blend(&step, k, &|| dot(g, g).sqrt());
                    average.iter_mut().zip(g).for_each(|(y, g)| *y = blend.keep * *y + blend.take * g);
                }
                let coefficients = balancer.coefficients(&step, &gram(&self.averages));
                answer_of(coefficients, &self.averages)
            }
            Method::Cross(balancer) => {
                let batch = |b: usize| batches.get(b).unwrap_or(&batches[batches.len() - 1]);
                let cross: Vec<Vec<f64>> =
                    batch(0).iter().map(|g| batch(1).iter().map(|h| dot(g, h)).collect()).collect();
                let all = balancer.coefficients(&step, &cross);
                let parts: Vec<Vec<f64>> = all.iter().enumerate().map(|(b, c)| combine(&c.shared, batch(b))).collect();
                let sum = |of: fn(&Coefficients) -> &Vec<f64>| combine(&vec![1.0; all.len()], all.iter().map(of));
                let coefficients = Coefficients { shared: sum(|c| &c.shared), task: sum(|c| &c.task), max_norm: None };
                Answer { coefficients, combined: combine(&vec![1.0; parts.len()], &parts) }
            }
            Method::Excess(balancer) => {
                self.squares.resize(losses.len(), vec![0.0; self.theta.len()]);
                let excess = |(sums, g): (&mut Vec<f64>, &Vec<f64>)| {
                    sums.iter_mut().zip(g).map(|(sum, g)| excess_of(sum, *g)).sum::<f64>()
                };
                let excess: Vec<f64> = self.squares.iter_mut().zip(gradients).map(excess).collect();
                let weights = balancer.weights(&step, &excess);
                answer_of(Coefficients { task: weights.clone(), shared: weights, max_norm: None }, gradients)
            }
            Method::Element(balancer) => {
                let columns: Vec<Vec<f32>> = gradients.iter().map(|g| g.iter().map(|x| *x as f32).collect()).collect();
                let columns: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
                let mut out = vec![0.0; self.theta.len()];
                balancer.combine(&step, 0, &columns, &mut out);
                let coefficients = Coefficients::tasks_alone(vec![1.0; losses.len()]);
                Answer { coefficients, combined: out.into_iter().map(f64::from).collect() }
            }
            Method::Update(balancer) => {
                let Rates { betas, eps, .. } = self.rates;
                self.moments.resize(1, Adam::new(self.theta.len()));
                let update = |g: &Vec<f64>| {
                    let mut moments = self.moments[0].clone();
                    moments.take(g, betas);
                    moments.direction(betas, eps)
                };
                let updates: Vec<Vec<f64>> = gradients.iter().map(update).collect();
                let weights = balancer.without_gram(&step);
                let weights = weights.unwrap_or_else(|| balancer.weights(&step, &gram(&updates)));
                self.moments[0].take(&combine(&weights, gradients), betas);
                answer_of(Coefficients::tasks_alone(weights), &updates)
            }
            Method::TaskAdam(weights) => {
                let Rates { betas, eps, .. } = self.rates;
                self.moments.resize(losses.len(), Adam::new(self.theta.len()));
                let update = |((adam, g), w): ((&mut Adam, &Vec<f64>), &f64)| {
                    adam.take(&combine(&[*w], [g]), betas);
                    adam.direction(betas, eps)
                };
                let updates: Vec<Vec<f64>> =
                    self.moments.iter_mut().zip(gradients).zip(&*weights).map(update).collect();
                let coefficients = Coefficients { shared: weights.clone(), task: weights.clone(), max_norm: None };
                Answer { coefficients, combined: combine(&vec![1.0; updates.len()], &updates) }
            }
            Method::Clipped(of, bounds) => {
                let Rates { lr, betas, eps, weight_decay } = self.rates;
                let Answer { coefficients, combined } = weighed(of, &step, gradients);
                self.moments.resize(1, Adam::new(self.theta.len()));
                self.moments[0].take(&combined, betas);
                let update = self.moments[0].direction_uncorrected_eps(betas, eps);
                let factor = self.theta.iter().zip(&update).filter(|(_, u)| **u != 0.0).map(|(theta, u)| {
                    let theta = theta * (1.0 - lr * weight_decay);
                    (bounds.relative * theta.abs() + bounds.absolute) / (lr * u.abs())
                });
                let factor = factor.fold(1.0, f64::min);
                Answer { coefficients, combined: update.iter().map(|u| factor * u).collect() }
            }
            method => weighed(method, &step, gradients),
        };
        self.descend(&answer.combined);
        answer
    }

    /// The coefficients alone, of a balancer that can do without the gradients themselves; nothing moves.
    ///
    /// # Errors
    /// What the balancer needs that is not there.
    pub fn coefficients(&mut self, step: &Step, gram: Option<&Gram>) -> Result<Coefficients, String> {
        let mut method = &mut self.method;
        if let Method::Clipped(of, _) = method {
            method = of;
        }
        match (method, gram) {
            (Method::Loss(balancer), _) => {
                let weights = balancer.weights(step);
                Ok(Coefficients { task: weights.clone(), shared: weights, max_norm: None })
            }
            (Method::Gram(balancer), Some(gram)) => {
                Ok(balancer.without_gram(step).unwrap_or_else(|| balancer.coefficients(step, gram)))
            }
            (Method::Gram(_), None) => Err("this balancer needs `gradients`, or their Gram matrix `gram`".to_owned()),
            _ => Err("this balancer needs the `gradients` themselves".to_owned()),
        }
    }

    /// Moves the parameters along the combined gradient, or by the update.
    fn descend(&mut self, combined: &[f64]) {
        let Rates { lr, betas, eps, weight_decay } = self.rates;
        if self.method.owns_update() {
            self.theta.iter_mut().zip(combined).for_each(|(x, u)| *x = *x * (1.0 - lr * weight_decay) - lr * u);
        } else {
            self.moments.resize(1, Adam::new(self.theta.len()));
            let gradient: Vec<f64> = combined.iter().zip(&self.theta).map(|(g, x)| g + weight_decay * x).collect();
            self.moments[0].take(&gradient, betas);
            self.theta.iter_mut().zip(self.moments[0].direction(betas, eps)).for_each(|(x, d)| *x -= lr * d);
        }
    }

    /// Whether the balancer wants the losses of the same batch after the step.
    pub fn wants_losses_after_step(&mut self) -> bool {
        self.method.wants_losses_after_step().is_some()
    }

    /// Tells a balancer that wants them the losses of the same batch after the step.
    pub fn after_step(&mut self, losses: &[f64]) {
        if let Some(balancer) = self.method.wants_losses_after_step() {
            balancer.after_step(losses);
        }
    }
}

/// Adds a squared gradient to the sum of a coordinate, and gives its share of the excess risk.
fn excess_of(sum: &mut f64, g: f64) -> f64 {
    *sum += g * g;
    g * g / (*sum + 1e-7).sqrt()
}

/// The answer of a balancer of losses or of the Gram matrix.
fn weighed(method: &mut Method, step: &Step, gradients: &[Vec<f64>]) -> Answer {
    let coefficients = match method {
        Method::Loss(balancer) => {
            let weights = balancer.weights(step);
            Coefficients { task: weights.clone(), shared: weights, max_norm: None }
        }
        Method::Gram(balancer) => match balancer.without_gram(step) {
            Some(stale) => stale,
            None => balancer.coefficients(step, &gram(gradients)),
        },
        _ => unreachable!("the other kinds have steps of their own"),
    };
    answer_of(coefficients, gradients)
}

/// `Σ w_k g_k`, clipped if that is wanted.
fn answer_of(coefficients: Coefficients, gradients: &[Vec<f64>]) -> Answer {
    let combined = combine(&coefficients.shared, gradients);
    let clip = coefficients.clip_factor(dot(&combined, &combined).sqrt());
    Answer { coefficients, combined: combined.iter().map(|x| clip * x).collect() }
}

fn gram(rows: &[Vec<f64>]) -> Gram {
    Gram::from_gradients(rows).expect("vectors of one length")
}

/// `Σ w_i x_i`.
fn combine<'a>(weights: &[f64], rows: impl IntoIterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut sum = Vec::new();
    for (w, row) in weights.iter().zip(rows) {
        sum.resize(row.len(), 0.0);
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += w * x);
    }
    sum
}
