//! Mixtures of embeddings: straight (`lerp`) and along the sphere (`slerp`), token by token.
//!
//! On the host in f64: an embedding is a few thousand numbers once per image, and so a mixture does not depend on the
//! batch that it is made in.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::{Error, check};

/// How two embeddings are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// See [`lerp`].
    Lerp,
    /// See [`slerp`]. The default: an embedding's norm says how sure the encoder is, and a straight mixture shortens it.
    #[default]
    Slerp,
}

impl Interpolation {
    /// Mixes two batches of embeddings; see [`lerp`] and [`slerp`].
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`], or [`Error::OutOfRange`] for a fraction outside `0..=1`.
    pub fn mix(self, source: Tensor<3>, target: Tensor<3>, fractions: &[f64]) -> Result<Tensor<3>, Error> {
        match self {
            Interpolation::Lerp => lerp(source, target, fractions),
            Interpolation::Slerp => slerp(source, target, fractions),
        }
    }
}

/// The straight mixture `(1 - fraction) * source + fraction * target`; the ends are exact.
///
/// # Errors
/// [`Error::ShapeMismatch`], or [`Error::OutOfRange`] for a fraction outside `0..=1`.
///
/// # Shapes
/// - `source`, `target`, result: `[batch, tokens, dim]`
/// - `fractions`: one for each image
pub fn lerp(source: Tensor<3>, target: Tensor<3>, fractions: &[f64]) -> Result<Tensor<3>, Error> {
    per_token(source, target, fractions, lerp_token)
}

/// The mixture along the great circle (Shoemake 1985), token by token: the direction turns by `fraction` of the angle
/// while the norm goes straight from one to the other, so tokens of equal norm keep it. The ends are exact.
///
/// Opposite tokens have no single great circle; one is chosen by rule. A token of norm 0 has no direction and is mixed
/// straight.
///
/// # Errors
/// [`Error::ShapeMismatch`], or [`Error::OutOfRange`] for a fraction outside `0..=1`.
///
/// # Shapes
/// - `source`, `target`, result: `[batch, tokens, dim]`
/// - `fractions`: one for each image
pub fn slerp(source: Tensor<3>, target: Tensor<3>, fractions: &[f64]) -> Result<Tensor<3>, Error> {
    per_token(source, target, fractions, slerp_token)
}

fn per_token(
    source: Tensor<3>,
    target: Tensor<3>,
    fractions: &[f64],
    mix: fn(&[f64], &[f64], f64) -> Vec<f64>,
) -> Result<Tensor<3>, Error> {
    let [batch, tokens, dim] = source.dims();
    if source.dims() != target.dims() {
        let (left, right) = (source.dims().to_vec(), target.dims().to_vec());
        return Err(Error::ShapeMismatch { what: "source and target embeddings", left, right });
    }
    if batch != fractions.len() {
        let (left, right) = (vec![batch], vec![fractions.len()]);
        return Err(Error::ShapeMismatch { what: "embeddings and fractions", left, right });
    }
    for fraction in fractions {
        check("fraction", *fraction, (0.0..=1.0).contains(fraction), "between 0 and 1")?;
    }
    let device = source.device();
    let (source, target) = (to_host(source), to_host(target));
    let mixed: Vec<f32> = source
        .chunks(dim.max(1))
        .zip(target.chunks(dim.max(1)))
        .enumerate()
        .flat_map(|(token, (source, target))| match fractions[token / tokens.max(1)] {
            0.0 => source.to_vec(),
            1.0 => target.to_vec(),
            fraction => mix(source, target, fraction),
        })
        .map(|value| value as f32)
        .collect();
    Ok(Tensor::from_data(TensorData::new(mixed, [batch, tokens, dim]), &device))
}

fn to_host(tensor: Tensor<3>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn lerp_token(source: &[f64], target: &[f64], fraction: f64) -> Vec<f64> {
    source.iter().zip(target).map(|(source, target)| source + fraction * (target - source)).collect()
}

fn norm(vector: &[f64]) -> f64 {
    libm::sqrt(vector.iter().map(|value| value * value).sum())
}

fn slerp_token(source: &[f64], target: &[f64], fraction: f64) -> Vec<f64> {
    let (norm_source, norm_target) = (norm(source), norm(target));
    if norm_source == 0.0 || norm_target == 0.0 {
        return lerp_token(source, target, fraction);
    }
    let from: Vec<f64> = source.iter().map(|value| value / norm_source).collect();
    let to: Vec<f64> = target.iter().map(|value| value / norm_target).collect();
    // Kahan's angle, exact for near and opposite directions alike, where the arc cosine loses half its digits.
    let difference: Vec<f64> = from.iter().zip(&to).map(|(from, to)| to - from).collect();
    let sum: Vec<f64> = from.iter().zip(&to).map(|(from, to)| to + from).collect();
    let angle = 2.0 * libm::atan2(norm(&difference), norm(&sum));
    // The unit vector across `from` towards `to`: the result turns within their plane.
    let across = across(&from, &difference);
    let (sine, cosine) = libm::sincos(fraction * angle);
    let length = norm_source + fraction * (norm_target - norm_source);
    from.iter().zip(&across).map(|(from, across)| length * (cosine * from + sine * across)).collect()
}

/// The unit vector orthogonal to the unit vector `from` on the side of `direction`; where `direction` has none, on the
/// side of the axis along which `from` is smallest.
fn across(from: &[f64], direction: &[f64]) -> Vec<f64> {
    let reject = |vector: &[f64]| -> Vec<f64> {
        let along: f64 = from.iter().zip(vector).map(|(from, value)| from * value).sum();
        vector.iter().zip(from).map(|(value, from)| value - along * from).collect()
    };
    let mut rejected = reject(direction);
    // Equal directions leave rounding errors only; the angle is then 0 and any vector does.
    if norm(&rejected) < 1e-12 {
        let smallest = (0..from.len()).min_by(|a, b| from[*a].abs().total_cmp(&from[*b].abs())).unwrap_or(0);
        let axis: Vec<f64> = (0..from.len()).map(|index| f64::from(u8::from(index == smallest))).collect();
        rejected = reject(&axis);
    }
    let length = norm(&rejected);
    // A space of one dimension has no vector across another: the turn passes through 0.
    if length > 0.0 { rejected.iter().map(|value| value / length).collect() } else { rejected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use random::{Purpose, normal};

    fn embeddings(index: u64) -> Tensor<3> {
        let values = normal(1, index, Purpose::Other(0), 3 * 2 * 48);
        Tensor::from_data(TensorData::new(values, [3, 2, 48]), &Device::flex())
    }

    fn norms(embeddings: Tensor<3>) -> Vec<f64> {
        to_host(embeddings).chunks(48).map(norm).collect()
    }

    #[test]
    fn ends_are_exact() {
        for mode in [Interpolation::Lerp, Interpolation::Slerp] {
            let (source, target) = (embeddings(0), embeddings(1));
            let start = mode.mix(source.clone(), target.clone(), &[0.0; 3]).unwrap();
            let end = mode.mix(source.clone(), target.clone(), &[1.0; 3]).unwrap();
            start.into_data().assert_eq(&source.into_data(), true);
            end.into_data().assert_eq(&target.into_data(), true);
        }
    }

    #[test]
    fn each_image_has_its_own_fraction() {
        let (source, target) = (embeddings(0), embeddings(1));
        let mixed = slerp(source.clone(), target.clone(), &[0.0, 0.25, 1.0]).unwrap();
        let alone = slerp(source.clone().narrow(0, 1, 1), target.clone().narrow(0, 1, 1), &[0.25]).unwrap();
        mixed.clone().narrow(0, 1, 1).into_data().assert_eq(&alone.into_data(), true);
        mixed.clone().narrow(0, 0, 1).into_data().assert_eq(&source.narrow(0, 0, 1).into_data(), true);
        mixed.narrow(0, 2, 1).into_data().assert_eq(&target.narrow(0, 2, 1).into_data(), true);
    }

    #[test]
    fn slerp_moves_the_norm_straight_and_turns_evenly() {
        let (source, target) = (embeddings(0), embeddings(1));
        let (start, end) = (norms(source.clone()), norms(target.clone()));
        let quarter = slerp(source.clone(), target.clone(), &[0.25; 3]).unwrap();
        for ((norm, start), end) in norms(quarter.clone()).into_iter().zip(start).zip(end) {
            assert!((norm - (0.75 * start + 0.25 * end)).abs() < 1e-5 * norm);
        }
        let angle = |a: &Tensor<3>, b: &Tensor<3>| {
            let (a, b) = (to_host(a.clone()), to_host(b.clone()));
            let dot: f64 = a[..48].iter().zip(&b[..48]).map(|(a, b)| a * b).sum();
            (dot / norm(&a[..48]) / norm(&b[..48])).acos()
        };
        assert!((angle(&source, &quarter) - 0.25 * angle(&source, &target)).abs() < 1e-5);
        assert!((angle(&quarter, &target) - 0.75 * angle(&source, &target)).abs() < 1e-5);
    }

    #[test]
    fn slerp_is_the_same_from_the_other_end() {
        let (source, target) = (embeddings(0), embeddings(1));
        let there = slerp(source.clone(), target.clone(), &[0.3; 3]).unwrap();
        let back = slerp(target, source, &[0.7; 3]).unwrap();
        assert!((there - back).abs().max().into_scalar::<f32>() < 1e-5);
    }

    #[test]
    fn slerp_of_identical_and_opposite_embeddings_keeps_the_norm() {
        let source = embeddings(0);
        for target in
            [source.clone(), source.clone().neg(), source.clone() * 1.000_000_1, source.clone().neg() * 1.000_001]
        {
            let mixed = slerp(source.clone(), target, &[0.4; 3]).unwrap();
            for (mixed, source) in norms(mixed).into_iter().zip(norms(source.clone())) {
                assert!((mixed - source).abs() < 1e-5 * source, "{mixed} {source}");
            }
        }
        let same = slerp(source.clone(), source.clone(), &[0.4; 3]).unwrap();
        assert!((same - source).abs().max().into_scalar::<f32>() < 1e-6);
    }

    #[test]
    fn slerp_with_a_zero_embedding_is_straight() {
        let source = embeddings(0);
        let mixed = slerp(source.clone(), source.zeros_like(), &[0.5; 3]).unwrap();
        assert!((mixed - source * 0.5).abs().max().into_scalar::<f32>() < 1e-6);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let source = embeddings(0);
        assert!(matches!(lerp(source.clone(), source.clone(), &[0.5]), Err(Error::ShapeMismatch { .. })));
        let shorter = source.clone().narrow(1, 0, 1);
        assert!(matches!(lerp(source.clone(), shorter, &[0.5; 3]), Err(Error::ShapeMismatch { .. })));
        for fraction in [-0.1, 1.1, f64::NAN] {
            let result = lerp(source.clone(), source.clone(), &[0.5, fraction, 0.5]);
            assert!(matches!(result, Err(Error::OutOfRange { .. })));
        }
    }
}
