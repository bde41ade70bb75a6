//! Random initial weights: each parameter is drawn from a generator keyed by the seed and the parameter's name, so that
//! the result depends neither on the order of construction nor on other parameters.

use crate::weights::ParameterPath;
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};
use random::{Purpose, Stream};
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
        let stream = stream(self.seed, &name);
        let values: Vec<f32> = match self.initialisation {
            Initialisation::FanInUniform => {
                let bound = 1.0 / (self.fan_in as f32).sqrt();
                stream.uniforms().take(num_values).map(|uniform| bound * (2.0 * uniform - 1.0) as f32).collect()
            }
            Initialisation::TruncatedNormal(_) | Initialisation::HeNormal if is_bias => vec![0.0; num_values],
            Initialisation::TruncatedNormal(deviation) => {
                let within = stream.normals().filter(|normal| normal.abs() <= 2.0);
                within.take(num_values).map(|normal| deviation * normal as f32).collect()
            }
            Initialisation::HeNormal => {
                let deviation = (2.0 / self.fan_in as f64).sqrt();
                stream.normals().take(num_values).map(|normal| (deviation * normal) as f32).collect()
            }
        };
        param.map(|old| {
            let device = old.device();
            let fresh = Tensor::from_data(TensorData::new(values, dims), &device);
            if old.is_require_grad() { fresh.require_grad() } else { fresh }
        })
    }
}

/// The numbers of one parameter: keyed by the first 64 bits of its name's SHA-256.
fn stream(seed: u64, name: &str) -> Stream {
    let digest = Sha256::digest(name.as_bytes());
    let index = digest.iter().take(8).fold(0, |index, byte| index << 8 | u64::from(*byte));
    Stream::new(seed, index, Purpose::Initialisation)
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
