//! Training, whatever network is trained: one loop with exact resumption.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`train()`], [`Trainable`] | the loop, and what it drives |
//! | [`run`] | the folder of a run: begins and resumes it |
//! | [`State`] | weights, optimiser and clock, as checkpoints hold them |
//! | [`optimiser`] | AdamW with a moving average of the weights |
//! | [`TrainingOrder`] | which image comes when |
//! | [`Score`] | the best model so far |
//! | [`tensors`] | pictures to tensors and back |

mod best;
mod journal;
pub mod optimiser;
mod order;
mod recipe;
pub mod run;
mod state;
pub mod tensors;
mod train;

pub use best::Score;
pub use journal::Mean;
pub use order::TrainingOrder;
pub use recipe::OptimiserRecipe;
pub use state::{State, unusable};
pub use train::{Clock, Evaluation, Trainable, TrainingSummary, train};
