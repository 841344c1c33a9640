//! What each kind of balancer is asked, and what it answers.

use serde_json::Value;

use super::gram::Gram;
use super::{Coefficients, Memory, Step};

/// Maps K losses to K weights; one backward pass of `Σ w_k L_k`, whose weights also reach the task parameters.
pub trait LossBalancer: Memory + Send {
    /// `w_k = ∂total/∂L_k`.
    fn weights(&mut self, step: &Step) -> Vec<f64>;
    /// Whether [`LossBalancer::after_step`] wants the losses of the same batch after the update.
    fn wants_losses_after_step(&self) -> bool {
        false
    }
    /// The losses of the same batch after the update (FAMO).
    fn after_step(&mut self, losses: &[f64]) {
        let _ = losses;
    }
}

/// Maps the Gram matrix of the shared task gradients to coefficients; K backward passes.
pub trait GramBalancer: Memory + Send {
    /// The coefficients of a step that needs no fresh Gram matrix (a balancer that refreshes every n steps); one backward then.
    fn without_gram(&mut self, step: &Step) -> Option<Coefficients> {
        let _ = step;
        None
    }
    /// The coefficients for this Gram matrix.
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients;
}

/// How a gradient enters its running average: `Y_k ← keep·Y_k + take·g_k`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blend {
    /// What stays of the average.
    pub keep: f64,
    /// What of the gradient comes in.
    pub take: f64,
}

/// Sees running averages `Y_k` of the shared task gradients, zero at first, in place of the gradients: a K×P buffer. The
/// averages themselves are the driver's to keep and to save.
pub trait TrackBalancer: Memory + Send {
    /// How this step's gradient of task `k` enters its average; `norm` gives `‖g_k‖` to those who ask.
    fn blend(&self, step: &Step, task: usize, norm: &dyn Fn() -> f64) -> Blend;
    /// The coefficients, whose shared ones multiply the averages, for the Gram matrix of the averages after blending.
    fn coefficients(&mut self, step: &Step, gram: &Gram) -> Coefficients;
}

/// Sees the products of the shared task gradients of two independent batches, whose gradients (twice K of them) therefore
/// have to be there together. A mini-batch is cut into as many parts as the balancer needs batches.
pub trait CrossBalancer: Memory + Send {
    /// The batches that a step takes, two or more.
    fn batches(&self) -> usize;
    /// For each batch, the coefficients of its task gradients, given `cross[i][j] = g_i(first batch) · g_j(second)`. The
    /// step's losses are means over the batches.
    fn coefficients(&mut self, step: &Step, cross: &[Vec<f64>]) -> Vec<Coefficients>;
}

/// Maps the tasks' excess risks to loss weights, which also reach the task parameters; K backward passes.
pub trait ExcessBalancer: Memory + Send {
    /// The weights for `e_k = Σ_p g_kp² / √(S_kp + 1e-7)`, where `S_kp` sums the squares of all gradients of shared
    /// coordinate p so far, this step's included. The sums are the driver's to keep and to save.
    fn weights(&mut self, step: &Step, excess: &[f64]) -> Vec<f64>;
}

/// Combines the shared task gradients coordinate by coordinate; the task parameters follow their own loss, unweighted.
pub trait ElementBalancer: Memory + Send + Sync {
    /// `out_p = f(g_1p, …, g_Kp)` for a run of coordinates, of which the first has number `first` among all shared
    /// coordinates. `columns[k]` holds the run of task k, all as long as `out`. Runs come in any order, on any thread.
    fn combine(&self, step: &Step, first: u64, columns: &[&[f32]], out: &mut [f32]);
}

/// Weighs the updates that Adam would make of each task's shared gradient alone, from moments that the tasks share:
/// `θ ← θ − lr Σ a_k D_k`, and the moments take in `Σ a_k g_k`. The task parameters follow their own loss, unweighted.
pub trait UpdateBalancer: Memory + Send {
    /// The weights of a step that needs no fresh Gram matrix; the updates are formed all the same.
    fn without_gram(&mut self, step: &Step) -> Option<Vec<f64>> {
        let _ = step;
        None
    }
    /// The weights for the Gram matrix of the updates, `Q_ij = D_i · D_j`.
    fn weights(&mut self, step: &Step, gram: &Gram) -> Vec<f64>;
}

/// How far one step may move a coordinate: `relative·|θ_p| + absolute`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateBounds {
    /// As a share of the coordinate's size.
    pub relative: f64,
    /// Whatever its size.
    pub absolute: f64,
}

/// A balancer at work, by what it needs of a step.
pub enum Method {
    /// Needs the losses.
    Loss(Box<dyn LossBalancer>),
    /// Needs the Gram matrix of the shared task gradients.
    Gram(Box<dyn GramBalancer>),
    /// Needs running averages of the shared task gradients, and their Gram matrix.
    Track(Box<dyn TrackBalancer>),
    /// Needs the task gradients of several batches.
    Cross(Box<dyn CrossBalancer>),
    /// Needs the sums of the squares of each task's shared gradients.
    Excess(Box<dyn ExcessBalancer>),
    /// Needs every coordinate of the shared task gradients.
    Element(Box<dyn ElementBalancer>),
    /// Needs Adam's update of every task, from moments that the tasks share.
    Update(Box<dyn UpdateBalancer>),
    /// Needs Adam's moments of every task: each task has an Adam of its own for the shared parameters, and they move by the
    /// sum of the updates. The numbers are the weights of the losses.
    TaskAdam(Vec<f64>),
    /// Another method (of losses or of the Gram matrix) whose update is shortened, tensor by tensor, until no coordinate
    /// moves further than the bounds allow.
    Clipped(Box<Method>, UpdateBounds),
}

