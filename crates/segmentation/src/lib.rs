//! Segments of an image from what a network attends to or which features it gives, without any label.
//!
//! | method | input | here |
//! | --- | --- | --- |
//! | DiffSeg (Tian et al. 2023) | self-attention of several resolutions | [`Aggregator`], then [`DiffSeg::segment`] |
//! | DiffCut (Couairon et al. 2024) | features of tokens, or an attention map | [`Affinity`], then [`Ncut::tree`] |
//! | random walk (after Ivanova et al. 2024) | an attention map | [`Walk::affinity`], then [`CutTree::automatic_threshold`] |
//! | TokenCut, MaskCut (Wang et al. 2022, 2023) | patch features of an encoder | [`ObjectCut::masks`] |
//!
//! The networks are elsewhere: maps, features and affinities come in as plain row-major `f32` slices of one image, and
//! large products run as Burn tensors on the device that is given. DiffSeg ends in [`SoftMaps`]; the partitions of the
//! other methods become such by [`SoftMaps::from_labels`] or [`SoftMaps::from_features`], which brings them to any
//! image size.
//!
//! Above these stand the parts that make lungs of segments: [`Method`] cuts by one of them or by clusters of features over
//! many images, and [`Segmenter`] keeps what was learned for it and says which segments are lungs.

mod affinity;
mod aggregate;
mod clusters;
mod diffseg;
mod eigen;
mod error;
mod features;
mod lungs;
mod maskcut;
mod method;
mod ncut;
mod prior;
mod segmenter;
mod soft;
mod upsample;
mod walk;

pub use affinity::Affinity;
pub use aggregate::{Aggregator, AttentionMaps};
pub use diffseg::DiffSeg;
pub use error::Error;
pub use features::{FeatureKinds, FeatureMap, ModelFeatures, PassCondition, PassSettings};
pub use lungs::Lungs;
pub use maskcut::{ForegroundMask, ObjectCut};
pub use method::Method;
pub use ncut::{Cut, CutTree, Ncut};
pub use prior::template_mask;
pub use segmenter::{Example, Examples, Refinement, Segmented, Segmenter, SegmenterSettings, darkness, oracle};
pub use soft::SoftMaps;
pub use walk::{Walk, WalkGraph};

use error::check_range;

/// The tokens of a map or of features: rows and columns, token `row * width + column`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Rows, at least 1.
    pub height: usize,
    /// Columns, at least 1.
    pub width: usize,
}

impl Grid {
    /// A grid of `height` rows and `width` columns.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a side of 0.
    pub fn new(height: usize, width: usize) -> Result<Self, Error> {
        check_range("height of the grid", height as f64, height > 0, "at least 1")?;
        check_range("width of the grid", width as f64, width > 0, "at least 1")?;
        Ok(Self { height, width })
    }

    /// A square grid.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a side of 0.
    pub fn square(side: usize) -> Result<Self, Error> {
        Self::new(side, side)
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.height * self.width
    }

    /// The side of a square of as many tokens.
    fn resolution(&self) -> f64 {
        libm::sqrt(self.tokens() as f64)
    }
}
