//! Ranks in which ties share their mean: what the Mann-Whitney and Wilcoxon statistics are made of.

/// Ranks from 1, in the order of the values they are of.
pub(crate) struct Ranks {
    /// Equal values share the mean of their ranks.
    pub values: Vec<f64>,
    /// Sum of `t^3 - t` over groups of `t` equal values; 0 without ties.
    pub ties: f64,
}

impl Ranks {
    /// Of numbers, of which none may be NaN.
    pub fn of(numbers: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
        let mut ranks = Self { values: vec![0.0; numbers.len()], ties: 0.0 };
        let mut below = 0;
        for tied in order.chunk_by(|a, b| numbers[*a] == numbers[*b]) {
            let count = tied.len() as f64;
            for index in tied {
                ranks.values[*index] = below as f64 + (count + 1.0) / 2.0;
            }
            ranks.ties += count.powi(3) - count;
            below += tied.len();
        }
        ranks
    }
}

/// How often a value of `above` exceeds one of `below`, ties counting half: the Mann-Whitney statistic over the number
/// of pairs, in 0..=1. Neither may be empty or hold NaN.
pub(crate) fn exceedance(above: &[f64], below: &[f64]) -> f64 {
    let both: Vec<f64> = above.iter().chain(below).copied().collect();
    let rank_sum: f64 = Ranks::of(&both).values[..above.len()].iter().sum();
    let (num_above, num_below) = (above.len() as f64, below.len() as f64);
    (rank_sum - num_above * (num_above + 1.0) / 2.0) / (num_above * num_below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_mean_rank() {
        let ranks = Ranks::of(&[3.0, -0.0, 3.0, 7.0, 0.0, 3.0]);
        assert_eq!(ranks.values, [4.0, 1.5, 4.0, 6.0, 1.5, 4.0]);
        assert_eq!(ranks.ties, 6.0 + 24.0);
        assert_eq!(Ranks::of(&[2.0, 1.0]).ties, 0.0);
        assert_eq!(exceedance(&[1.0, 3.0], &[1.0, 2.0]), 2.5 / 4.0);
    }
}
