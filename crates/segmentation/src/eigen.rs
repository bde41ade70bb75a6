//! The eigenvector that a normalised cut follows.
//!
//! `(D - W) y = lambda D y` becomes `N z = (1 - lambda) z` with `N = D^(-1/2) W D^(-1/2)` and `y = D^(-1/2) z`. Its
//! largest eigenvalue, 1, belongs to `z = D^(1/2) 1` and is known; the second largest is wanted. So the largest of
//! `(I + N) / 2` is sought in the space orthogonal to that one: all its eigenvalues lie in `0..=1`. Small graphs are
//! solved whole, large ones by Lanczos' iteration with full reorthogonalisation, whose own small matrix is solved whole.
//!
//! faer's own `partial_self_adjoint_eigen` finds the same vectors. On features of three regions it takes 8 ms in place of
//! 0.5 (256 nodes), 30 in place of 6 (1,024) and 820 in place of 110 (4,096): it fills its whole space before it looks
//! whether the vector is found.

use faer::{Mat, Side};

use crate::affinity::Graph;
use crate::error::Error;

/// Graphs up to this size are solved whole: below it that is as fast.
const DENSE_NODES: usize = 96;

/// Steps of Lanczos' iteration before it starts again from the best vector so far.
const STEPS: usize = 120;

/// Starts at most. What is left then is a vector of nearly the best cut, as good a guide as the best.
const STARTS: usize = 8;

/// Length of `M z - mu z` at which `z` counts as an eigenvector: a tenth of what moves a token across a cut's border.
const TOLERANCE: f64 = 1e-6;

/// The generalised eigenvector of the second-smallest eigenvalue, one value for each node; its value of largest
/// magnitude (the first of equal ones) is positive. There must be at least two nodes.
pub(crate) fn second_eigenvector(graph: &Graph) -> Result<Vec<f64>, Error> {
    let nodes = graph.nodes;
    // A node without any weight belongs nowhere; a tiny degree keeps its inverse finite.
    let mean = graph.degrees.iter().sum::<f64>() / nodes as f64;
    let floor = (mean * 1e-12).max(f64::MIN_POSITIVE.sqrt());
    let roots: Vec<f64> = graph.degrees.iter().map(|degree| degree.max(floor).sqrt()).collect();
    let known = scaled(roots.clone());
    let mut vector = if nodes <= DENSE_NODES { dense(graph, &roots, &known)? } else { lanczos(graph, &roots, &known)? };
    vector.iter_mut().zip(&roots).for_each(|(value, root)| *value /= root);
    let mut largest = 0.0_f64;
    for &value in &vector {
        // Values within rounding of each other count as equal, so that the sign does not hang on it.
        if value.abs() > largest.abs() * (1.0 + 1e-9) {
            largest = value;
        }
    }
    if largest < 0.0 {
        vector.iter_mut().for_each(|value| *value = -*value);
    }
    Ok(vector)
}

fn dense(graph: &Graph, roots: &[f64], known: &[f64]) -> Result<Vec<f64>, Error> {
    let nodes = graph.nodes;
    let matrix = Mat::from_fn(nodes, nodes, |row, column| {
        let weight = f64::from(graph.row(row)[column]) / (roots[row] * roots[column]);
        0.5 * (weight + f64::from(u8::from(row == column))) - known[row] * known[column]
    });
    largest_eigenpair(&matrix).map(|(_value, vector)| vector)
}

fn lanczos(graph: &Graph, roots: &[f64], known: &[f64]) -> Result<Vec<f64>, Error> {
    let nodes = graph.nodes;
    let apply = |vector: &[f64]| -> Vec<f64> {
        let divided: Vec<f64> = vector.iter().zip(roots).map(|(value, root)| value / root).collect();
        (0..nodes).map(|node| 0.5 * (vector[node] + dot(graph.row(node), &divided) / roots[node])).collect()
    };
    // Any vector with a share of the wanted one: fractional parts of multiples of the golden ratio have no pattern that
    // a grid of tokens has.
    let mut start: Vec<f64> = (1..=nodes).map(|index| (index as f64 * 0.618_033_988_749_895).fract() - 0.5).collect();
    for _start in 0..STARTS {
        remove(&mut start, known);
        let mut basis = vec![scaled(std::mem::take(&mut start))];
        let (mut diagonal, mut beside): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        let steps = STEPS.min(nodes - 1);
        for step in 1..=steps {
            let mut next = apply(&basis[step - 1]);
            diagonal.push(inner(&next, &basis[step - 1]));
            // Twice is enough (Parlett 1980): rounding would otherwise bring the known vector back.
            for _pass in 0..2 {
                remove(&mut next, known);
                basis.iter().for_each(|vector| remove(&mut next, vector));
            }
            let length = inner(&next, &next).sqrt();
            let exhausted = length < TOLERANCE;
            if exhausted || step == steps || step % 10 == 0 {
                let (_value, weights) = largest_eigenpair(&tridiagonal(&diagonal, &beside))?;
                let done = exhausted || length * weights[step - 1].abs() < TOLERANCE;
                if done || step == steps {
                    start = combined(&basis, &weights);
                    if done {
                        return Ok(start);
                    }
                    break;
                }
            }
            beside.push(length);
            next.iter_mut().for_each(|value| *value /= length);
            basis.push(next);
        }
    }
    Ok(start)
}

