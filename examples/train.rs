//! Trains an MMoE with FAMO on a simulated log and measures it after every epoch, with the library alone:
//! `cargo run --release --example train`.

use mtorec::balance::{Balancer, loss::Famo};
use mtorec::data::{Simulated, batches, epoch_order};
use mtorec::metric::auc;
use mtorec::model::{Mmoe, Network, Sizes};
use mtorec::optim::Adam;
use mtorec::stage::{evaluate::predict, loading::for_each_batch, train::Trainer};
use mtorec::tensor::{Cpu, Workspace};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Simulated::default().simulate()?;
    let device = Cpu::default();
    let network = Network::build(&Mmoe::default().into(), &Sizes::Tiny, &log.schema, 1, &device)?;
    let balancer = Balancer::from(Famo::default()).build(network.tasks())?;
    let mut trainer = Trainer::new(network, Adam::default(), balancer, 1);
    let (workspace, mut slot) = (Workspace::new(&device), trainer.network.batch_slot(&log.schema));
    for epoch in 0..5 {
        let (order, ranges) = (epoch_order(log.train.len(), 1, epoch), batches(log.train.len(), 512));
        for_each_batch(&mut slot, &log.train, Some(&order), (&ranges, 1), |batch, _| {
            trainer.step(batch, epoch, false, &workspace);
            Ok(())
        })?;
        trainer.settle();
        let logits = predict(&trainer.network, &log.schema, &log.test, &workspace, |_| Ok(()))?;
        for (task, logits) in logits.iter().enumerate() {
            let labels: Vec<u8> =
                log.test.labels().iter().skip(task).step_by(log.schema.tasks.len()).copied().collect();
            println!("epoch {epoch}, {}: AUC {:.4}", log.schema.tasks[task], auc(logits, &labels).unwrap_or(f64::NAN));
        }
    }
    Ok(())
}
