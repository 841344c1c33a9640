//! The small optimisation problems behind the Gram balancers, each solved once, to the precision of f64, for any
//! positive semidefinite matrix: rank-deficient, opposing, zero, or with row norms spread over many decades.
//!
//! Two devices recur. Matrices are first scaled to unit diagonal (cosines), which makes the conditioning independent of
//! the tasks' loss scales; and a ridge of 1e-12 on that diagonal makes solutions unique, hence continuous and
//! independent of the order of the tasks, where opposite or identical gradients would leave a choice.

mod cagrad;
mod cholesky;
mod dual_cone;
mod eigen;
mod fair_point;
mod nonnegative;
mod simplex;

pub use cagrad::cagrad_weights;
pub use dual_cone::dual_cone;
pub use eigen::{Eigen, eigen, nearest_semidefinite, pseudo_inverse_mul};
pub use fair_point::fair_point;
pub use simplex::{min_norm_simplex, project_simplex};

#[cfg(test)]
mod random_grams;
#[cfg(test)]
pub(in crate::balance) use random_grams::random_grams;
