//! One step of training: forward once, backward once or once a task, balance, update.

use super::combine::{Combined, Pass, Sets, Shared, combine, look};
use crate::balance::gram::Gram;
use crate::balance::{Method, Step};
use crate::model::{Adaptation, Network};
use crate::nn::Batch;
use crate::optim::{Adam, AdamState, Decay};
use crate::tensor::{Kernels, Key, Mode, Owner, ParamId, StepBounds, Tape, Workspace};

/// A network, its optimizer and its balancer.
pub struct Trainer<D: Kernels> {
    /// The model; [`Trainer::settle`] before it is used outside a step.
    pub network: Network<D>,
    /// Its optimizer; further ones follow the gradients of single tasks, for a balancer that wants that.
    pub optimizers: Vec<AdamState<D>>,
    /// Its balancer.
    pub method: Method,
    /// Steps taken.
    pub steps: u64,
    seed: u64,
    /// Gradients, kept for the next step, and what is remembered of them.
    pub(super) sets: Sets<D>,
    /// What adapts within a step, if anything does.
    adaptation: Option<Adaptation>,
    /// What has adapted; empty when nothing has.
    adapted: Vec<Adapted>,
}

/// A parameter that has adapted to a support set.
struct Adapted {
    id: ParamId,
    /// Where it was before.
    before: Vec<f32>,
    /// How far it went from there.
    shift: Vec<f32>,
}

/// What a step says of itself.
pub struct Report {
    /// Each task's mean loss before the update.
    pub losses: Vec<f64>,
    /// Each task's weight in the shared gradient; in the shared update, for a balancer of updates.
    pub weights: Vec<f64>,
    /// The Gram matrix of the task gradients of the shared parameters: when asked for, and whenever the balancer has
    /// needed it.
    pub gram: Option<Gram>,
    /// By how much the busiest expert's load exceeds the mean load, as a share of it, in a model that routes samples.
    pub max_violation: Option<f64>,
}

impl<D: Kernels> Trainer<D> {
    /// No step taken yet; `seed` decides dropout masks and the balancer's draws.
    pub fn new(network: Network<D>, adam: Adam, method: Method, seed: u64) -> Self {
        let optimizers = if matches!(method, Method::TaskAdam(_)) { network.tasks() } else { 1 };
        let optimizers = (0..optimizers).map(|_| AdamState::new(adam, &network.params)).collect();
        let sets = Sets::new(network.tasks(), &method);
        let adaptation = network.adaptation();
        Self { network, optimizers, method, steps: 0, seed, sets, adaptation, adapted: Vec::new() }
    }

    /// Whether every batch is to come in halves, one for [`adapt`](Self::adapt) and one for [`step`](Self::step).
    pub fn adapts(&self) -> bool {
        self.adaptation.is_some()
    }

    /// Into how many parts [`step`](Self::step) wants a batch to be cut.
    pub fn parts(&self) -> usize {
        self.method.batches()
    }

    /// Lets what adapts take its step on the support set (whatever parts it comes in); the next [`step`](Self::step) is made
    /// from there and takes it back. Running statistics see both halves, as they do in MTReclib.
    pub fn adapt(&mut self, support: &[Batch<D>], workspace: &Workspace<D>) {
        let Some(Adaptation { params, rate }) = &self.adaptation else { return };
        self.optimizers.iter_mut().for_each(|adam| adam.catch_up(&mut self.network.params, &support[0].ids));
        let key = Key::of_step(self.seed, self.steps).before();
        let gradients = &mut self.sets.gradients[0];
        for (part, batch) in support.iter().enumerate() {
            let tape = Tape::new(&self.network.params, workspace, Mode::Train { key: key.of_part(part) });
            let losses = self.network.losses(&tape, batch);
            let share = 1.0 / (losses.len() * support.len()) as f32;
            let seeds: Vec<_> = losses.into_iter().map(|(scalar, _)| (scalar, share)).collect();
            tape.backward(&seeds, gradients);
            tape.finish().apply(&mut self.network.params, workspace);
            self.network.batches_tracked += 1;
        }
        let device = workspace.device();
        for &id in params {
            let Some(gradient) = gradients.get(id) else { continue };
            let before = device.download(&self.network.params[id].value);
            let shift = device.download(gradient).iter().map(|g| -rate * g).collect();
            self.adapted.push(Adapted { id, before, shift });
        }
        gradients.clear(workspace);
        self.shift();
    }

