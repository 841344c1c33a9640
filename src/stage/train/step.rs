//! One step of training: forward once, backward once or once a task, balance, update.

use crate::balance::gram::Gram;
use crate::balance::{Coefficients, GramBalancer, Method, Step};
use crate::model::Network;
use crate::nn::Batch;
use crate::optim::{Adam, AdamState};
use crate::tensor::{Gradients, Kernels, Key, Mode, Owner, ParamId, Tape, Var, Workspace};

/// A network, its optimizer and its balancer.
pub struct Trainer<D: Kernels> {
    /// The model; [`Trainer::settle`] before it is used outside a step.
    pub network: Network<D>,
    /// Its optimizer.
    pub adam: AdamState<D>,
    /// Its balancer.
    pub method: Method,
    /// Steps taken.
    pub steps: u64,
    seed: u64,
    /// One set of gradients a task, or one for all; kept for the next step.
    gradients: Vec<Gradients<D>>,
}

/// What a step says of itself.
pub struct Report {
    /// Each task's mean loss before the update.
    pub losses: Vec<f64>,
    /// Each task's weight in the shared gradient.
    pub weights: Vec<f64>,
    /// By how much the busiest expert's load exceeds the mean load, as a share of it, in a model that routes samples.
    pub max_violation: Option<f64>,
}

impl<D: Kernels> Trainer<D> {
    /// No step taken yet; `seed` decides dropout masks and the balancer's draws.
    pub fn new(network: Network<D>, adam: Adam, method: Method, seed: u64) -> Self {
        let adam = AdamState::new(adam, &network.params);
        let gradients = (0..network.tasks()).map(|_| Gradients::default()).collect();
        Self { network, adam, method, steps: 0, seed, gradients }
    }

    /// Brings every parameter up to date: between two steps, rows of embedding tables may wait for theirs.
    pub fn settle(&mut self) {
        self.adam.settle(&mut self.network.params);
    }

    /// One optimizer step on a batch. Nothing is updated when a loss is not finite.
    pub fn step(&mut self, batch: &Batch<D>, epoch: u64, workspace: &Workspace<D>) -> Report {
        self.adam.catch_up(&mut self.network.params, &batch.ids);
        let mode = Mode::Train { key: Key::of_step(self.seed, self.steps) };
        let tape = Tape::new(&self.network.params, workspace, mode);
        let scalars = self.network.losses(&tape, batch);
        let losses: Vec<f64> = scalars.iter().map(|(_, loss)| *loss).collect();
        let scalars: Vec<Var<()>> = scalars.into_iter().map(|(scalar, _)| scalar).collect();
        if losses.iter().any(|loss| !loss.is_finite()) {
            let weights = vec![0.0; losses.len()];
            return Report { losses, weights, max_violation: None };
        }
        let step = Step { index: self.steps, epoch, seed: self.seed, losses: &losses };
        let applied = match &mut self.method {
            Method::Loss(balancer) => {
                let weights = balancer.weights(&step);
                backward(&tape, &scalars, &weights, &mut self.gradients[0]);
                Applied::Together { shared: weights, factors: None, clip: 1.0 }
            }
            Method::Gram(balancer) => balance_gram(balancer.as_mut(), &step, &tape, &scalars, &mut self.gradients),
        };
        let statistics = tape.finish();
        let max_violation = statistics.max_violation(workspace.device());
        statistics.apply(&mut self.network.params, workspace);
        self.network.batches_tracked += 1;
        self.steps += 1;
        self.update(batch, &applied);
        self.gradients.iter_mut().for_each(|gradients| gradients.clear(workspace));
        if let Method::Loss(balancer) = &mut self.method
            && balancer.wants_losses_after_step()
        {
            // the same masks and batch statistics as the step itself; running statistics and routers' biases stay
            let tape = Tape::new(&self.network.params, workspace, mode);
            let fresh: Vec<f64> = self.network.losses(&tape, batch).iter().map(|(_, loss)| *loss).collect();
            tape.finish().discard(workspace);
            balancer.after_step(&fresh);
        }
        Report { losses, weights: applied.shared().to_vec(), max_violation }
    }

