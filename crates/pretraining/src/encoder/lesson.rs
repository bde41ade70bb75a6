//! One step's forward and backward pass, apart from where images come from and where results go.

use super::loss::{self, NUM_GLOBAL_VIEWS};
use anyhow::Result;
use burn::tensor::Tensor;
use nets::dino::DinoNetwork;
use training::optimiser::GradientSet;
use training::tensors::to_host;

/// Settings of one step.
#[derive(Debug, Clone, Copy)]
pub struct LessonSettings {
    /// Of the student's softmax.
    pub student_temperature: f64,
    /// Of the teacher's softmax.
    pub teacher_temperature: f64,
    /// Share of the old centre that survives.
    pub centre_momentum: f64,
    /// Weight of the KoLeo term; 0 is off.
    pub koleo_weight: f64,
}

/// What comes of one step.
#[derive(Debug)]
pub struct Lesson {
    /// Of the student's parameters.
    pub gradients: GradientSet,
    /// The new centre, `[output_dim]`
    pub centre: Tensor<1>,
    /// The teacher's class tokens of the first global views, `[batch, dim]` on the host.
    pub embeddings: Vec<f32>,
    /// Mean cross-entropy of teacher and student, in nats.
    pub distillation: f64,
    /// Mean entropy of the teacher's answers, in nats.
    pub entropy: f64,
    /// The KoLeo terms of both global views, where it is on.
    pub koleo: Option<f64>,
}

/// Shows a batch to teacher and student.
///
/// # Shapes
/// - student: in autodiff; teacher: outside, as are all tensors
/// - centre: `[output_dim]`
/// - global: `[2 * batch, size, size, 3]`, view by view
/// - local: `[num_local * batch, size, size, 3]`, view by view
///
/// # Errors
/// A device that failed.
pub fn learn(
    student: &DinoNetwork,
    teacher: &DinoNetwork,
    centre: Tensor<1>,
    global: Tensor<4>,
    local: Option<Tensor<4>>,
    settings: LessonSettings,
) -> Result<Lesson> {
    let batch = global.dims()[0] / NUM_GLOBAL_VIEWS;
    let embeddings = teacher.embed(global.clone()); // [2 * batch, dim]
    let outputs = teacher.head.forward(embeddings.clone()); // [2 * batch, output_dim]
    let answers = loss::teacher_answers(outputs.clone(), centre.clone(), settings.teacher_temperature);
    let centre = loss::updated_centre(centre, outputs, settings.centre_momentum);

    let tokens = student.embed(Tensor::from_inner(global)); // [2 * batch, dim]
    let mut all = vec![tokens.clone()];
    all.extend(local.map(|local| student.embed(Tensor::from_inner(local))));
    let outputs = student.head.forward(Tensor::cat(all, 0)); // [num_views * batch, output_dim]
    let num_views = outputs.dims()[0] / batch;
    let distillation = loss::dino_loss(outputs, answers.probabilities, settings.student_temperature, num_views);
    let koleo = (settings.koleo_weight > 0.0)
        .then(|| loss::koleo(tokens.clone().narrow(0, 0, batch)) + loss::koleo(tokens.narrow(0, batch, batch)));
    let numbers = (number(distillation.clone())?, koleo.clone().map(number).transpose()?);
    let total = match koleo {
        Some(koleo) => distillation + koleo * settings.koleo_weight,
        None => distillation,
    };
    let mut gradients = GradientSet::default();
    gradients.accumulate(student, total.backward());
    Ok(Lesson {
        gradients,
        centre,
        embeddings: to_host(embeddings.narrow(0, 0, batch))?,
        distillation: numbers.0,
        entropy: number(answers.entropy)?,
        koleo: numbers.1,
    })
}

fn number(tensor: Tensor<1>) -> Result<f64> {
    let tensor = if tensor.is_autodiff() { tensor.inner() } else { tensor };
    Ok(to_host(tensor)?.first().copied().map_or(f64::NAN, f64::from))
}

