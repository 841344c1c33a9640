//! One step of training: forward once, backward once or once a task, balance, update.

use crate::balance::gram::Gram;
use crate::balance::{Coefficients, GramBalancer, Method, Step};
use crate::model::{Adaptation, Network};
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
    /// What adapts within a step, if anything does.
    adaptation: Option<Adaptation>,
    /// Where that was before it adapted; empty when it has not.
    before: Vec<(ParamId, Vec<f32>)>,
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
        let adaptation = network.adaptation();
        Self { network, adam, method, steps: 0, seed, gradients, adaptation, before: Vec::new() }
    }

    /// Whether every batch is to come in halves, one for [`adapt`](Self::adapt) and one for [`step`](Self::step).
    pub fn adapts(&self) -> bool {
        self.adaptation.is_some()
    }

    /// Lets what adapts take its step on the support set; the next [`step`](Self::step) is made from there and takes it
    /// back. Running statistics see both halves, as they do in MTReclib.
    pub fn adapt(&mut self, support: &Batch<D>, workspace: &Workspace<D>) {
        let Some(Adaptation { params, rate }) = &self.adaptation else { return };
        self.adam.catch_up(&mut self.network.params, &support.ids);
        let mode = Mode::Train { key: Key::of_step(self.seed, self.steps).before() };
        let tape = Tape::new(&self.network.params, workspace, mode);
        let losses = self.network.losses(&tape, support);
        let share = 1.0 / losses.len() as f32;
        let seeds: Vec<_> = losses.into_iter().map(|(scalar, _)| (scalar, share)).collect();
        let gradients = &mut self.gradients[0];
        tape.backward(&seeds, gradients);
        tape.finish().apply(&mut self.network.params, workspace);
        self.network.batches_tracked += 1;
        let device = workspace.device();
        for id in params {
            let Some(gradient) = gradients.get(*id) else { continue };
            let before = device.download(&self.network.params[*id].value);
            let moved = before.iter().zip(device.download(gradient)).map(|(x, g)| x - rate * g);
            device.write(&mut self.network.params[*id].value, &moved.collect::<Vec<f32>>());
            self.before.push((*id, before));
        }
        gradients.clear(workspace);
    }

    /// Takes the step of what has adapted back.
    fn take_back(&mut self) {
        let device = self.network.params.device().clone();
        for (id, before) in self.before.drain(..) {
            device.write(&mut self.network.params[id].value, &before);
        }
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
            drop(tape);
            self.take_back();
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
        self.take_back();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{Balancer, loss::Ls};
    use crate::data::{Field, RawBatch, Schema};
    use crate::model::{MetaHeac, Sizes};
    use crate::tensor::Cpu;

    fn schema() -> Schema {
        Schema {
            fields: vec![Field { name: "f".into(), size: 5, out_of_vocabulary: None }],
            numerical: vec!["x".into()],
            tasks: vec!["a".into(), "b".into()],
        }
    }

    fn rows(from: u32) -> RawBatch {
        let rows = 12;
        let of = |step: u32| (from..from + rows).map(move |row| (row * step) % 5);
        RawBatch {
            rows: rows as usize,
            categorical: of(1).collect(),
            numerical: of(3).map(|x| x as f32 / 4.0).collect(),
            labels: of(2).chain(of(4)).map(|x| f32::from(x > 2)).collect(),
        }
    }

    fn trainer(meta: bool) -> Trainer<Cpu> {
        let arch = MetaHeac { meta, inner_lr: 0.5, dropout: 0.0, ..MetaHeac::default() }.into();
        let sizes = Sizes::Custom { embed: 4, bottom: (6, 5), tower: (4, 3) };
        let network = Network::build(&arch, &sizes, &schema(), 3, &Cpu::default()).unwrap();
        let method = Balancer::from(Ls::default()).build(2).unwrap();
        Trainer::new(network, Adam::default(), method, 1)
    }

    fn values(trainer: &Trainer<Cpu>) -> Vec<(String, Vec<f32>)> {
        let params = trainer.network.params.iter();
        params.map(|(_, param)| (param.name.clone(), trainer.network.params.device().download(&param.value))).collect()
    }

    #[test]
    fn a_meta_step_is_a_step_from_where_the_task_embeddings_adapted_to() {
        let workspace = Workspace::new(&Cpu::default());
        let mut meta = trainer(true);
        let mut slot = meta.network.batch_slot(&schema());
        let start = values(&meta);
        meta.adapt(slot.load(&rows(0)), &workspace);
        let report = meta.step(slot.load(&rows(7)), 0, &workspace);

        // the same by hand: the step on the support set, then an ordinary trainer on the query set
        let mut plain = trainer(false);
        let mut gradients = Gradients::default();
        {
            let batch = slot.load(&rows(0));
            let tape = Tape::new(&plain.network.params, &workspace, Mode::Train { key: Key::of_step(9, 9) });
            let losses = plain.network.losses(&tape, batch);
            tape.backward(&[(losses[0].0, 0.5), (losses[1].0, 0.5)], &mut gradients);
            tape.finish().apply(&mut plain.network.params, &workspace);
        }
        let embedding = |name: &str| name.starts_with("model.task_embedding");
        let ids: Vec<ParamId> =
            plain.network.params.iter().filter(|(_, p)| embedding(&p.name)).map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 2);
        for id in ids {
            let device = workspace.device();
            let gradient = device.download(gradients.get(id).unwrap());
            assert!(gradient.iter().any(|g| g.abs() > 1e-4), "{gradient:?}");
            let values = device.download(&plain.network.params[id].value);
            let moved: Vec<f32> = values.iter().zip(&gradient).map(|(x, g)| x - 0.5 * g).collect();
            device.write(&mut plain.network.params[id].value, &moved);
        }
        let adapted = values(&plain);
        let expected = plain.step(slot.load(&rows(7)), 0, &workspace);
        assert_eq!(report.losses, expected.losses);
        let by_hand = values(&plain);
        for (k, (name, after)) in values(&meta).iter().enumerate() {
            if embedding(name) {
                // Adam's step of the adapted embedding, from where the embedding was
                let moved = by_hand[k].1.iter().zip(&adapted[k].1).map(|(after, before)| after - before);
                for ((after, start), moved) in after.iter().zip(&start[k].1).zip(moved) {
                    assert!((after - start - moved).abs() < 1e-6 && moved.abs() > 1e-4, "{after} {start} {moved}");
                }
            } else {
                assert_eq!(*after, by_hand[k].1, "{name}");
            }
        }
    }
}
