//! A model with its parameters: what stages build, train, measure and store.

use super::sizes::{Custom, Paper, Small, Tiny};
use super::{Adaptation, Arch, Model, Sizes};
use crate::data::{RawBatch, Schema};
use crate::nn::{Batch, BatchSlot, Builder, TorchNorm, TorchTensor};
use crate::tensor::op::bce;
use crate::tensor::{Cpu, FieldLayout, Kernels, Key, Kind, Mode, Owner, ParamId, Params, Tape, Var, Workspace};

/// Makes an architecture's layers at the widths of these sizes.
fn layers<D: Kernels>(
    arch: &Arch,
    sizes: &Sizes,
    schema: &Schema,
    b: &mut Builder<D>,
) -> Result<Box<dyn Model<D>>, String> {
    match *sizes {
        Sizes::Paper => arch.build(Paper, schema, b),
        Sizes::Small => arch.build(Small, schema, b),
        Sizes::Tiny => arch.build(Tiny, schema, b),
        Sizes::Custom { embed, bottom, tower } => arch.build(Custom { embed, bottom, tower }, schema, b),
    }
}

/// How many trained numbers a model has, found without drawing any.
///
/// # Errors
/// When the hyper-parameters do not fit the schema.
pub fn count_parameters(arch: &Arch, sizes: &Sizes, schema: &Schema) -> Result<usize, String> {
    let mut b = Builder::counting(&Cpu::default());
    layers(arch, sizes, schema, &mut b)?;
    Ok(b.trained())
}

/// 16 GiB of numbers; training takes several times as much.
const MOST_PARAMETERS: usize = 1 << 32;

/// A model with its parameters.
pub struct Network<D: Kernels> {
    model: Box<dyn Model<D>>,
    /// All parameters and running statistics.
    pub params: Params<D>,
    /// Their names and layouts in PyTorch's checkpoints.
    pub tensors: Vec<TorchTensor>,
    /// The batch normalisations under PyTorch's names.
    pub norms: Vec<TorchNorm>,
    /// Constants that PyTorch keeps among the parameters.
    pub constants: Vec<(String, f32)>,
    /// Training steps the running statistics have seen; times a normalisation's passes a step, PyTorch's
    /// `num_batches_tracked`.
    pub batches_tracked: i64,
    /// The second names of some parts: see [`Architecture::ALIASES`](super::Architecture::ALIASES).
    pub(super) aliases: &'static [(&'static str, &'static str)],
    /// For each row of the embedding table, whether it stands for ids unseen in training.
    pub(super) unknown: Vec<bool>,
    tasks: usize,
}

impl<D: Kernels> Network<D> {
    /// Builds an architecture for a schema, with parameters drawn from `seed`.
    ///
    /// # Errors
    /// When the hyper-parameters do not fit the schema, or run-time widths do not fit each other; the text names the layer.
    /// When there are more parameters than any memory holds, before room is asked for.
    pub fn build(arch: &Arch, sizes: &Sizes, schema: &Schema, seed: u64, device: &D) -> Result<Self, String> {
        let parameters = count_parameters(arch, sizes, schema)?;
        if parameters > MOST_PARAMETERS {
            return Err(format!("it would have {parameters} parameters, and the most are {MOST_PARAMETERS}"));
        }
        let mut b = Builder::new(device, seed);
        let model = layers(arch, sizes, schema, &mut b)?;
        Ok(Self { aliases: arch.aliases(), ..Self::finish(model, b, schema)? })
    }

    /// Decides who owns each parameter by a trial pass: shared is what at least two tasks' losses reach.
    fn finish(model: Box<dyn Model<D>>, b: Builder<D>, schema: &Schema) -> Result<Self, String> {
        let Builder { params, tensors, norms, constants, .. } = b;
        let tasks = schema.tasks.len();
        let unknown = schema.fields.iter().flat_map(|field| {
            let unknown = field.out_of_vocabulary.map(|row| row as usize);
            (0..field.size).map(move |row| Some(row) == unknown)
        });
        let unknown = unknown.collect();
        let mut network =
            Self { model, params, tensors, norms, constants, batches_tracked: 0, aliases: &[], unknown, tasks };
        let rows = 2;
        let raw = RawBatch {
            rows,
            categorical: vec![0; rows * schema.fields.len()],
            numerical: vec![0.0; rows * schema.numerical.len()],
            labels: vec![0.0; rows * tasks],
        };
        let mut slot = network.batch_slot(schema);
        let batch = &slot.load(&raw, 1)[0];
        let workspace = Workspace::new(network.params.device());
        let mut owners = vec![Owner::Nobody; network.params.len()];
        {
            let tape = Tape::new(&network.params, &workspace, Mode::Train { key: Key::of_step(0, 0) });
            let losses = network.losses(&tape, batch);
            if let Some(problem) = tape.miswiring() {
                return Err(problem);
            }
            for (task, (loss, _)) in losses.into_iter().enumerate() {
                for ParamId(id) in tape.reach(loss) {
                    owners[id] = match owners[id] {
                        Owner::Nobody => Owner::Task(task),
                        _ => Owner::Shared,
                    };
                }
            }
        }
        for (id, owner) in owners.into_iter().enumerate() {
            network.params[ParamId(id)].owner = owner;
        }
        Ok(network)
    }

