//! What kernels are told of an optimizer's step, and of the gradients it goes by.

use super::Kernels;
use crate::tensor::{Buffer, Kind};

/// Adam's numbers for one step of one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Which step of the parameter this is, from 1.
    pub index: u32,
    /// Step size divided by the first moment's bias correction.
    pub step_size: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Square root of the second moment's bias correction.
    pub root_correction2: f32,
    /// Added to the root of the corrected second moment.
    pub eps: f32,
    /// L2 penalty added to the gradient.
    pub weight_decay: f32,
    /// What stays of the value before the step: decoupled weight decay.
    pub keep: f32,
}

/// Which coordinates of a parameter its gradients hold; the gradient of the others is zero.
pub enum Held<'a, D: Kernels> {
    /// All.
    All,
    /// Of an embedding table, the rows of a batch, compactly.
    Rows {
        /// Width of a row.
        width: usize,
        /// The batch's index.
        ids: &'a D::Ids,
    },
}

impl<'a, D: Kernels> Held<'a, D> {
    /// What a batch's gradients of a parameter hold.
    pub fn of(kind: Kind, ids: &'a D::Ids) -> Self {
        match kind {
            Kind::Table { width } => Held::Rows { width, ids },
            Kind::Weight | Kind::Statistic => Held::All,
        }
    }
}

impl<D: Kernels> Clone for Held<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Kernels> Copy for Held<'_, D> {}

/// The gradients of K tasks with respect to one parameter; absent for a task that does not reach it, whose gradient is zero.
pub type TaskGradients<'a, D> = [Option<&'a Buffer<D>>];

/// A function of the K entries at each coordinate, for a run of coordinates: the number of the first, K slices, the output.
pub type ColumnMap<'a> = &'a (dyn Fn(usize, &[&[f32]], &mut [f32]) + Sync);

/// How far one step may move a coordinate: `relative·|value| + absolute`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepBounds {
    /// As a share of the coordinate's size.
    pub relative: f32,
    /// Whatever its size.
    pub absolute: f32,
}

/// The steps of a parameter so far, for rows that have not taken the latest.
#[derive(Debug, Clone, Copy)]
pub struct MissedSteps<'a> {
    /// Every step from the first.
    pub steps: &'a [AdamStep],
    /// Steps after its last gradient in which a row still moves; after them its moments decay without moving it.
    pub window: usize,
}

/// An embedding table of which rows may wait with their steps, and what Adam remembers of it.
pub struct WaitingTable<'a, D: Kernels> {
    /// Width of a row.
    pub width: usize,
    /// The rows.
    pub value: &'a mut Buffer<D>,
    /// First moments.
    pub m: &'a mut Buffer<D>,
    /// Second moments.
    pub v: &'a mut Buffer<D>,
    /// Steps each row has taken; 0 for one that never had a gradient.
    pub taken: &'a mut [u32],
}