    /// Adam on every parameter some task reaches.
    fn update(&mut self, batch: &Batch<D>, applied: &Applied) {
        for id in (0..self.network.params.len()).map(ParamId) {
            let mut gradients = Vec::with_capacity(self.gradients.len());
            match (self.network.params[id].owner, applied) {
                (Owner::Nobody, _) => {}
                (owner, Applied::Together { factors, clip, .. }) => {
                    let factor = match (owner, factors) {
                        (Owner::Task(k), Some(factors)) => factors[k],
                        (Owner::Task(_), None) => 1.0,
                        _ => *clip,
                    };
                    gradients.extend(self.gradients[0].get(id).map(|gradient| (factor as f32, gradient)));
                }
                (Owner::Task(k), Applied::Apart { task, .. }) => {
                    gradients.extend(self.gradients[k].get(id).map(|gradient| (task[k] as f32, gradient)));
                }
                (Owner::Shared, Applied::Apart { shared, clip, .. }) => {
                    for (gradients_k, w) in self.gradients.iter().zip(shared) {
                        gradients.extend(gradients_k.get(id).map(|gradient| ((w * clip) as f32, gradient)));
                    }
                }
            }
            self.adam.step(&mut self.network.params, id, &batch.ids, &gradients);
        }
    }
}

/// How the gradients at hand are to be combined.
enum Applied {
    /// One set of gradients, of `Σ w_k L_k`; task k's own are scaled by `factors[k]`, the shared ones by `clip`.
    Together { shared: Vec<f64>, factors: Option<Vec<f64>>, clip: f64 },
    /// One set a task.
    Apart { shared: Vec<f64>, task: Vec<f64>, clip: f64 },
}

impl Applied {
    fn shared(&self) -> &[f64] {
        match self {
            Self::Together { shared, .. } | Self::Apart { shared, .. } => shared,
        }
    }
}

/// The gradient of `Σ w_k L_k`; a task of weight zero is left out, so that its own parameters have none.
fn backward<D: Kernels>(tape: &Tape<D>, scalars: &[Var<()>], weights: &[f64], gradients: &mut Gradients<D>) {
    let seeds = scalars.iter().zip(weights).filter(|(_, w)| **w != 0.0);
    let seeds: Vec<_> = seeds.map(|(scalar, w)| (*scalar, *w as f32)).collect();
    tape.backward(&seeds, gradients);
}

/// Task gradients, their Gram matrix over the shared parameters, and the balancer's answer.
fn balance_gram<D: Kernels>(
    balancer: &mut dyn GramBalancer,
    step: &Step,
    tape: &Tape<D>,
    scalars: &[Var<()>],
    gradients: &mut [Gradients<D>],
) -> Applied {
    let tasks = scalars.len();
    let ready = balancer.without_gram(step);
    // one backward pass will do when every task's own gradient can be recovered from the weighted sum
    if let Some(Coefficients { shared, task, max_norm }) = &ready
        && shared.iter().all(|w| *w != 0.0)
    {
        backward(tape, scalars, shared, &mut gradients[0]);
        let factors = task.iter().zip(shared).map(|(t, w)| t / w).collect();
        let coefficients = Coefficients { shared: shared.clone(), task: task.clone(), max_norm: *max_norm };
        let clip = match max_norm {
            Some(_) => coefficients.clip_factor(gram_of(tape, &gradients[..1])[0].sqrt()),
            None => 1.0,
        };
        return Applied::Together { shared: shared.clone(), factors: Some(factors), clip };
    }
    for (scalar, gradients) in scalars.iter().zip(gradients.iter_mut()) {
        tape.backward(&[(*scalar, 1.0)], gradients);
    }
    let inner = gram_of(tape, gradients);
    let gram = Gram::from_fn(tasks, |i, j| inner[i * tasks + j]);
    let coefficients = ready.unwrap_or_else(|| balancer.coefficients(step, &gram));
    let clip = coefficients.clip_factor(gram.quadratic(&coefficients.shared).max(0.0).sqrt());
    Applied::Apart { shared: coefficients.shared, task: coefficients.task, clip }
}

/// Inner products of sets of gradients over the shared parameters, row-major; a parameter that a set lacks adds nothing.
fn gram_of<D: Kernels>(tape: &Tape<D>, sets: &[Gradients<D>]) -> Vec<f64> {
    let n = sets.len();
    let mut gram = vec![0.0; n * n];
    for (id, _) in tape.params().iter().filter(|(_, param)| param.owner == Owner::Shared) {
        let present: Vec<usize> = (0..n).filter(|&k| sets[k].get(id).is_some()).collect();
        let buffers: Vec<_> = sets.iter().filter_map(|set| set.get(id)).collect();
        let mut part = vec![0.0; buffers.len() * buffers.len()];
        tape.device().add_gram(&buffers, &mut part);
        for (a, &i) in present.iter().enumerate() {
            for (b, &j) in present.iter().enumerate() {
                gram[i * n + j] += part[a * buffers.len() + b];
            }
        }
    }
    gram
}
