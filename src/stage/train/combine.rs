//! From the task losses of a forward pass to what the optimizer is to do: as many backward passes as the balancer needs,
//! its answer, and how the gradients at hand are to be combined by it.

use crate::balance::gram::Gram;
use crate::balance::{
    Coefficients, CrossBalancer, ElementBalancer, ExcessBalancer, GramBalancer, Method, Step, TrackBalancer,
    UpdateBalancer,
};
use crate::optim::AdamState;
use crate::tensor::{Buffer, Gradients, Held, Kernels, Kind, ParamId, Params, Tape, Var, Workspace};

/// A forward pass on one batch and its task losses.
pub(super) struct Pass<'a, D: Kernels> {
    pub tape: Tape<'a, D>,
    pub losses: Vec<Var<()>>,
}

impl<D: Kernels> Pass<'_, D> {
    /// The gradient of `Σ w_k L_k`; a task of weight zero is left out, so that its own parameters have none.
    fn backward(&self, weights: &[f64], gradients: &mut Gradients<D>) {
        let seeds = self.losses.iter().zip(weights).filter(|(_, w)| **w != 0.0);
        let seeds: Vec<_> = seeds.map(|(scalar, w)| (*scalar, *w as f32)).collect();
        self.tape.backward(&seeds, gradients);
    }

    /// The gradient of one task's loss.
    fn backward_task(&self, task: usize, gradients: &mut Gradients<D>) {
        self.tape.backward(&[(self.losses[task], 1.0)], gradients);
    }

    /// The gradient of every task's loss, a set each.
    fn backward_each(&self, gradients: &mut [Gradients<D>]) {
        gradients.iter_mut().enumerate().for_each(|(task, gradients)| self.backward_task(task, gradients));
    }
}

/// What a trainer keeps for its balancer from step to step, beside the balancer's own memory, and what a step fills.
pub(super) struct Sets<D: Kernels> {
    /// One set of gradients a task (of each batch, for several), or the first for all; empty between steps.
    pub gradients: Vec<Gradients<D>>,
    /// What is remembered of each task's shared gradients, coordinate by coordinate: averages, or sums of squares.
    pub history: Vec<Gradients<D>>,
}

impl<D: Kernels> Sets<D> {
    pub fn new(tasks: usize, method: &Method) -> Self {
        let sets = |count: usize| (0..count).map(|_| Gradients::default()).collect();
        let remembered = if matches!(method, Method::Track(_) | Method::Excess(_)) { tasks } else { 0 };
        Self { gradients: sets(tasks * method.batches()), history: sets(remembered) }
    }

    pub fn clear(&mut self, workspace: &Workspace<D>) {
        self.gradients.iter_mut().for_each(|gradients| gradients.clear(workspace));
    }
}

/// How the gradients at hand are to be combined.
pub(super) struct Combined {
    pub shared: Shared,
    pub own: Own,
    /// Each task's weight in the shared gradient (or update), for the learning curve.
    pub weights: Vec<f64>,
    /// The Gram matrix of the task gradients, where the balancer has needed it.
    pub gram: Option<Gram>,
}

/// What the shared parameters follow.
pub(super) enum Shared {
    /// The sum of the sets of gradients, each times its coefficient; those of coefficient `None` hold nothing.
    Sum(Vec<Option<f64>>),
    /// The sum of the remembered averages.
    Averages(Vec<f64>),
    /// The weighted sum of Adam's updates of each task, from common moments.
    Updates(Vec<f64>),
    /// The sum of the updates of an Adam for each task, which sees its gradients by these weights.
    TaskAdam(Vec<f64>),
}

/// What the parameters of single tasks follow.
pub(super) enum Own {
    /// The first set, of a weighted sum, times the task's factor.
    Together(Vec<f64>),
    /// Each task's own set (one a batch) times its coefficient.
    Apart(Vec<f64>),
}