    /// Moves what has adapted from where it is now.
    fn shift(&mut self) {
        let device = self.network.params.device().clone();
        for Adapted { id, shift, .. } in &self.adapted {
            let value = &mut self.network.params[*id].value;
            let moved: Vec<f32> = device.download(value).iter().zip(shift).map(|(x, shift)| x + shift).collect();
            device.write(value, &moved);
        }
    }

    /// Takes what has adapted back to where it was.
    fn take_back(&mut self) {
        let device = self.network.params.device().clone();
        for Adapted { id, before, .. } in &self.adapted {
            device.write(&mut self.network.params[*id].value, before);
        }
    }

    /// Brings every parameter up to date: between two steps, rows of embedding tables may wait for theirs.
    pub fn settle(&mut self) {
        self.optimizers.iter_mut().for_each(|adam| adam.settle(&mut self.network.params));
    }

    /// One optimizer step on a batch, in as many [`parts`](Self::parts) as the balancer wants; `observe` asks for the Gram
    /// matrix of the task gradients of a balancer that does not look at it (one that does and skips a step is not disturbed).
    /// Nothing is updated when a loss is not finite.
    pub fn step(&mut self, parts: &[Batch<D>], epoch: u64, observe: bool, workspace: &Workspace<D>) -> Report {
        let ids = &parts[0].ids;
        self.optimizers.iter_mut().for_each(|adam| adam.catch_up(&mut self.network.params, ids));
        let key = Key::of_step(self.seed, self.steps);
        let mut losses = vec![0.0; self.network.tasks()];
        let pass = |(part, batch): (usize, &Batch<D>)| {
            let tape = Tape::new(&self.network.params, workspace, Mode::Train { key: key.of_part(part) });
            let (scalars, values): (Vec<_>, Vec<_>) = self.network.losses(&tape, batch).into_iter().unzip();
            losses.iter_mut().zip(values).for_each(|(mean, loss): (&mut f64, f64)| *mean += loss / parts.len() as f64);
            Pass { tape, losses: scalars }
        };
        let passes: Vec<Pass<D>> = parts.iter().enumerate().map(pass).collect();
        if losses.iter().any(|loss| !loss.is_finite()) {
            let weights = vec![0.0; losses.len()];
            drop(passes);
            self.take_back();
            self.adapted.clear();
            return Report { losses, weights, gram: None, max_violation: None };
        }
        let step = Step { index: self.steps, epoch, seed: self.seed, losses: &losses };
        // a Gram balancer looks for itself
        let seen = (observe && !matches!(self.method, Method::Gram(_) | Method::Cross(_)))
            .then(|| look(&passes[0], &mut self.sets.gradients));
        let combined = combine(&mut self.method, &step, &passes, ids, &mut self.sets, &mut self.optimizers[0]);
        let statistics: Vec<_> = passes.into_iter().map(|pass| pass.tape.finish()).collect();
        let max_violation =
            statistics.iter().filter_map(|seen| seen.max_violation(workspace.device())).reduce(f64::max);
        for seen in statistics {
            seen.apply(&mut self.network.params, workspace);
            self.network.batches_tracked += 1;
        }
        self.steps += 1;
        self.take_back();
        self.update(ids, &combined);
        self.sets.clear(workspace);
        self.look_again(&parts[0], key, workspace);
        self.adapted.clear();
        Report { losses, weights: combined.weights, gram: seen.or(combined.gram), max_violation }
    }

