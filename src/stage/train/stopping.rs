//! Early stopping as MTOReclib does it: on the mean validation AUC over tasks, best epoch kept.

use serde::{Deserialize, Serialize};

/// What an epoch's validation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Better than every epoch before it.
    Best,
    /// No better.
    NoBetter,
}

/// Stops after `patience` epochs in a row without a better score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EarlyStopping {
    patience: usize,
    without_better: usize,
    best: Option<Best>,
}

/// The best epoch so far; a mean AUC beats any log loss, which stands in where no task has both classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Best {
    epoch: usize,
    auc: Option<f64>,
    log_loss: Option<f64>,
}

impl EarlyStopping {
    pub(super) fn new(patience: usize) -> Self {
        Self { patience, without_better: 0, best: None }
    }

    /// Takes an epoch (from 1) in.
    pub(super) fn judge(&mut self, epoch: usize, auc: Option<f64>, log_loss: Option<f64>) -> Verdict {
        let better = match self.best {
            None => true,
            Some(best) => match (auc, best.auc) {
                (Some(auc), Some(best)) => auc > best,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => log_loss.zip(best.log_loss).is_some_and(|(now, best)| now < best),
            },
        };
        if better {
            self.best = Some(Best { epoch, auc, log_loss });
            self.without_better = 0;
            Verdict::Best
        } else {
            self.without_better += 1;
            Verdict::NoBetter
        }
    }

    /// Whether patience is at an end.
    pub(super) fn exhausted(&self) -> bool {
        self.without_better >= self.patience
    }

    /// The best epoch and its score, for people.
    pub(super) fn best(&self) -> Option<(usize, String)> {
        let best = self.best?;
        let score = match (best.auc, best.log_loss) {
            (Some(auc), _) => format!("mean validation AUC {auc:.4}"),
            (None, Some(loss)) => format!("mean validation log loss {loss:.4}, AUC undefined"),
            (None, None) => "nothing to measure".to_owned(),
        };
        Some((best.epoch, score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_the_third_epoch_in_a_row_without_a_better_one() {
        let mut stopping = EarlyStopping::new(3);
        let verdicts: Vec<_> = [0.6, 0.7, 0.65, 0.7, 0.71, 0.7, 0.7]
            .iter()
            .enumerate()
            .map(|(i, auc)| {
                assert!(!stopping.exhausted());
                stopping.judge(i + 1, Some(*auc), None)
            })
            .collect();
        use Verdict::{Best, NoBetter};
        assert_eq!(verdicts, [Best, Best, NoBetter, NoBetter, Best, NoBetter, NoBetter]);
        assert!(!stopping.exhausted());
        stopping.judge(8, Some(0.5), None);
        assert!(stopping.exhausted());
        assert_eq!(stopping.best(), Some((5, "mean validation AUC 0.7100".into())));
    }

    #[test]
    fn without_any_auc_the_log_loss_decides() {
        let mut stopping = EarlyStopping::new(1);
        assert_eq!(stopping.judge(1, None, Some(0.5)), Verdict::Best);
        assert_eq!(stopping.judge(2, None, Some(0.4)), Verdict::Best);
        assert_eq!(stopping.judge(3, None, Some(0.6)), Verdict::NoBetter);
        assert!(stopping.exhausted());
    }
}
