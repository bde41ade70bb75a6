//! DINO's loss: the student's view of an image must give the teacher's answer to another view of it (Caron et al. 2021,
//! section 3.1, algorithm 1), and the KoLeo term of DINOv2 (Oquab et al. 2023; Sablayrolles et al. 2019).
//!
//! Rows are ordered view by view: all images' first view, then all images' second one, ... Global views come first.

use burn::tensor::Tensor;
use nets::dino::unit_length;

/// Global views, which the teacher sees too.
pub const NUM_GLOBAL_VIEWS: usize = 2;

/// What the teacher says about the global views.
#[derive(Debug, Clone)]
pub struct TeacherAnswers {
    /// Probabilities over the prototypes, `[2 * batch, output_dim]`
    pub probabilities: Tensor<2>,
    /// Mean entropy of the answers in nats, `[1]`: 0 where each is a single prototype, `ln(output_dim)` where all are
    /// uniform. Both ends are collapses.
    pub entropy: Tensor<1>,
}

/// Centring and sharpening: softmax of `(outputs - centre) / temperature`.
///
/// # Shapes
/// - outputs: `[2 * batch, output_dim]`, outside autodiff
/// - centre: `[output_dim]`
pub fn teacher_answers(outputs: Tensor<2>, centre: Tensor<1>, temperature: f64) -> TeacherAnswers {
    let scores = (outputs - centre.unsqueeze_dim(0)).div_scalar(temperature);
    let shifted = scores.clone() - scores.max_dim(1);
    let exponentials = shifted.clone().exp();
    let sums = exponentials.clone().sum_dim(1); // [2 * batch, 1]
    let probabilities = exponentials / sums.clone();
    // -sum p ln p, with ln p = shifted - ln sum.
    let entropy = sums.log() - (probabilities.clone() * shifted).sum_dim(1);
    TeacherAnswers { probabilities, entropy: entropy.mean() }
}

/// The mean cross-entropy over all pairs of a teacher's and a student's view but those of the same view.
///
/// # Shapes
/// - outputs: the student's cosines, `[num_views * batch, output_dim]`
/// - answers: `[2 * batch, output_dim]`
/// - result: `[1]`
pub fn dino_loss(outputs: Tensor<2>, answers: Tensor<2>, temperature: f64, num_views: usize) -> Tensor<1> {
    let [rows, _] = outputs.dims();
    let batch = rows / num_views;
    // What each student's view is compared with, summed: one answer for a global view, both for a local one.
    let (first, second) = (answers.clone().narrow(0, 0, batch), answers.narrow(0, batch, batch));
    let num_local = num_views - NUM_GLOBAL_VIEWS;
    let mut targets = vec![second.clone(), first.clone()];
    targets.extend(std::iter::repeat_n(first + second, num_local));
    let targets = Tensor::cat(targets, 0); // [num_views * batch, output_dim]
    let num_answers = targets.clone().sum_dim(1); // [num_views * batch, 1]: 1 or 2, up to rounding
    let (targets, num_answers) = (tracked_like(targets, &outputs), tracked_like(num_answers, &outputs));

    // sum_k target_k (ln sum_j exp(s_j) - s_k). Cosines over a temperature need no shift against overflow.
    let scores = outputs.div_scalar(temperature);
    let log_sums = scores.clone().exp().sum_dim(1).log();
    let cross_entropies = num_answers * log_sums - (targets * scores).sum_dim(1);
    let num_pairs = NUM_GLOBAL_VIEWS * (num_views - 1);
    cross_entropies.sum().div_scalar((num_pairs * batch) as f64)
}

/// A constant on the device of another tensor, which may be in autodiff.
fn tracked_like(constant: Tensor<2>, other: &Tensor<2>) -> Tensor<2> {
    if other.is_autodiff() { Tensor::from_inner(constant) } else { constant }
}

/// The centre after a batch: `momentum * centre + (1 - momentum) * mean of the outputs` (equation 4).
///
/// # Shapes
/// - centre: `[output_dim]`, outputs: `[2 * batch, output_dim]`, outside autodiff
pub fn updated_centre(centre: Tensor<1>, outputs: Tensor<2>, momentum: f64) -> Tensor<1> {
    centre.mul_scalar(momentum) + outputs.mean_dim(0).squeeze_dim::<1>(0).mul_scalar(1.0 - momentum)
}

