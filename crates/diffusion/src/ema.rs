//! The exponential moving average of a network's weights, which generates better images than the weights themselves.
//!
//! Its memory is given in images seen, not in steps, so that it means the same for every batch size (Karras et al.
//! 2022, appendix F.2).

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, check};

/// How long the average remembers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ema {
    /// After so many images an old weight counts half; at least 0 (0: no average). Default 500,000 (Karras et al.
    /// 2022, table 7, for 200 million training images); for short runs about a tenth of all images seen.
    pub half_life_images: f64,
    /// While training is young, the half-life is at most this share of the images seen so far; above 0, or 0 for no
    /// ramp. Default 0.05 (the paper's).
    pub ramp_up_ratio: f64,
}

impl Default for Ema {
    fn default() -> Self {
        Self { half_life_images: 500_000.0, ramp_up_ratio: 0.05 }
    }
}

impl Ema {
    /// Refuses settings that average nothing.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn validate(&self) -> Result<(), Error> {
        let fine = |value: f64| value >= 0.0 && value.is_finite();
        check(
            "ema.half_life_images",
            self.half_life_images,
            fine(self.half_life_images),
            "a finite number, at least 0",
        )?;
        check("ema.ramp_up_ratio", self.ramp_up_ratio, fine(self.ramp_up_ratio), "a finite number, at least 0")
    }

    /// The share of the old average that survives a step of `batch_size` images, after which `images_seen` images have
    /// been seen in all: `0.5 ^ (batch_size / half_life)`. In `0..1`.
    pub fn decay(&self, images_seen: u64, batch_size: usize) -> f64 {
        let half_life = if self.ramp_up_ratio > 0.0 {
            self.half_life_images.min(images_seen as f64 * self.ramp_up_ratio)
        } else {
            self.half_life_images
        };
        if half_life > 0.0 { libm::exp2(-(batch_size as f64) / half_life) } else { 0.0 }
    }
}

/// The new average, `decay * average + (1 - decay) * current`, parameter by parameter in the order of the modules'
/// fields. Start the average as `network.valid()`: it stays outside autodiff, whatever `current` is.
///
/// # Errors
/// [`Error::WeightsMismatch`] when the two are not copies of one network.
pub fn update<M: Module>(average: M, current: &M, decay: f64) -> Result<M, Error> {
    let mut collector = Collector::default();
    current.visit(&mut collector);
    let mut sizes = Sizes::default();
    average.visit(&mut sizes);
    let current_sizes: Vec<usize> = collector.parameters.iter().map(|parameter| parameter.dims()[0]).collect();
    if sizes.0.len() != current_sizes.len() {
        return Err(Error::WeightsMismatch { averaged: sizes.0.len(), current: current_sizes.len() });
    }
    if let Some((averaged, current)) = sizes.0.into_iter().zip(current_sizes).find(|(a, b)| a != b) {
        return Err(Error::WeightsMismatch { averaged, current });
    }
    Ok(average.map(&mut Averager { current: collector.parameters.into_iter(), decay }))
}

/// Flattens every float parameter, in order.
#[derive(Default)]
struct Collector {
    parameters: Vec<Tensor<1>>,
}

impl ModuleVisitor for Collector {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let value = parameter.val().inner();
        let length = value.shape().num_elements();
        self.parameters.push(value.reshape([length]));
    }
}

/// Number of elements of every float parameter, in order.
#[derive(Default)]
struct Sizes(Vec<usize>);

impl ModuleVisitor for Sizes {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0.push(parameter.val().shape().num_elements());
    }
}

struct Averager {
    current: std::vec::IntoIter<Tensor<1>>,
    decay: f64,
}

impl ModuleMapper for Averager {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(current) = self.current.next() else { return parameter };
        parameter.map(|average| {
            let current = current.reshape(average.dims());
            average.inner().mul_scalar(self.decay) + current.mul_scalar(1.0 - self.decay)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Distribution};

    fn linear(value: f64, device: &Device) -> Linear {
        let mut linear = LinearConfig::new(2, 3).init(device);
        linear.weight = Param::from_tensor(Tensor::full([2, 3], value, device));
        linear.bias = Some(Param::from_tensor(Tensor::full([3], -value, device)));
        linear
    }

    #[test]
    fn the_average_moves_by_one_minus_decay_and_leaves_autodiff() {
        let device = Device::flex().autodiff();
        let average = linear(1.0, &device).valid();
        let average = update(average, &linear(2.0, &device), 0.75).unwrap();
        for value in average.weight.val().into_data().iter::<f64>() {
            assert_eq!(value, 1.25);
        }
        for value in average.bias.as_ref().unwrap().val().into_data().iter::<f64>() {
            assert_eq!(value, -1.25);
        }
        assert!(!average.weight.val().is_autodiff());
    }

    #[test]
    fn a_step_from_the_same_weights_changes_nothing() {
        let device = Device::flex();
        let mut network = LinearConfig::new(5, 4).init(&device);
        network.weight = Param::from_tensor(Tensor::random([5, 4], Distribution::Default, &device));
        let average = update(network.clone(), &network, 0.5).unwrap();
        average.weight.val().into_data().assert_eq(&network.weight.val().into_data(), true);
    }

    #[test]
    fn another_network_is_refused() {
        let device = Device::flex();
        let (small, large) = (LinearConfig::new(2, 3).init(&device), LinearConfig::new(2, 4).init(&device));
        assert_eq!(update(small.clone(), &large, 0.5).err(), Some(Error::WeightsMismatch { averaged: 6, current: 8 }));
        let without_bias = LinearConfig::new(2, 3).with_bias(false).init(&device);
        assert_eq!(update(small, &without_bias, 0.5).err(), Some(Error::WeightsMismatch { averaged: 2, current: 1 }));
    }

    #[test]
    fn half_is_forgotten_after_the_half_life_whatever_the_batch_size() {
        let ema = Ema { half_life_images: 6400.0, ramp_up_ratio: 0.0 };
        for batch_size in [1_usize, 32, 128, 6400] {
            let remaining: f64 = (0..6400 / batch_size).map(|_| ema.decay(1_000_000, batch_size)).product();
            assert!((remaining - 0.5).abs() < 1e-9, "{remaining}");
        }
    }

    #[test]
    fn the_ramp_forgets_faster_while_training_is_young() {
        let ema = Ema::default();
        assert!((ema.decay(2000, 100) - 0.5).abs() < 1e-12); // 5 % of 2000 images is one batch of 100.
        assert!(ema.decay(4000, 100) > ema.decay(2000, 100));
        assert_eq!(ema.decay(10_000_000, 100), ema.decay(20_000_000, 100));
        assert_eq!(Ema { half_life_images: 0.0, ramp_up_ratio: 0.05 }.decay(5000, 100), 0.0);
    }

    #[test]
    fn settings_that_average_nothing_are_refused() {
        assert!(Ema::default().validate().is_ok());
        assert!(Ema { half_life_images: -1.0, ..Ema::default() }.validate().is_err());
        assert!(Ema { ramp_up_ratio: f64::NAN, ..Ema::default() }.validate().is_err());
    }
}
