//! Parameters by number, their gradients, and who owns them.

use super::{Buffer, Kernels, Workspace};

/// The number of a parameter in its [`Params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// What a parameter is to the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A dense array.
    Weight,
    /// An embedding table with rows of this width; its gradients hold the rows a batch touches.
    Table {
        /// Width of a row.
        width: usize,
    },
    /// A running statistic: saved with the model, not trained.
    Statistic,
}

/// Which tasks a parameter serves, by the structural rule: shared when at least two task losses reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// At least two task losses reach it.
    Shared,
    /// Only this task's loss reaches it.
    Task(usize),
    /// No loss reaches it.
    Nobody,
}

/// One parameter tensor.
pub struct Param<D: Kernels> {
    /// Its name inside the model, for messages.
    pub name: String,
    /// What it is to the optimizer.
    pub kind: Kind,
    /// Which tasks it serves.
    pub owner: Owner,
    /// Its values.
    pub value: Buffer<D>,
}

/// All parameters of a model.
pub struct Params<D: Kernels> {
    device: D,
    all: Vec<Param<D>>,
}

impl<D: Kernels> Params<D> {
    /// No parameters yet.
    pub fn new(device: &D) -> Self {
        Self { device: device.clone(), all: Vec::new() }
    }

    /// The device they live on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Adds a parameter with these values.
    pub fn add(&mut self, name: String, kind: Kind, values: &[f32]) -> ParamId {
        self.all.push(Param { name, kind, owner: Owner::Nobody, value: self.device.upload(values) });
        ParamId(self.all.len() - 1)
    }

    /// Every parameter with its number.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &Param<D>)> {
        self.all.iter().enumerate().map(|(i, param)| (ParamId(i), param))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many trained numbers there are.
    pub fn count(&self) -> usize {
        self.all.iter().filter(|param| param.kind != Kind::Statistic).map(|param| D::len(&param.value)).sum()
    }

    /// The parameters that at least two tasks share.
    pub fn shared(&self) -> impl Iterator<Item = (ParamId, &Param<D>)> {
        self.iter().filter(|(_, param)| param.owner == Owner::Shared)
    }

    /// Two different parameters, writable.
    pub fn pair_mut(&mut self, a: ParamId, b: ParamId) -> (&mut Param<D>, &mut Param<D>) {
        let [a, b] = self.all.get_disjoint_mut([a.0, b.0]).expect("two different parameters of this model");
        (a, b)
    }
}

impl<D: Kernels> std::ops::Index<ParamId> for Params<D> {
    type Output = Param<D>;
    fn index(&self, id: ParamId) -> &Param<D> {
        &self.all[id.0]
    }
}

impl<D: Kernels> std::ops::IndexMut<ParamId> for Params<D> {
    fn index_mut(&mut self, id: ParamId) -> &mut Param<D> {
        &mut self.all[id.0]
    }
}

/// Gradients of one scalar (a task's loss, or a weighted sum) by parameter, or what is remembered of them; absent where the
/// scalar doesn't reach.
pub struct Gradients<D: Kernels> {
    by_param: Vec<Option<Buffer<D>>>,
}

impl<D: Kernels> Default for Gradients<D> {
    fn default() -> Self {
        Self { by_param: Vec::new() }
    }
}

impl<D: Kernels> Gradients<D> {
    /// The gradient of a parameter; for a table, of the batch's compact rows.
    pub fn get(&self, id: ParamId) -> Option<&Buffer<D>> {
        self.by_param.get(id.0).and_then(Option::as_ref)
    }

    /// Gives every buffer back: the next backward pass starts afresh.
    pub fn clear(&mut self, workspace: &Workspace<D>) {
        for buffer in self.by_param.iter_mut().filter_map(Option::take) {
            workspace.give(buffer);
        }
    }

    /// Gives the buffers of the shared parameters back and keeps the others.
    pub fn clear_shared(&mut self, params: &Params<D>, workspace: &Workspace<D>) {
        for (id, _) in params.shared() {
            self.take(id).into_iter().for_each(|buffer| workspace.give(buffer));
        }
    }

    /// Puts a buffer in the place of a parameter's gradient, and hands out what was there.
    pub fn replace(&mut self, id: ParamId, buffer: Buffer<D>) -> Option<Buffer<D>> {
        let before = self.take(id);
        self.put(id, buffer);
        before
    }

    /// A parameter's place as something of the parameter's own length, zero at first.
    pub fn whole(&mut self, params: &Params<D>, id: ParamId) -> &mut Buffer<D> {
        if self.get(id).is_none() {
            self.put(id, params.device().zeros(D::len(&params[id].value)));
        }
        self.by_param[id.0].as_mut().expect("just put there")
    }

    pub(super) fn take(&mut self, id: ParamId) -> Option<Buffer<D>> {
        self.by_param.get_mut(id.0).and_then(Option::take)
    }

    pub(super) fn put(&mut self, id: ParamId, buffer: Buffer<D>) {
        if self.by_param.len() <= id.0 {
            self.by_param.resize_with(id.0 + 1, || None);
        }
        self.by_param[id.0] = Some(buffer);
    }
}