impl Combined {
    /// The gradient of a task's own parameter, as terms of a sum.
    pub fn of_task<'s, D: Kernels>(
        &self,
        task: usize,
        id: ParamId,
        sets: &'s [Gradients<D>],
    ) -> Vec<(f32, &'s Buffer<D>)> {
        let term = |set: usize, factor: f64| Some((factor as f32, sets[set].get(id)?));
        match &self.own {
            Own::Together(factors) => term(0, factors[task]).into_iter().collect(),
            Own::Apart(factors) => {
                let tasks = self.weights.len();
                (task..factors.len()).step_by(tasks).filter_map(|set| term(set, factors[set])).collect()
            }
        }
    }

    /// The combined gradient of a shared parameter, as terms of a sum.
    pub fn of_shared<'s, D: Kernels>(
        coefficients: &[Option<f64>],
        id: ParamId,
        sets: &'s [Gradients<D>],
    ) -> Vec<(f32, &'s Buffer<D>)> {
        let terms = coefficients.iter().zip(sets);
        terms.filter_map(|(coefficient, set)| Some(((*coefficient)? as f32, set.get(id)?))).collect()
    }
}

/// Asks the balancer, with the backward passes it needs.
pub(super) fn combine<D: Kernels>(
    method: &mut Method,
    step: &Step,
    passes: &[Pass<D>],
    ids: &D::Ids,
    sets: &mut Sets<D>,
    optimizer: &mut AdamState<D>,
) -> Combined {
    let pass = &passes[0];
    match method {
        Method::Loss(balancer) => {
            let weights = balancer.weights(step);
            pass.backward(&weights, &mut sets.gradients[0]);
            let own = Own::Together(vec![1.0; weights.len()]);
            Combined { shared: Shared::Sum(vec![Some(1.0)]), own, weights, gram: None }
        }
        Method::Gram(balancer) => by_gram(balancer.as_mut(), step, pass, sets),
        Method::Track(balancer) => by_averages(balancer.as_mut(), step, pass, ids, sets),
        Method::Cross(balancer) => by_products(balancer.as_mut(), step, passes, sets),
        Method::Excess(balancer) => by_excess(balancer.as_mut(), step, pass, ids, sets),
        Method::Element(balancer) => by_coordinates(balancer.as_ref(), step, pass, sets),
        Method::Update(balancer) => by_updates(balancer.as_mut(), step, pass, ids, sets, optimizer),
        Method::TaskAdam(weights) => {
            pass.backward_each(&mut sets.gradients);
            let weights = weights.clone();
            let own = Own::Apart(weights.clone());
            Combined { shared: Shared::TaskAdam(weights.clone()), own, weights, gram: None }
        }
        Method::Clipped(of, _) => combine(of, step, passes, ids, sets, optimizer),
    }
}

/// The sum of one set a task.
fn sum_of_sets(coefficients: Coefficients, clip: f64, gram: Option<Gram>) -> Combined {
    let shared = coefficients.shared.iter().map(|w| Some(w * clip)).collect();
    let own = Own::Apart(coefficients.task);
    Combined { shared: Shared::Sum(shared), own, weights: coefficients.shared, gram }
}

/// Task gradients, their Gram matrix over the shared parameters, and the balancer's answer.
fn by_gram<D: Kernels>(
    balancer: &mut dyn GramBalancer,
    step: &Step,
    pass: &Pass<D>,
    Sets { gradients, .. }: &mut Sets<D>,
) -> Combined {
    let ready = balancer.without_gram(step);
    // one backward pass will do when every task's own gradient can be recovered from the weighted sum
    if let Some(coefficients) = &ready
        && coefficients.shared.iter().all(|w| *w != 0.0)
    {
        let Coefficients { shared, task, max_norm } = coefficients;
        pass.backward(shared, &mut gradients[0]);
        let factors = task.iter().zip(shared).map(|(t, w)| t / w).collect();
        let clip = match max_norm {
            Some(_) => coefficients.clip_factor(gram_of(pass.tape.params(), &gradients[..1])[(0, 0)].sqrt()),
            None => 1.0,
        };
        let own = Own::Together(factors);
        return Combined { shared: Shared::Sum(vec![Some(clip)]), own, weights: shared.clone(), gram: None };
    }
    pass.backward_each(gradients);
    let gram = gram_of(pass.tape.params(), gradients);
    let coefficients = ready.unwrap_or_else(|| balancer.coefficients(step, &gram));
    let clip = coefficients.clip_factor(gram.quadratic(&coefficients.shared).sqrt());
    sum_of_sets(coefficients, clip, Some(gram))
}

