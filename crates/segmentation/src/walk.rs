//! Attention as a random walk over tokens, cut where walkers seldom cross (after Ivanova, Aversa, Henderson and
//! Williamson 2024, "Unsupervised Segmentation by Diffusing, Walking and Cutting", arXiv 2412.04678).
//!
//! From that paper: softmax self-attention is read as the transition matrix `P` of a random walk, its power `P^k` as
//! `k` steps of it, normalised cuts are made recursively either on the walk itself or on the similarity of the rows of
//! `P^k`, and the threshold of the recursion is set for each image instead of by hand.
//!
//! Not from that paper: only its abstract and summaries of it could be read, and these do not say *how* it sets the
//! threshold. The rule of [`CutTree::automatic_threshold`] is this project's own, and so are the reversible form of the
//! walk and the choice of `k` (the walk's default is the plain map, one step). Results are not the paper's.

use burn::tensor::Device;

use crate::affinity::Affinity;
use crate::aggregate::AttentionMaps;
use crate::diffseg::{host, matrix};
use crate::error::{Error, check_range};
use crate::ncut::CutTree;

/// Which graph is made of the walk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WalkGraph {
    /// How often walkers go from one token to another: `pi_i (P^k)_ij`, mean of both directions, where `pi` is how
    /// often they are at a token in the long run. The cost of a cut is then the chance to leave the one side in a walk
    /// of `k` steps plus the chance to leave the other (Meila and Shi 2001; for walks that differ from their own
    /// reversal, Chung 2005).
    Flow,
    /// How alike two tokens' walkers are spread after `k` steps: cosine similarity of rows of `P^k`, scaled and raised
    /// to `alpha` as in [`Affinity::from_features`].
    Similarity {
        /// The exponent, above 0.
        alpha: f32,
    },
}

/// Settings of the walk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Walk {
    /// Steps `k`, from 1 on: more steps join what is further apart.
    pub steps: usize,
    /// The graph to cut.
    pub graph: WalkGraph,
}

impl Default for Walk {
    fn default() -> Self {
        Self { steps: 1, graph: WalkGraph::Flow }
    }
}

/// Steps after which the long run counts as reached even where it moves on slowly.
const LONG_RUN: usize = 1_000;

impl Walk {
    /// The weights between tokens. Powers of the map are products of matrices on `device`, about `2 log2(steps)` of
    /// them at most.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a setting outside its range, [`Error::Device`].
    pub fn affinity(&self, maps: &AttentionMaps, device: &Device) -> Result<Affinity, Error> {
        check_range("steps", self.steps as f64, self.steps > 0, "at least 1")?;
        let tokens = maps.grid().tokens();
        let walked = power(maps.values(), tokens, self.steps, device)?;
        match self.graph {
            WalkGraph::Similarity { alpha } => Affinity::from_features(&walked, tokens, alpha, device),
            WalkGraph::Flow => {
                let long_run = long_run(maps.values(), tokens);
                let mut flow = walked;
                for (row, share) in flow.chunks_exact_mut(tokens).zip(long_run) {
                    // Times the number of tokens, to stay away from the smallest numbers of f32.
                    let scale = (share * tokens as f64) as f32;
                    row.iter_mut().for_each(|value| *value *= scale);
                }
                Affinity::new(flow, tokens)
            }
        }
    }
}

impl CutTree {
    /// A threshold for this image alone: the middle of the widest gap between the costs at which cuts come in
    /// ([`reaching_costs`](Self::reaching_costs)), the cost 1 of a blind cut being the last of them. Cuts below are much
    /// cheaper than those above. The first cut of the image is always below; with none, there is nothing to choose and
    /// the tree's own threshold comes back.
    ///
    /// The tree should be made with threshold 1, so that all cuts better than blind ones are in it. Where costs crowd
    /// together far below 1, the gap beneath 1 is the widest and every cut is made; `min_tokens` bounds their number.
    /// This rule is not
    /// that of the paper named in the head of this file, which could not be established.
    pub fn automatic_threshold(&self) -> f64 {
        let better_than_blind = self.reaching_costs().into_iter().filter(|cost| *cost < 1.0);
        let costs: Vec<f64> = better_than_blind.chain([1.0]).collect();
        let widest = costs.windows(2).max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0])));
        widest.map_or(self.threshold(), |gap| 0.5 * (gap[0] + gap[1]))
    }
}

/// `P^steps` by repeated squaring, `[tokens, tokens]`.
fn power(maps: &[f32], tokens: usize, steps: usize, device: &Device) -> Result<Vec<f32>, Error> {
    if steps == 1 {
        return Ok(maps.to_vec());
    }
    let mut square = matrix(maps.to_vec(), [tokens, tokens], device);
    let mut product = None;
    let mut left = steps;
    loop {
        if left % 2 == 1 {
            product = Some(match product {
                Some(product) => square.clone().matmul(product),
                None => square.clone(),
            });
        }
        left /= 2;
        if left == 0 {
            break;
        }
        square = square.clone().matmul(square);
    }
    host(product.unwrap_or(square))
}

/// How often a walker is at each token in the long run: `pi P = pi`, by walking from everywhere at once. Half of each
/// step stays, which changes no such share and keeps walkers from going back and forth in time.
fn long_run(maps: &[f32], tokens: usize) -> Vec<f64> {
    let mut shares = vec![1.0 / tokens as f64; tokens];
    for _step in 0..LONG_RUN {
        let mut next: Vec<f64> = shares.iter().map(|share| 0.5 * share).collect();
        for (row, share) in maps.chunks_exact(tokens).zip(&shares) {
            next.iter_mut().zip(row).for_each(|(next, &value)| *next += 0.5 * share * f64::from(value));
        }
        let sum: f64 = next.iter().sum();
        next.iter_mut().for_each(|share| *share /= sum);
        let moved: f64 = next.iter().zip(&shares).map(|(next, share)| (next - share).abs()).sum();
        shares = next;
        if moved < 1e-7 {
            break;
        }
    }
    shares
}