/// Largest eigenvalue of a symmetric matrix and its eigenvector of length 1.
fn largest_eigenpair(matrix: &Mat<f64>) -> Result<(f64, Vec<f64>), Error> {
    let size = matrix.nrows();
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|_error| Error::NoConvergence { size })?;
    // Eigenvalues come in rising order.
    let last = size - 1;
    Ok((eigen.S().column_vector()[last], (0..size).map(|row| eigen.U()[(row, last)]).collect()))
}

fn tridiagonal(diagonal: &[f64], beside: &[f64]) -> Mat<f64> {
    Mat::from_fn(diagonal.len(), diagonal.len(), |row, column| match row.abs_diff(column) {
        0 => diagonal[row],
        1 => beside[row.min(column)],
        _ => 0.0,
    })
}

fn combined(basis: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; basis[0].len()];
    for (vector, weight) in basis.iter().zip(weights) {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * value);
    }
    sum
}

/// Takes the part along `direction`, of length 1, out of a vector.
fn remove(vector: &mut [f64], direction: &[f64]) {
    let share = inner(vector, direction);
    vector.iter_mut().zip(direction).for_each(|(value, direction)| *value -= share * direction);
}

fn scaled(mut vector: Vec<f64>) -> Vec<f64> {
    let length = inner(&vector, &vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
    vector
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Sum of products in eight sums side by side, which the compiler turns into vector code; the order is fixed.
pub(crate) fn dot(weights: &[f32], values: &[f64]) -> f64 {
    let (weight_blocks, weight_rest) = weights.as_chunks::<8>();
    let (value_blocks, value_rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (weights, values) in weight_blocks.iter().zip(value_blocks) {
        for lane in 0..8 {
            sums[lane] += f64::from(weights[lane]) * values[lane];
        }
    }
    let rest: f64 = weight_rest.iter().zip(value_rest).map(|(&weight, value)| f64::from(weight) * value).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights that fall off along a line: its second eigenvector is smooth and unique.
    fn line(nodes: usize) -> Graph {
        let weight = |row: usize, column: usize| (-(row as f32 - column as f32).abs() / 9.0).exp();
        Graph::new((0..nodes * nodes).map(|at| weight(at / nodes, at % nodes)).collect(), nodes)
    }

    #[test]
    fn the_iteration_agrees_with_the_whole_solution() {
        let graph = line(150);
        let roots: Vec<f64> = graph.degrees.iter().map(|degree| degree.sqrt()).collect();
        let known = scaled(roots.clone());
        let (whole, iterated) = (dense(&graph, &roots, &known).unwrap(), lanczos(&graph, &roots, &known).unwrap());
        let cosine = inner(&whole, &iterated).abs();
        assert!(1.0 - cosine < 1e-9, "{cosine}");
        assert!(inner(&iterated, &known).abs() < 1e-9);
    }

    /// Equal weights: every vector is as good as another, and Lanczos' space is used up after one step.
    #[test]
    fn a_graph_without_structure_ends_at_once() {
        for nodes in [2, 20, 300] {
            let vector = second_eigenvector(&Graph::new(vec![1.0; nodes * nodes], nodes)).unwrap();
            assert!(vector.iter().all(|value| value.is_finite()));
            assert!(vector.iter().sum::<f64>().abs() < 1e-6, "orthogonal to what is known");
        }
        assert!(second_eigenvector(&Graph::new(vec![0.0; 9], 3)).unwrap().iter().all(|value| value.is_finite()));
    }
}