    /// Number of tasks, K.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// A slot for batches of this schema on this network's device.
    pub fn batch_slot(&self, schema: &Schema) -> BatchSlot<D> {
        let width = self.params.iter().find_map(|(_, param)| match param.kind {
            Kind::Table { width } => Some(width),
            _ => None,
        });
        let layout = FieldLayout::new(schema.fields.iter().map(|field| field.size), width.unwrap_or(1));
        BatchSlot::new(self.params.device(), layout)
    }

    /// The logits of each task.
    pub fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        self.model.forward(tape, batch)
    }

    /// What adapts within a step, if anything does.
    pub fn adaptation(&self) -> Option<Adaptation> {
        self.model.adaptation()
    }

    /// Each task's mean loss on a batch: the scalar to differentiate, and its value.
    pub fn losses(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<(Var<()>, f64)> {
        let logits = self.forward(tape, batch).into_iter().zip(&batch.labels);
        logits.map(|(logits, labels)| bce(tape, logits, tape.input(labels, (batch.rows,)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Field;
    use crate::nn::{Experts, Fields, Gate, HiddenGate, Style, Tower};
    use crate::tensor::Cpu;
    use crate::tensor::op::Candidates;

    fn schema() -> Schema {
        Schema {
            fields: vec![Field { name: "f".into(), size: 3, out_of_vocabulary: None }],
            numerical: vec!["x".into()],
            tasks: vec!["click".into()],
        }
    }

    #[test]
    fn more_parameters_than_memory_holds_are_refused_before_room_is_asked_for() {
        let sizes = Sizes::Custom { embed: 65_536, bottom: (65_536, 65_536), tower: (65_536, 65_536) };
        for arch in Arch::defaults() {
            let schema = Schema { tasks: vec!["click".into(), "buy".into()], ..schema() };
            let problem = Network::build(&arch, &sizes, &schema, 1, &Cpu::default()).err().unwrap();
            assert!(problem.ends_with(" parameters, and the most are 4294967296"), "{}: {problem}", arch.name());
        }
    }

    /// A mixture of experts in which some width can be wrong.
    struct Wired {
        fields: Fields<usize>,
        experts: Experts<usize, usize>,
        gate: Gate,
        second: HiddenGate<usize>,
        tower: Tower<usize, usize, usize>,
    }

    impl Model<Cpu> for Wired {
        fn forward(&self, tape: &Tape<Cpu>, batch: &Batch<Cpu>) -> Vec<Var<(usize,)>> {
            let e = self.fields.embed(tape, batch);
            let bank = [Candidates::all(self.experts.forward(tape, &e))];
            let h = self.gate.mix(tape, &e, &bank);
            let h = self.second.mix(tape, h, &bank);
            vec![self.tower.forward(tape, h)]
        }
    }

    fn refused(candidates: usize, hidden: usize, tower: usize) -> Option<String> {
        let mut b = Builder::new(&Cpu::default(), 1);
        let style = Style::mtoreclib(0.2);
        let fields = Fields::new(&mut b, &schema(), 4, 1.0);
        let model = Wired {
            experts: Experts::new(&mut b, &|e| format!("expert.{e}"), 3, &fields, (7, 6), style),
            gate: Gate::new(&mut b, "gate", &fields, candidates),
            second: HiddenGate::new(&mut b, "second", hidden, 3),
            tower: Tower::new(&mut b, "tower.0", tower, (5, 2), style),
            fields,
        };
        Network::finish(Box::new(model), b, &schema()).err()
    }

    #[test]
    fn widths_known_at_run_time_are_checked_when_the_model_is_built() {
        assert_eq!(refused(3, 6, 6), None);
        assert_eq!(refused(3, 6, 7).unwrap(), "`tower.0.mlp.0` takes 7 inputs and is given 6");
        assert_eq!(refused(3, 5, 6).unwrap(), "`second.0` takes 5 inputs and is given 6");
        assert_eq!(refused(2, 6, 6).unwrap(), "`gate` takes 2 inputs and is given 3");
    }
}
