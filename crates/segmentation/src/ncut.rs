//! Recursive normalised cuts (Shi and Malik 2000; on features of a diffusion model: Couairon et al. 2024, "DiffCut").

use crate::affinity::{Affinity, Graph};
use crate::eigen::{dot, second_eigenvector};
use crate::error::{Error, check_range};

/// Settings of the recursion. The cost of cutting nodes into `A` and `B` is
/// `Ncut = cut(A, B) / assoc(A) + cut(A, B) / assoc(B)`: 0 where nothing joins them, 1 where weights are blind to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ncut {
    /// Parts whose best cut costs as much or more are left whole, in `0..=2`. Published: 0.5.
    pub threshold: f64,
    /// Tokens that each side of a cut has at least, from 1 on.
    pub min_tokens: usize,
}

impl Default for Ncut {
    fn default() -> Self {
        Self { threshold: 0.5, min_tokens: 1 }
    }
}

/// A part of the image and how it was cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// The tokens of the part, rising.
    pub tokens: Vec<u32>,
    /// The cost of the best cut found; `None` where the part is too small to be cut.
    pub cost: Option<f64>,
    /// Where the two parts are in [`CutTree::parts`], if the cut was made.
    pub children: Option<[usize; 2]>,
}

/// All cuts below a threshold. Lower thresholds give prunings of the same tree, so that one tree serves a whole search.
#[derive(Debug, Clone, PartialEq)]
pub struct CutTree {
    parts: Vec<Cut>,
    threshold: f64,
}

impl Ncut {
    /// Cuts the image in two along the second-smallest eigenvector of `(D - W) y = lambda D y`, at the value of `y`
    /// that costs least among all of them (the published programs try 100 evenly spaced ones), and goes on with each
    /// side while cuts cost less than the threshold.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a setting outside its range, [`Error::NoConvergence`].
    pub fn tree(&self, affinity: &Affinity) -> Result<CutTree, Error> {
        check_range("threshold", self.threshold, (0.0..=2.0).contains(&self.threshold), "between 0 and 2")?;
        check_range("min_tokens", self.min_tokens as f64, self.min_tokens > 0, "at least 1")?;
        let mut parts = vec![Cut { tokens: (0..affinity.tokens() as u32).collect(), cost: None, children: None }];
        let mut next = 0;
        while next < parts.len() {
            let tokens = &parts[next].tokens;
            if tokens.len() >= 2 * self.min_tokens {
                let graph = affinity.among(tokens);
                let (cost, first) = best_cut(&graph, &second_eigenvector(&graph)?, self.min_tokens);
                if cost < self.threshold {
                    let side = |wanted: bool| Cut {
                        tokens: tokens
                            .iter()
                            .zip(&first)
                            .filter(|(_, first)| **first == wanted)
                            .map(|(t, _)| *t)
                            .collect(),
                        cost: None,
                        children: None,
                    };
                    let sides = [side(true), side(false)];
                    parts[next].children = Some([parts.len(), parts.len() + 1]);
                    parts.extend(sides);
                }
                parts[next].cost = Some(cost);
            }
            next += 1;
        }
        Ok(CutTree { parts, threshold: self.threshold })
    }
}

impl CutTree {
    /// All parts; the first is the whole image, and children come after their parent.
    pub fn parts(&self) -> &[Cut] {
        &self.parts
    }

    /// The threshold that the tree was made with.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The label of each token when only cuts that cost less than `threshold` are made, as the recursion with that
    /// threshold makes them; from 0 in the order in which segments begin. No threshold above the tree's own adds cuts.
    pub fn labels(&self, threshold: f64) -> Vec<u16> {
        let mut part_of = vec![0_usize; self.parts[0].tokens.len()];
        let mut open = vec![0];
        while let Some(index) = open.pop() {
            let part = &self.parts[index];
            match (part.children, part.cost) {
                (Some(children), Some(cost)) if cost < threshold => open.extend(children),
                _ => part.tokens.iter().for_each(|&token| part_of[token as usize] = index),
            }
        }
        let mut names = vec![None; self.parts.len()];
        let mut used = 0;
        part_of
            .into_iter()
            .map(|part| {
                *names[part].get_or_insert_with(|| {
                    used += 1;
                    used - 1
                })
            })
            .collect()
    }