/// One task after the other enters its average, so that only one gradient of the shared parameters exists at a time beside
/// the averages.
fn by_averages<D: Kernels>(
    balancer: &mut dyn TrackBalancer,
    step: &Step,
    pass: &Pass<D>,
    ids: &D::Ids,
    Sets { gradients, history }: &mut Sets<D>,
) -> Combined {
    let (params, workspace) = (pass.tape.params(), pass.tape.workspace());
    for (task, (set, averages)) in gradients.iter_mut().zip(history.iter_mut()).enumerate() {
        pass.backward_task(task, set);
        let norm = || gram_of(params, std::slice::from_ref(set))[(0, 0)].sqrt();
        let blend = balancer.blend(step, task, &norm);
        for (id, param) in params.shared() {
            if let Some(gradient) = set.get(id) {
                let held = Held::of(param.kind, ids);
                let average = averages.whole(params, id);
                params.device().blend(held, gradient, blend.keep as f32, blend.take as f32, average);
            }
        }
        set.clear_shared(params, workspace);
    }
    let gram = gram_of(params, history);
    let coefficients = balancer.coefficients(step, &gram);
    let clip = coefficients.clip_factor(gram.quadratic(&coefficients.shared).sqrt());
    let shared = coefficients.shared.iter().map(|w| w * clip).collect();
    let own = Own::Apart(coefficients.task);
    Combined { shared: Shared::Averages(shared), own, weights: coefficients.shared, gram: None }
}

/// The gradients of two batches are there together, since their products are asked for; a third batch's take the place of
/// those that count no more.
fn by_products<D: Kernels>(
    balancer: &mut dyn CrossBalancer,
    step: &Step,
    passes: &[Pass<D>],
    Sets { gradients, .. }: &mut Sets<D>,
) -> Combined {
    let tasks = passes[0].losses.len();
    let (params, workspace) = (passes[0].tape.params(), passes[0].tape.workspace());
    for (pass, sets) in passes.iter().zip(gradients.chunks_mut(tasks)).take(2) {
        pass.backward_each(sets);
    }
    let gram = gram_of(params, &gradients[..2 * tasks]);
    let cross: Vec<Vec<f64>> = (0..tasks).map(|i| (0..tasks).map(|j| gram[(i, tasks + j)]).collect()).collect();
    let coefficients = balancer.coefficients(step, &cross);
    let mut shared = Vec::with_capacity(gradients.len());
    let mut own = Vec::with_capacity(gradients.len());
    let mut weights = vec![0.0; tasks];
    for (batch, coefficients) in coefficients.iter().enumerate() {
        let sets = &mut gradients[batch * tasks..(batch + 1) * tasks];
        let counts = coefficients.shared.iter().any(|w| *w != 0.0);
        if batch >= 2 {
            passes[batch].backward_each(sets);
        } else if !counts {
            sets.iter_mut().for_each(|set| set.clear_shared(params, workspace));
        }
        shared.extend(coefficients.shared.iter().map(|w| counts.then_some(*w)));
        own.extend(&coefficients.task);
        weights.iter_mut().zip(&coefficients.shared).for_each(|(sum, w)| *sum += w);
    }
    let first: Vec<usize> = (0..tasks).collect();
    let gram = Some(gram.of_tasks(&first));
    Combined { shared: Shared::Sum(shared), own: Own::Apart(own), weights, gram }
}

fn by_excess<D: Kernels>(
    balancer: &mut dyn ExcessBalancer,
    step: &Step,
    pass: &Pass<D>,
    ids: &D::Ids,
    Sets { gradients, history }: &mut Sets<D>,
) -> Combined {
    pass.backward_each(gradients);
    let params = pass.tape.params();
    let excess = |(set, squares): (&Gradients<D>, &mut Gradients<D>)| -> f64 {
        let of = |(id, kind): (ParamId, Kind)| {
            set.get(id).map(|gradient| params.device().excess(Held::of(kind, ids), gradient, squares.whole(params, id)))
        };
        params.shared().map(|(id, param)| (id, param.kind)).filter_map(of).sum()
    };
    let excess: Vec<f64> = gradients.iter().zip(history.iter_mut()).map(excess).collect();
    let weights = balancer.weights(step, &excess);
    sum_of_sets(Coefficients { task: weights.clone(), shared: weights, max_norm: None }, 1.0, None)
}