    /// Adam, or what the balancer makes of it, on every parameter some task reaches.
    fn update(&mut self, ids: &D::Ids, combined: &Combined) {
        let Self { network, optimizers, method, sets: Sets { gradients, history }, .. } = self;
        let params = &mut network.params;
        let decay = if method.owns_update() { Decay::Decoupled } else { Decay::Coupled };
        for id in (0..params.len()).map(ParamId) {
            let terms = match (params[id].owner, &combined.shared) {
                (Owner::Nobody, _) => continue,
                (Owner::Task(task), _) => combined.of_task(task, id, gradients),
                (Owner::Shared, Shared::Sum(coefficients)) => Combined::of_shared(coefficients, id, gradients),
                (Owner::Shared, Shared::Averages(coefficients)) => {
                    let averages = history.iter().zip(coefficients);
                    let terms: Vec<_> = averages.filter_map(|(set, w)| Some((*w as f32, set.get(id)?))).collect();
                    optimizers[0].step_whole(params, id, &terms);
                    continue;
                }
                (Owner::Shared, Shared::Updates(weights)) => {
                    let of_tasks: Vec<_> = gradients.iter().map(|set| set.get(id)).collect();
                    let weights: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
                    optimizers[0].step_by_task(params, id, ids, &of_tasks, &weights);
                    continue;
                }
                (Owner::Shared, Shared::TaskAdam(weights)) => {
                    // decay is the first task's to do
                    let mut decay = decay;
                    for ((adam, set), w) in optimizers.iter_mut().zip(&*gradients).zip(weights) {
                        if let Some(gradient) = set.get(id) {
                            adam.step(params, id, ids, decay, &[(*w as f32, gradient)]);
                            decay = Decay::Without;
                        }
                    }
                    continue;
                }
            };
            match method.bounds() {
                Some(bounds) => {
                    let bounds = StepBounds { relative: bounds.relative as f32, absolute: bounds.absolute as f32 };
                    optimizers[0].step_clipped(params, id, ids, bounds, &terms);
                }
                None => optimizers[0].step(params, id, ids, decay, &terms),
            }
        }
    }

    /// Shows a balancer that wants them the losses of the same batch after the update: with the same masks, batch statistics
    /// and adaptation; running statistics and routers' biases stay.
    fn look_again(&mut self, batch: &Batch<D>, key: Key, workspace: &Workspace<D>) {
        if self.method.wants_losses_after_step().is_none() {
            return;
        }
        let before: Vec<Vec<f32>> = self
            .adapted
            .iter()
            .map(|adapted| workspace.device().download(&self.network.params[adapted.id].value))
            .collect();
        self.shift();
        let tape = Tape::new(&self.network.params, workspace, Mode::Train { key });
        let fresh: Vec<f64> = self.network.losses(&tape, batch).iter().map(|(_, loss)| *loss).collect();
        tape.finish().discard(workspace);
        for (adapted, before) in self.adapted.iter().zip(before) {
            workspace.device().write(&mut self.network.params[adapted.id].value, &before);
        }
        if let Some(balancer) = self.method.wants_losses_after_step() {
            balancer.after_step(&fresh);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{Balancer, loss::Ls};
    use crate::data::{Field, RawBatch, Schema};
    use crate::model::{MetaHeac, Sizes};
    use crate::tensor::{Cpu, Gradients};

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
        meta.adapt(slot.load(&rows(0), 1), &workspace);
        let report = meta.step(slot.load(&rows(7), 1), 0, false, &workspace);

        // the same by hand: the step on the support set, then an ordinary trainer on the query set
        let mut plain = trainer(false);
        let mut gradients = Gradients::default();
        {
            let batch = &slot.load(&rows(0), 1)[0];
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
        let expected = plain.step(slot.load(&rows(7), 1), 0, false, &workspace);
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
