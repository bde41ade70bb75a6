//! Random initial weights: each parameter is drawn from a generator keyed by the seed and the parameter's name, so that
//! the result depends neither on the order of construction nor on other parameters.

use crate::weights::ParameterPath;
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};
use sha2::{Digest, Sha256};

/// Which distribution a fresh network starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initialisation {
    /// PyTorch's default: weights and biases of convolutions and linear layers uniform in ±1/√fan_in.
    FanInUniform,
    /// Vision transformers (Dosovitskiy et al. 2021; DINO): weights and tokens normal with this standard deviation,
    /// truncated at two of them; biases 0.
    TruncatedNormal(f32),
    /// Networks of rectified units (He et al. 2015): weights normal with variance 2 / fan_in, biases 0. What goes in
    /// keeps its size through any number of layers.
    HeNormal,
}

/// Fills every parameter; normalisation layers keep their ones and zeros.
pub fn randomise<M: Module>(module: M, initialisation: Initialisation, seed: u64) -> M {
    module.map(&mut Randomiser { path: ParameterPath::default(), initialisation, seed, fan_in: 1 })
}

struct Randomiser {
    path: ParameterPath,
    initialisation: Initialisation,
    seed: u64,
    /// Of the weight visited last, for the bias that follows it.
    fan_in: usize,
}

impl ModuleMapper for Randomiser {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let container = self.path.container();
        let name = self.path.key();
        let is_bias = name.ends_with("bias");
        if container.ends_with("Norm") || container == "LayerScale" {
            return param;
        }
        let dims = param.dims();
        if !is_bias {
            self.fan_in = dims[..D - 1].iter().product();
        }
        let num_values = dims.iter().product::<usize>();
        let mut random = SplitMix::new(self.seed, &name);
        let values: Vec<f32> = match self.initialisation {
            Initialisation::FanInUniform => {
                let bound = 1.0 / (self.fan_in as f32).sqrt();
                (0..num_values).map(|_| bound * (2.0 * random.uniform() as f32 - 1.0)).collect()
            }
            Initialisation::TruncatedNormal(_) | Initialisation::HeNormal if is_bias => vec![0.0; num_values],
            Initialisation::TruncatedNormal(deviation) => {
                (0..num_values).map(|_| deviation * random.truncated_normal() as f32).collect()
            }
            Initialisation::HeNormal => {
                let deviation = (2.0 / self.fan_in as f64).sqrt();
                (0..num_values).map(|_| (deviation * random.normal()) as f32).collect()
            }
        };
        param.map(|old| {
            let device = old.device();
            let fresh = Tensor::from_data(TensorData::new(values, dims), &device);
            if old.is_require_grad() { fresh.require_grad() } else { fresh }
        })
    }
}

/// SplitMix64 (Steele et al. 2014): a counter through a bijective mixer.
struct SplitMix(u64);

impl SplitMix {
    fn new(seed: u64, name: &str) -> Self {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name.as_bytes()).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_le_bytes(first))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box-Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Standard normal within ±2, rejecting what lies outside.
    fn truncated_normal(&mut self) -> f64 {
        loop {
            let normal = self.normal();
            if normal.abs() <= 2.0 {
                return normal;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Linear;
    use burn::tensor::Device;

    #[test]
    fn weights_depend_on_seed_and_name_only_and_fill_their_range() {
        let device = Device::flex();
        let draw = |seed| {
            let layer = randomise(Linear::new(64, 32, &device), Initialisation::FanInUniform, seed);
            layer.weight.val().into_data().try_into_vec::<f32>().unwrap()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let largest = draw(1).into_iter().fold(0f32, |largest, value| largest.max(value.abs()));
        assert!(largest <= 0.125 && largest > 0.12, "bound is 1/8, largest is {largest}");
    }

    #[test]
    fn weights_for_rectified_units_have_the_variance_that_keeps_a_signal() {
        let layer = randomise(Linear::new(128, 512, &Device::flex()), Initialisation::HeNormal, 1);
        let weights = layer.weight.val().into_data().try_into_vec::<f32>().unwrap();
        let variance = weights.iter().map(|weight| f64::from(weight * weight)).sum::<f64>() / weights.len() as f64;
        // 65,536 squares of normal values: their mean has a relative deviation of sqrt(2 / 65,536) = 0.55 %.
        assert!((variance * 128.0 / 2.0 - 1.0).abs() < 0.03, "{variance}");
        assert_eq!(layer.bias.unwrap().val().into_data().try_into_vec::<f32>().unwrap(), [0.0; 512]);
    }
}
