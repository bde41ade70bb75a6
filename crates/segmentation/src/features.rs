//! What is known about an image before it is cut: where the model's pixels look, what they are to the model, and what
//! the encoder's patches are.

use serde::{Deserialize, Serialize};

use crate::{AttentionMaps, Grid};

/// How the UNet is shown an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassSettings {
    /// What the network is told of the noise, each in 0..=999; what several show is averaged. DiffSeg's is 300.
    pub timesteps: Vec<f64>,
    /// Draws of noise, mixed in as the timestep says, whose passes are averaged; 0 shows the clean latents, as DiffSeg
    /// does.
    pub noise_draws: usize,
    /// Steps of deterministic DDIM inversion that carry the latents up to the timestep instead of drawn noise: the noise
    /// that the model itself sees in the image. They know nothing of it (null condition). 0 inverts nothing.
    pub inversion_steps: usize,
    /// What it is told of the image.
    pub condition: PassCondition,
}

impl Default for PassSettings {
    fn default() -> Self {
        Self { timesteps: vec![200.0], noise_draws: 0, inversion_steps: 0, condition: PassCondition::Null }
    }
}

/// The condition of a pass that is made for what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassCondition {
    /// The learned null condition.
    Null,
    /// The image's own embedding.
    Own,
}

/// Which features are wanted; what is not asked for costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureKinds {
    /// Maps of self-attention.
    pub attention: bool,
    /// FeatureMap of the finest level.
    pub features: bool,
    /// Patch tokens of the encoder.
    pub patches: bool,
}

impl FeatureKinds {
    /// What either wants.
    pub fn and(self, other: Self) -> Self {
        Self {
            attention: self.attention || other.attention,
            features: self.features || other.features,
            patches: self.patches || other.patches,
        }
    }
}

/// One vector for each token of a grid.
#[derive(Debug, Clone)]
pub struct FeatureMap {
    /// `[tokens, dim]`
    pub values: Vec<f32>,
    /// Numbers for each token.
    pub dim: usize,
    /// How the tokens lie.
    pub grid: Grid,
}

/// Of one image, as far as it was wanted.
#[derive(Debug, Clone, Default)]
pub struct ModelFeatures {
    /// Self-attention of all resolutions, on the grid of the latents.
    pub attention: Option<AttentionMaps>,
    /// What enters the finest level of the UNet's expanding half.
    pub features: Option<FeatureMap>,
    /// The encoder's patch tokens.
    pub patches: Option<FeatureMap>,
}