/// What a step costs a balancer beside a forward and a backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The mean task losses.
    Losses,
    /// The losses of the same batch after the update: a second forward pass.
    SecondForward,
    /// The Gram matrix of the shared task gradients: a backward pass a task.
    Gram,
    /// Running averages or sums of squares of the shared task gradients: K×P numbers.
    History,
    /// The task gradients of this many batches.
    Batches,
    /// Every coordinate of the shared task gradients.
    Coordinates,
    /// The moments of Adam, and the step itself.
    Optimizer,
}

impl Need {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Need::Losses => "losses",
            Need::SecondForward => "second forward",
            Need::Gram => "Gram",
            Need::History => "K×P history",
            Need::Batches => "extra batches",
            Need::Coordinates => "coordinates",
            Need::Optimizer => "Adam's moments",
        }
    }
}

impl Method {
    /// The class of the balancer, as the field divides them: by losses, by gradients, by coordinates, by updates.
    pub fn class(&self) -> &'static str {
        match self {
            Method::Loss(_) => "loss",
            Method::Gram(_) => "Gram",
            Method::Track(_) => "Gram, buffered",
            Method::Cross(_) => "Gram, several batches",
            Method::Excess(_) => "Gram, excess risk",
            Method::Element(_) => "element-wise",
            Method::Update(_) | Method::TaskAdam(_) | Method::Clipped(..) => "update",
        }
    }

    /// What the balancer needs of a step.
    pub fn needs(&mut self) -> Vec<Need> {
        match self {
            Method::Loss(balancer) if balancer.wants_losses_after_step() => vec![Need::Losses, Need::SecondForward],
            Method::Loss(_) => vec![Need::Losses],
            Method::Gram(_) => vec![Need::Gram],
            Method::Track(_) => vec![Need::Gram, Need::History],
            Method::Cross(_) => vec![Need::Gram, Need::Batches],
            Method::Excess(_) => vec![Need::Coordinates, Need::History],
            Method::Element(_) => vec![Need::Coordinates],
            Method::Update(_) => vec![Need::Gram, Need::Coordinates, Need::Optimizer],
            Method::TaskAdam(_) => vec![Need::Coordinates, Need::Optimizer],
            Method::Clipped(of, _) => {
                let mut needs = of.needs();
                needs.push(Need::Optimizer);
                needs
            }
        }
    }

    fn memory(&self) -> Option<&dyn Memory> {
        match self {
            Method::Loss(balancer) => Some(&**balancer),
            Method::Gram(balancer) => Some(&**balancer),
            Method::Track(balancer) => Some(&**balancer),
            Method::Cross(balancer) => Some(&**balancer),
            Method::Excess(balancer) => Some(&**balancer),
            Method::Element(balancer) => Some(&**balancer),
            Method::Update(balancer) => Some(&**balancer),
            Method::TaskAdam(_) => None,
            Method::Clipped(of, _) => of.memory(),
        }
    }

    fn memory_mut(&mut self) -> Option<&mut dyn Memory> {
        match self {
            Method::Loss(balancer) => Some(&mut **balancer),
            Method::Gram(balancer) => Some(&mut **balancer),
            Method::Track(balancer) => Some(&mut **balancer),
            Method::Cross(balancer) => Some(&mut **balancer),
            Method::Excess(balancer) => Some(&mut **balancer),
            Method::Element(balancer) => Some(&mut **balancer),
            Method::Update(balancer) => Some(&mut **balancer),
            Method::TaskAdam(_) => None,
            Method::Clipped(of, _) => of.memory_mut(),
        }
    }

    /// The batches that a step takes.
    pub fn batches(&self) -> usize {
        match self {
            Method::Cross(balancer) => balancer.batches(),
            _ => 1,
        }
    }

    /// Whether the method makes the update of the shared parameters itself, and decays them apart from it.
    pub fn owns_update(&self) -> bool {
        matches!(self, Method::Update(_) | Method::TaskAdam(_) | Method::Clipped(..))
    }

    /// How far a step may move a coordinate, if that is bounded.
    pub fn bounds(&self) -> Option<UpdateBounds> {
        match self {
            Method::Clipped(_, bounds) => Some(*bounds),
            _ => None,
        }
    }

    /// The balancer, if it wants to see the losses of the same batch after the update.
    pub fn wants_losses_after_step(&mut self) -> Option<&mut dyn LossBalancer> {
        match self {
            Method::Loss(balancer) if balancer.wants_losses_after_step() => Some(&mut **balancer),
            Method::Clipped(of, _) => of.wants_losses_after_step(),
            _ => None,
        }
    }
}

impl Memory for Method {
    fn save(&self) -> Value {
        self.memory().map_or(Value::Null, Memory::save)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        self.memory_mut().map_or(Ok(()), |memory| memory.restore(saved))
    }
}
