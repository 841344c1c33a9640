//! A balancer of one's own, tried before it goes into the registry: all weight on the task with the largest loss.

use mtorec::balance::{LossBalancer, Memory, Method, Step};
use mtorec::data::{Simulated, batches};
use mtorec::model::{Mmoe, Network, Sizes};
use mtorec::optim::Adam;
use mtorec::stage::{loading::for_each_batch, train::Trainer};
use mtorec::tensor::{Cpu, Workspace};

/// Minimises the maximum of the losses.
struct Hardest;

impl Memory for Hardest {}

impl LossBalancer for Hardest {
    fn weights(&mut self, step: &Step) -> Vec<f64> {
        let largest = step.losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        step.losses.iter().map(|loss| f64::from(*loss == largest)).collect()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Simulated { rows: 20_000, ..Simulated::default() }.simulate()?;
    let device = Cpu::default();
    let network = Network::build(&Mmoe::default().into(), &Sizes::Tiny, &log.schema, 1, &device)?;
    let mut trainer = Trainer::new(network, Adam::default(), Method::Loss(Box::new(Hardest)), 1);
    let (workspace, mut slot) = (Workspace::new(&device), trainer.network.batch_slot(&log.schema));
    for_each_batch(&mut slot, &log.train, None, (&batches(log.train.len(), 512), 1), |batch, rows| {
        let report = trainer.step(batch, 0, false, &workspace);
        println!("rows {rows:?}: losses {:.4?}, weights {:?}", report.losses, report.weights);
        Ok(())
    })?;
    Ok(())
}