/// The KoLeo term of one view: minus the mean logarithm of each embedding's distance to the nearest other one of the
/// batch, on embeddings of length 1. Small where embeddings spread evenly.
///
/// # Shapes
/// - embeddings: `[batch, dim]`, batch at least 2
/// - result: `[1]`
pub fn koleo(embeddings: Tensor<2>) -> Tensor<1> {
    // As in DINOv2's code, both in the distance and in the logarithm.
    const EPSILON: f64 = 1e-8;
    let unit = unit_length(embeddings, 1);
    let [batch, _] = unit.dims();
    let plain = if unit.is_autodiff() { unit.clone().inner() } else { unit.clone() };
    let device = plain.device();
    let itself = Tensor::<2>::eye(batch, &device) * 4.0; // no cosine is below -1
    let nearest = (plain.clone().matmul(plain.transpose()) - itself).argmax(1).squeeze_dim::<1>(1);
    let neighbours = unit.clone().select(0, nearest);
    let distances = (unit - neighbours + EPSILON).square().sum_dim(1).sqrt();
    -(distances + EPSILON).log().mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn scalar(tensor: Tensor<1>) -> f64 {
        tensor.into_scalar::<f64>()
    }

    #[test]
    fn entropy_is_between_its_ends() {
        let device = Device::flex();
        let centre = || Tensor::<1>::zeros([8], &device);
        let uniform = teacher_answers(Tensor::zeros([4, 8], &device), centre(), 0.04);
        assert!((scalar(uniform.entropy) - 8f64.ln()).abs() < 1e-5);
        let sure = teacher_answers(Tensor::<2>::eye(8, &device), centre(), 0.01);
        assert!(scalar(sure.entropy).abs() < 1e-5);
        // What all outputs have in common is taken away by the centre.
        let same = Tensor::<2>::from_data([[0.9, 0.1], [0.9, 0.1]], &device);
        let centred = teacher_answers(same, Tensor::from_data([0.9, 0.1], &device), 0.04);
        assert!((scalar(centred.entropy) - 2f64.ln()).abs() < 1e-5);
    }

    #[test]
    fn the_loss_is_smallest_where_the_student_agrees_and_ignores_the_same_view() {
        let device = Device::flex();
        let answers = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0]], &device); // one image, two views
        let loss =
            |outputs: [[f32; 2]; 3]| scalar(dino_loss(Tensor::from_data(outputs, &device), answers.clone(), 0.1, 3));
        // Each global view against the other's answer: agreement is [0, 1] for the first, [1, 0] for the second.
        let agreeing = loss([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]);
        let own = loss([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]);
        // The local view is between two answers: ln 2 for each of its 2 of 4 pairs.
        assert!((agreeing - 2.0 * 2f64.ln() / 4.0).abs() < 1e-3, "{agreeing}");
        assert!((own - (2.0 * 10.0 + 2.0 * 2f64.ln()) / 4.0).abs() < 1e-3, "{own}");
    }

    #[test]
    fn the_centre_follows_the_mean() {
        let device = Device::flex();
        let outputs = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 0.0]], &device);
        let mut centre = Tensor::<1>::zeros([2], &device);
        for _ in 0..200 {
            centre = updated_centre(centre, outputs.clone(), 0.9);
        }
        let values: Vec<f32> = centre.into_data().iter::<f32>().collect();
        assert!((values[0] - 0.5).abs() < 1e-6 && values[1] == 0.0, "{values:?}");
    }

    #[test]
    fn spread_embeddings_have_the_smaller_koleo_term() {
        let device = Device::flex();
        let spread = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], &device);
        let close = Tensor::<2>::from_data([[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0], [-1.0, 0.01]], &device);
        // Neighbours at the root of 2.
        assert!((scalar(koleo(spread)) + 0.5 * 2f64.ln()).abs() < 1e-5);
        assert!((scalar(koleo(close)) - 100f64.ln()).abs() < 1e-2);
    }
}
