//! AdamW with a moving average of the weights, over the named parameters of any module.
//!
//! State is kept flat and by name, so that a checkpoint holds it like weights and resuming restores every bit.

use crate::tensors::{from_host, to_host};
use anyhow::{Context, Result, ensure};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor},
};
use kernels::{AdamWStep, AdamWTensors, adamw_step, sum_of_squares};
use nets::{Checkpoint, HostTensor, weights::ParameterPath};
use std::collections::BTreeMap;

/// Gradients by parameter name, flattened.
#[derive(Debug, Default)]
pub struct GradientSet(BTreeMap<String, Tensor<1>>);

impl GradientSet {
    /// Takes the gradients of a module's parameters out of a backward pass and adds them to what is here already.
    pub fn accumulate<M: Module>(&mut self, module: &M, gradients: Gradients) {
        module.visit(&mut Collector { path: ParameterPath::default(), gradients, set: self });
    }

    /// Euclidean length of all gradients together.
    ///
    /// # Errors
    /// A device that failed.
    pub fn norm(&self) -> Result<f64> {
        Ok(self.squares()?.into_iter().sum::<f64>().sqrt())
    }

    /// Square of each gradient's length, in the order of names.
    fn squares(&self) -> Result<Vec<f64>> {
        let squares: Vec<Tensor<1>> = self.0.values().map(|gradient| sum_of_squares(gradient.clone())).collect();
        if squares.is_empty() {
            return Ok(Vec::new());
        }
        Tensor::cat(squares, 0).try_into_vec_as::<f64>().context("the device failed to compute a tensor")
    }

    /// Shortens the gradient of each parameter that is longer than `max_norm` to it (0 leaves them); gives the length
    /// of all together before.
    ///
    /// # Errors
    /// A device that failed.
    pub fn clip_each(&mut self, max_norm: f64) -> Result<f64> {
        let squares = self.squares()?;
        for (gradient, square) in self.0.values_mut().zip(&squares) {
            let norm = square.sqrt();
            if max_norm > 0.0 && norm > max_norm {
                *gradient = gradient.clone().mul_scalar(max_norm / norm);
            }
        }
        Ok(squares.into_iter().sum::<f64>().sqrt())
    }

    /// Drops the gradients of all other parameters, which then stay as they are.
    pub fn retain(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        self.0.retain(|name, _| wanted(name));
    }
}

struct Collector<'a> {
    path: ParameterPath,
    gradients: Gradients,
    set: &'a mut GradientSet,
}

impl ModuleVisitor for Collector<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(&mut self.gradients) else { return };
        let gradient = flatten(gradient);
        let key = self.path.key();
        let sum = match self.set.0.remove(&key) {
            Some(earlier) => earlier + gradient,
            None => gradient,
        };
        self.set.0.insert(key, sum);
    }
}

fn flatten<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let num_values = tensor.dims().iter().product::<usize>();
    tensor.reshape([num_values])
}

#[derive(Debug)]
struct ParameterState {
    first_moment: Tensor<1>,
    second_moment: Tensor<1>,
    average: Tensor<1>,
}

/// The three parts of the state, in the order in which they are saved.
const PARTS: [&str; 3] = ["first_moment", "second_moment", "average"];

/// Moments and averages of every parameter of one module.
#[derive(Debug, Default)]
pub struct Optimiser {
    states: BTreeMap<String, ParameterState>,
    num_steps: u64,
}

impl Optimiser {
    /// Moments at 0, the average at the weights themselves.
    pub fn new<M: Module>(module: &M) -> Self {
        let mut start = Starter { path: ParameterPath::default(), optimiser: Self::default() };
        module.visit(&mut start);
        start.optimiser
    }

    /// Updates made so far.
    pub fn num_steps(&self) -> u64 {
        self.num_steps
    }

    /// One update of all parameters that have a gradient; `settings.step` is filled in here.
    pub fn step<M: Module>(&mut self, module: M, gradients: GradientSet, mut settings: AdamWStep) -> M {
        self.num_steps += 1;
        settings.step = self.num_steps;
        module.map(&mut Updater { path: ParameterPath::default(), gradients, optimiser: self, settings })
    }

    /// The module with the averaged weights, outside autodiff.
    pub fn averaged<M: Module>(&self, module: &M) -> M {
        module.clone().map(&mut Averager { path: ParameterPath::default(), optimiser: self })
    }

    /// All state by name, such as `average:unet.conv_in.weight`, to be saved.
    ///
    /// # Errors
    /// A device that failed.
    pub fn to_checkpoint(&self) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::default();
        for (key, state) in &self.states {
            for (part, tensor) in PARTS.iter().zip([&state.first_moment, &state.second_moment, &state.average]) {
                let values = to_host(tensor.clone())?;
                checkpoint.insert(format!("{part}:{key}"), HostTensor { shape: vec![values.len()], values });
            }
        }
        Ok(checkpoint)
    }

    /// The optimiser of `module` as [`Optimiser::to_checkpoint`] saved it after `num_steps` updates.
    ///
    /// # Errors
    /// A tensor that is missing or has another size.
    pub fn from_checkpoint<M: Module>(module: &M, checkpoint: &Checkpoint, num_steps: u64) -> Result<Self> {
        let mut optimiser = Self::new(module);
        optimiser.num_steps = num_steps;
        for (key, state) in &mut optimiser.states {
            for (part, tensor) in
                PARTS.iter().zip([&mut state.first_moment, &mut state.second_moment, &mut state.average])
            {
                let name = format!("{part}:{key}");
                let saved = checkpoint.read(&name).with_context(|| format!("the optimiser state lacks `{name}`"))?;
                let [expected] = tensor.dims();
                ensure!(
                    saved.values.len() == expected,
                    "the optimiser state `{name}` has {} values instead of {expected}",
                    saved.values.len()
                );
                let device: Device = tensor.device();
                *tensor = from_host(saved.values, [expected], &device);
            }
        }
        Ok(optimiser)
    }
}