    /// For each cut made, the threshold above which the recursion makes it: the largest cost on the way from the whole
    /// image to it. Rising.
    pub fn reaching_costs(&self) -> Vec<f64> {
        let mut costs = Vec::new();
        let mut open = vec![(0, 0.0)];
        while let Some((index, above)) = open.pop() {
            let part = &self.parts[index];
            if let (Some(children), Some(cost)) = (part.children, part.cost) {
                let reaching = f64::max(above, cost);
                costs.push(reaching);
                open.extend(children.map(|child| (child, reaching)));
            }
        }
        costs.sort_by(f64::total_cmp);
        costs
    }
}

/// The cheapest of the cuts that `vector` allows with at least `min_nodes` on each side: its cost and who is on the
/// side of small values. One pass over the weights tries them all.
fn best_cut(graph: &Graph, vector: &[f64], min_nodes: usize) -> (f64, Vec<bool>) {
    let nodes = graph.nodes;
    let mut order: Vec<usize> = (0..nodes).collect();
    order.sort_by(|a, b| vector[*a].total_cmp(&vector[*b]));
    let total: f64 = graph.degrees.iter().sum();
    let mut inside = vec![0.0; nodes];
    let (mut cut, mut association) = (0.0, 0.0);
    let mut best = (f64::INFINITY, 0);
    for (taken, &node) in order[..nodes - 1].iter().enumerate() {
        let within = dot(graph.row(node), &inside);
        let itself = f64::from(graph.row(node)[node]);
        cut += graph.degrees[node] - itself - 2.0 * within;
        association += graph.degrees[node];
        inside[node] = 1.0;
        let taken = taken + 1;
        if taken >= min_nodes && nodes - taken >= min_nodes {
            let cost = ratio(cut, association) + ratio(cut, total - association);
            if cost < best.0 {
                best = (cost, taken);
            }
        }
    }
    let mut first = vec![false; nodes];
    order[..best.1].iter().for_each(|&node| first[node] = true);
    (best.0, first)
}

/// A side without any weight is joined to nothing: cutting it off costs nothing.
fn ratio(cut: f64, association: f64) -> f64 {
    if association > 0.0 { cut.max(0.0) / association } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The running sums of `best_cut` against the definition, on every place of the order.
    #[test]
    fn the_cheapest_cut_is_the_cheapest_by_definition() {
        let nodes = 9;
        let weight = |row: usize, column: usize| ((row * column + row + column) as f32 * 0.37).sin().abs();
        let graph = Graph::new((0..nodes * nodes).map(|at| weight(at / nodes, at % nodes)).collect(), nodes);
        let vector: Vec<f64> = (0..nodes).map(|node| ((node * 5) % nodes) as f64).collect();
        let cost = |limit: f64| {
            let (mut cut, mut sides) = (0.0, [0.0, 0.0]);
            for row in 0..nodes {
                sides[usize::from(vector[row] > limit)] += graph.degrees[row];
                for column in 0..nodes {
                    if vector[row] <= limit && vector[column] > limit {
                        cut += f64::from(graph.row(row)[column]);
                    }
                }
            }
            cut / sides[0] + cut / sides[1]
        };
        for min_nodes in [1, 3] {
            let tried = min_nodes..=nodes - min_nodes;
            let expected = tried.map(|taken| cost(taken as f64 - 0.5)).fold(f64::INFINITY, f64::min);
            let (found, first) = best_cut(&graph, &vector, min_nodes);
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            assert!(first.iter().filter(|first| **first).count() >= min_nodes);
        }
    }
}