/// The combined gradient takes the place of the first task's; the others' are given back.
fn by_coordinates<D: Kernels>(
    balancer: &dyn ElementBalancer,
    step: &Step,
    pass: &Pass<D>,
    Sets { gradients, .. }: &mut Sets<D>,
) -> Combined {
    pass.backward_each(gradients);
    let (params, workspace, device) = (pass.tape.params(), pass.tape.workspace(), pass.tape.device());
    // where a parameter's coordinates start among all shared ones
    let mut first = 0;
    for (id, param) in params.shared() {
        let Some(len) = gradients.iter().find_map(|set| set.get(id)).map(D::len) else { continue };
        let zeros = gradients.iter().any(|set| set.get(id).is_none()).then(|| device.zeros(len));
        let columns: Vec<_> = gradients.iter().filter_map(|set| set.get(id).or(zeros.as_ref())).collect();
        let mut out = workspace.take(len);
        let map = |at: usize, columns: &[&[f32]], out: &mut [f32]| {
            balancer.combine(step, first + at as u64, columns, out);
        };
        device.map_columns(&columns, &map, &mut out);
        first += D::len(&param.value) as u64;
        gradients[0].replace(id, out).into_iter().for_each(|buffer| workspace.give(buffer));
    }
    let tasks = gradients.len();
    gradients[1..].iter_mut().for_each(|set| set.clear_shared(params, workspace));
    let shared = (0..tasks).map(|set| (set == 0).then_some(1.0)).collect();
    let own = Own::Apart(vec![1.0; tasks]);
    Combined { shared: Shared::Sum(shared), own, weights: vec![1.0; tasks], gram: None }
}

fn by_updates<D: Kernels>(
    balancer: &mut dyn UpdateBalancer,
    step: &Step,
    pass: &Pass<D>,
    ids: &D::Ids,
    Sets { gradients, .. }: &mut Sets<D>,
    optimizer: &mut AdamState<D>,
) -> Combined {
    pass.backward_each(gradients);
    let weights = balancer.without_gram(step).unwrap_or_else(|| {
        let (params, tasks) = (pass.tape.params(), gradients.len());
        let mut gram = vec![0.0; tasks * tasks];
        for (id, _) in params.shared() {
            let of_tasks: Vec<_> = gradients.iter().map(|set| set.get(id)).collect();
            optimizer.add_update_gram(params, id, ids, &of_tasks, &mut gram);
        }
        balancer.weights(step, &Gram::from_fn(tasks, |i, j| gram[i * tasks + j]))
    });
    let own = Own::Apart(vec![1.0; weights.len()]);
    Combined { shared: Shared::Updates(weights.clone()), own, weights, gram: None }
}

/// The Gram matrix of the task gradients of a pass, for those who want to see it where the balancer does not; leaves the
/// sets empty.
pub(super) fn look<D: Kernels>(pass: &Pass<D>, gradients: &mut [Gradients<D>]) -> Gram {
    let gradients = &mut gradients[..pass.losses.len()];
    pass.backward_each(gradients);
    let gram = gram_of(pass.tape.params(), gradients);
    gradients.iter_mut().for_each(|set| set.clear(pass.tape.workspace()));
    gram
}

/// Inner products of sets of gradients over the shared parameters; a parameter that a set lacks adds nothing.
fn gram_of<D: Kernels>(params: &Params<D>, sets: &[Gradients<D>]) -> Gram {
    let n = sets.len();
    let gradients: Vec<Vec<_>> = params.shared().map(|(id, _)| sets.iter().map(|set| set.get(id)).collect()).collect();
    let gram = params.device().gram(n, &gradients);
    Gram::from_fn(n, |i, j| gram[i * n + j])
}