struct Starter {
    path: ParameterPath,
    optimiser: Optimiser,
}

impl ModuleVisitor for Starter {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let average = flatten(plain(param.val()));
        let zeros = average.zeros_like();
        let state = ParameterState { first_moment: zeros.clone(), second_moment: zeros, average };
        self.optimiser.states.insert(self.path.key(), state);
    }
}

fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.is_autodiff() { tensor.inner() } else { tensor }
}

struct Updater<'a> {
    path: ParameterPath,
    gradients: GradientSet,
    optimiser: &'a mut Optimiser,
    settings: AdamWStep,
}

impl ModuleMapper for Updater<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.path.key();
        let Some(gradient) = self.gradients.0.remove(&key) else { return param };
        // Taken out and put back, so that the update owns the only reference and can work in place.
        let Some(state) = self.optimiser.states.remove(&key) else { return param };
        let ParameterState { first_moment, second_moment, average } = state;
        let mut settings = self.settings;
        if D == 1 {
            // Biases, scales and shifts are not decayed.
            settings.weight_decay = 0.0;
        }
        let mut states = None;
        let param = param.map(|weights| {
            let dims = weights.dims();
            let weights = flatten(plain(weights));
            let tensors = AdamWTensors { weights, first_moment, second_moment, average };
            let AdamWTensors { weights, first_moment, second_moment, average } =
                adamw_step(tensors, gradient, &settings);
            states = Some(ParameterState { first_moment, second_moment, average });
            Tensor::from_inner(weights.reshape(dims)).require_grad()
        });
        if let Some(state) = states {
            self.optimiser.states.insert(key, state);
        }
        param
    }
}

struct Averager<'a> {
    path: ParameterPath,
    optimiser: &'a Optimiser,
}

impl ModuleMapper for Averager<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(state) = self.optimiser.states.get(&self.path.key()) else { return param };
        param.map(|weights| state.average.clone().reshape(weights.dims()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nets::{
        init::{Initialisation, randomise},
        layers::Linear,
        weights_of,
    };

    const SETTINGS: AdamWStep = AdamWStep {
        learning_rate: 0.05,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        step: 0,
        ema_decay: 0.5,
        gradient_scale: 1.0,
    };

    fn steps(mut layer: Linear, mut optimiser: Optimiser, num_steps: usize) -> (Linear, Optimiser, f32) {
        let device = Device::flex().autodiff();
        let mut last = f32::NAN;
        for _ in 0..num_steps {
            let input = Tensor::<2>::from_data([[1.0, -2.0, 0.5]], &device);
            let target = Tensor::<2>::from_data([[3.0, -1.0]], &device);
            let loss = (layer.forward(input) - target).square().sum();
            last = loss.clone().into_scalar::<f32>();
            let mut gradients = GradientSet::default();
            gradients.accumulate(&layer, loss.backward());
            layer = optimiser.step(layer, gradients, SETTINGS);
        }
        (layer, optimiser, last)
    }

    fn fresh() -> Linear {
        let layer = Linear::new(3, 2, &Device::flex().autodiff());
        randomise(layer, Initialisation::FanInUniform, 1)
    }

    #[test]
    fn the_loss_falls_and_a_restored_optimiser_continues_to_the_same_bits() {
        let (layer, optimiser, _) = steps(fresh(), Optimiser::new(&fresh()), 50);
        let saved = optimiser.to_checkpoint().unwrap();
        let restored = Optimiser::from_checkpoint(&layer, &saved, optimiser.num_steps()).unwrap();
        let (undisturbed, _, loss) = steps(layer.clone(), optimiser, 150);
        let (resumed, restored, _) = steps(layer, restored, 150);
        assert!(loss < 1e-3, "loss is {loss}");
        let weights = |layer: &Linear| weights_of(layer).read("weight").unwrap().values;
        assert_eq!(weights(&undisturbed), weights(&resumed));
        let distance: f32 = weights(&restored.averaged(&resumed))
            .iter()
            .zip(weights(&resumed))
            .map(|(average, weight)| (average - weight).abs())
            .fold(0.0, f32::max);
        assert!(distance < 0.05, "the average of settled weights is near them, not {distance} away");
    }

    #[test]
    fn accumulated_gradients_add_up() {
        let layer = fresh();
        let backward = || layer.forward(Tensor::<2>::ones([1, 3], &Device::flex().autodiff())).sum().backward();
        let mut once = GradientSet::default();
        once.accumulate(&layer, backward());
        let mut twice = GradientSet::default();
        twice.accumulate(&layer, backward());
        twice.accumulate(&layer, backward());
        // Weights: 6 ones, biases: 2 ones.
        assert!((once.norm().unwrap() - 8f64.sqrt()).abs() < 1e-6);
        assert!((twice.norm().unwrap() - 2.0 * 8f64.sqrt()).abs() < 1e-6);
    }
}
