//! Measures of generated images, embeddings and masks, and the statistics that compare them, in f64, on plain slices.
//!
//! No networks and no files; no result depends on the number of threads. Features come in as numbers, and every result is
//! the same on every machine up to rounding.
//! - Sets of features: [`frechet`] and [`kernel`] give distances of two, the first by their [`moments`]; [`quality`] asks
//!   whether generated rows look like real ones and show all that these show, [`memorisation`] whether they are copies of
//!   training rows. [`euclidean`] finds nearest rows, [`partition`] parts them into cells.
//! - [`images`] compares pictures; [`retrieval`] finds neighbours by angle and lets them vote; [`probe`] fits linear
//!   classifiers; [`spread`] says how much of their space embeddings use.
//! - [`segmentation`] compares masks by overlap and by their surfaces.
//! - [`agreement`] scores masks and classifiers, [`ranking`] several classifiers and labels; [`resample`] says how sure a
//!   number is, [`comparison`] whether one method beats another and by how much.

pub mod agreement;
pub mod comparison;
mod distribution;
mod error;
mod estimate;
pub mod euclidean;
pub mod frechet;
pub mod images;
pub mod kernel;
pub mod memorisation;
pub mod moments;
pub mod partition;
pub mod probe;
pub mod quality;
pub mod ranking;
mod ranks;
pub mod resample;
pub mod retrieval;
mod rows;
pub mod segmentation;
pub mod spread;

pub use agreement::{area_under_curve, dice};
pub use comparison::{
    NullDistribution, ResampledTTest, SignedRankTest, corrected_t_test, holm, paired_cohens_d, rank_biserial,
    wilcoxon_signed_rank,
};
pub use error::Error;
pub use estimate::{CONFIDENCE, Estimate, REPLICATES};
pub use euclidean::{NearRow, distance_between_groups, nearest_rows, share_nearer_than};
pub use frechet::{FrechetEstimate, frechet_distance, frechet_estimate, frechet_estimate_to};
pub use images::{Intensity, intensity, peak_signal_to_noise, structural_similarity};
pub use kernel::{kernel_distance, kernel_distance_interval};
pub use memorisation::{CellOfCopying, DataCopying, FEWEST_GENERATED, authentic_rows, data_copying};
pub use moments::Moments;
pub use partition::Partition;
pub use probe::{LogisticRegression, PrincipalComponents, Standardiser};
pub use quality::{DEFAULT_NEIGHBOURS, Neighbourhoods, Quality};
pub use ranking::{AreaTest, Areas, areas_of_labels, mean_area};
pub use resample::{Interval, Limit, Share, bootstrap_interval, bootstrap_interval_of_mean, quantile};
pub use retrieval::{Neighbour, nearest_neighbours, vote_shares, weighted_votes};
pub use rows::Rows;
pub use spread::{effective_rank, standard_deviation};
