//! What a run or a sweep came to, as one HTML page that needs no network: `view` gathers what is to be seen, `page` fills
//! the template in `templates/` with it, and the other files draw. Everything drawn is inline SVG without a colour of its
//! own: the style sheet has one set of colours for light and one for dark.

mod chart;
mod curve;
mod dag;
mod findings;
mod forest;
mod page;
mod view;

pub use dag::{Dag, DagNode};
pub use page::{Page, Source};