#[cfg(test)]
mod tests {
    //! Two whole optimiser steps against PyTorch; `tests/golden/dino/generate.py` wrote the numbers and states the
    //! settings that are repeated here.

    use super::*;
    use burn::tensor::Device;
    use kernels::AdamWStep;
    use nets::{
        Checkpoint, HostTensor, dino::DinoHeadConfig, encoder::EncoderConfig, load_weights, vit::VitConfig, weights_of,
    };
    use std::path::Path;
    use training::optimiser::Optimiser;
    use training::tensors::from_host;

    fn part(golden: &Checkpoint, prefix: &str) -> Checkpoint {
        let mut part = Checkpoint::default();
        for key in golden.keys() {
            if let Some(name) = key.strip_prefix(prefix) {
                part.insert(name, golden.read(key).unwrap());
            }
        }
        part
    }

    /// Largest difference of any parameter, and the parameter.
    fn largest_difference(found: &DinoNetwork, expected: &Checkpoint) -> (f32, String) {
        let found = weights_of(found);
        assert!(found.keys().eq(expected.keys()));
        let differences = found.keys().map(|key| {
            let (found, expected) = (found.read(key).unwrap(), expected.read(key).unwrap());
            let pairs = found.values.iter().zip(&expected.values);
            (pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs())), key.to_owned())
        });
        differences.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
    }

    #[test]
    fn two_steps_are_those_of_pytorch() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/dino/steps.safetensors");
        let golden = Checkpoint::open(Path::new(path)).unwrap();
        let device = Device::flex();
        let vit = VitConfig {
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 32,
            ..VitConfig::tiny(8, 32)
        };
        let head =
            DinoHeadConfig { num_layers: 3, hidden_dim: 24, bottleneck_dim: 8, output_dim: 20, batch_norm: false };
        let fresh = DinoNetwork::new(&EncoderConfig::Vit(vit), &head, 0, &device.clone().autodiff());
        let mut student = load_weights(fresh, &part(&golden, "before.")).unwrap();
        let mut optimiser = Optimiser::new(&student);
        let read = |name: &str| golden.read(name).unwrap();
        let images = |name: String| {
            let HostTensor { shape, values } = read(&name);
            let grey = from_host::<4>(values, [shape[0], shape[1], shape[2], 1], &device);
            ((grey - 0.4) / 0.2).repeat_dim(3, 3)
        };
        let mut centre = from_host::<1>(read("centre.0").values, [20], &device);
        let settings = LessonSettings {
            student_temperature: 0.2,
            teacher_temperature: 0.1,
            centre_momentum: 0.9,
            koleo_weight: 0.1,
        };
        for step in 0..2 {
            let teacher = optimiser.averaged(&student);
            let (global, local) = (images(format!("global.{step}")), images(format!("local.{step}")));
            let mut lesson = learn(&student, &teacher, centre, global, Some(local), settings).unwrap();
            let expected = read(&format!("losses.{step}")).values;
            let found = [lesson.distillation, lesson.entropy, lesson.koleo.unwrap()];
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - f64::from(*expected)).abs() < 1e-4, "step {step}: {found} instead of {expected}");
            }
            lesson.gradients.clip_each(0.5).unwrap();
            let update = AdamWStep {
                learning_rate: 1e-2,
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-3,
                weight_decay: 0.3,
                step: 0,
                ema_decay: 0.9,
                gradient_scale: 1.0,
            };
            drop(teacher);
            student = optimiser.step(student, lesson.gradients, update);
            centre = lesson.centre;
        }
        let expected = read("centre.after").values;
        for (found, expected) in to_host(centre).unwrap().iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
        }
        let moved = largest_difference(&student, &part(&golden, "before.")).0;
        let (error, name) = largest_difference(&student, &part(&golden, "student."));
        assert!(moved > 5e-3 && error < 1e-2 * moved, "student: {name} is {error} away, having moved by {moved}");
        let (error, name) = largest_difference(&optimiser.averaged(&student), &part(&golden, "teacher."));
        assert!(error < 1e-3 * moved, "teacher: {name} is {error} away");
    }
}
