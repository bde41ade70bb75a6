//! Measures of generated rows against plain NumPy (`golden/quality/generate.py` wrote the numbers) and against what must
//! hold for any input.

use metrics::{
    DEFAULT_NEIGHBOURS, Error, Moments, Neighbourhoods, Partition, Quality, Rows, Share, authentic_rows,
    bootstrap_interval_of_mean, data_copying, distance_between_groups, frechet_distance, frechet_estimate,
    kernel_distance, kernel_distance_interval, nearest_rows, quantile,
};
use random::Purpose;
use serde_json::Value;

struct Golden {
    all: Value,
    dim: usize,
}

impl Golden {
    fn open() -> Self {
        let all: Value = serde_json::from_str(include_str!("golden/quality/quality.json")).unwrap();
        let dim = all["dim"].as_u64().unwrap() as usize;
        Self { all, dim }
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        numbers(&self.all[name])
    }

    fn positions(&self, name: &str) -> Vec<usize> {
        self.numbers(name).into_iter().map(|value| value as usize).collect()
    }

    fn rows<'a>(&self, values: &'a [f64]) -> Rows<'a> {
        Rows::new(values, self.dim).unwrap()
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-10 * expected.abs().max(1.0), "{found} is not {expected}");
}

/// Independent uniform numbers in -1..1, other ones for another start.
fn noise(count: usize, start: u64) -> Vec<f64> {
    let uniforms = random::uniforms(start, 0, Purpose::Other(0), count);
    uniforms.into_iter().map(|uniform| 2.0 * uniform - 1.0).collect()
}

#[test]
fn nearest_rows_are_those_of_numpy() {
    let golden = Golden::open();
    let (held_out, training) = (golden.numbers("held_out"), golden.numbers("training"));
    let found = nearest_rows(golden.rows(&held_out), golden.rows(&training), 4, |_, _| true).unwrap();
    assert_eq!(found.len(), held_out.len() / golden.dim);
    for (query, near) in found.iter().enumerate() {
        assert_eq!(near.len(), 4);
        for (rank, near) in near.iter().enumerate() {
            assert_eq!(near.index as u64, golden.all["nearest"][query][rank].as_u64().unwrap());
            assert_close(near.distance, golden.all["nearest_distances"][query][rank].as_f64().unwrap());
        }
    }
    for case in golden.all["across"].as_array().unwrap() {
        let case = numbers(case);
        let groups = golden.positions("groups");
        assert_close(distance_between_groups(golden.rows(&training), &groups, case[0]).unwrap(), case[1]);
    }
}

#[test]
fn quality_is_that_of_numpy() {
    let golden = Golden::open();
    let (training, generated) = (golden.numbers("training"), golden.numbers("generated"));
    let held_out = golden.numbers("held_out");
    let halved: Vec<f64> = generated.iter().map(|value| value * 0.5).collect();
    for (index, case) in golden.all["quality"].as_array().unwrap().iter().enumerate() {
        let (real, generated) = if index < 3 { (&training, &generated) } else { (&held_out, &halved) };
        let k = case["k"].as_u64().unwrap() as usize;
        let found = Neighbourhoods::of(golden.rows(real), golden.rows(generated), k).unwrap().quality();
        assert_close(found.precision, case["precision"].as_f64().unwrap());
        assert_close(found.recall, case["recall"].as_f64().unwrap());
        assert_close(found.density, case["density"].as_f64().unwrap());
        assert_close(found.coverage, case["coverage"].as_f64().unwrap());
    }
}

#[test]
fn a_set_has_the_quality_of_itself() {
    // More rows than a block holds, far from the origin, where products have lost every digit of a distance.
    let (dim, k) = (3, DEFAULT_NEIGHBOURS);
    let rows = noise(150 * dim, 0);
    for offset in [0.0, 1e6] {
        let moved: Vec<f64> = rows.iter().map(|value| value * 0.0078125 + offset).collect();
        let set = Rows::new(&moved, dim).unwrap();
        let found = Neighbourhoods::of(set, set, k).unwrap();
        let Quality { precision, recall, density, coverage } = found.quality();
        // Each row lies in its own ball and, in this order, in those of the rows to which it is near.
        assert_eq!((precision, recall, coverage), (1.0, 1.0, 1.0));
        assert_close(density, (k + 1) as f64 / k as f64);
        assert!(found.generated_near_real.iter().all(|count| *count == k + 1), "{found:?}");
        assert_eq!(found.real_around_generated, found.generated_around_real);
    }
}

#[test]
fn quality_sees_what_is_missing_and_what_is_wrong() {
    let dim = 4;
    let real = noise(200 * dim, 0);
    // A third of the space, seen well: precise, but not all.
    let part: Vec<f64> = noise(900 * dim, 4000).chunks(dim).filter(|row| row[0] < -0.4).flatten().copied().collect();
    let real = Rows::new(&real, dim).unwrap();
    let of_part = Neighbourhoods::of(real, Rows::new(&part, dim).unwrap(), 5).unwrap().quality();
    assert!(of_part.precision > 0.9 && of_part.recall < 0.6 && of_part.coverage < 0.6, "{of_part:?}");
    // Far too wide: all is covered by few huge balls, nearly nothing is right.
    let wide: Vec<f64> = noise(200 * dim, 8000).iter().map(|value| value * 6.0).collect();
    let of_wide = Neighbourhoods::of(real, Rows::new(&wide, dim).unwrap(), 5).unwrap().quality();
    assert!(of_wide.precision < 0.1 && of_wide.density < 0.1 && of_wide.recall > 0.9, "{of_wide:?}");
    // One far real row has a ball that reaches everywhere: precision believes it, density hardly.
    let mut values = noise(200 * dim, 0);
    values[..dim].fill(1000.0);
    let off: Vec<f64> = noise(100 * dim, 900).iter().map(|value| value + 30.0).collect();
    let fooled = Neighbourhoods::of(Rows::new(&values, dim).unwrap(), Rows::new(&off, dim).unwrap(), 5).unwrap();
    let fooled = fooled.quality();
    assert!(fooled.precision == 1.0 && fooled.density < 0.5 && fooled.coverage < 0.1, "{fooled:?}");
}

#[test]
fn intervals_of_quality_are_those_of_its_means() {
    let golden = Golden::open();
    let (training, generated) = (golden.numbers("training"), golden.numbers("generated"));
    let found = Neighbourhoods::of(golden.rows(&training), golden.rows(&generated), 1).unwrap();
    let intervals = found.intervals(500, 0.9, 4).unwrap();
    let precise: Vec<f64> = found.real_around_generated.iter().map(|count| f64::from(u8::from(*count > 0))).collect();
    assert_eq!(intervals.precision, bootstrap_interval_of_mean(&precise, 500, 0.9, 4).unwrap());
    let Quality { precision, recall, density, coverage } = found.quality();
    for (interval, value) in [
        (intervals.precision, precision),
        (intervals.recall, recall),
        (intervals.density, density),
        (intervals.coverage, coverage),
    ] {
        assert!(interval.low < value && value < interval.high, "{interval:?} {value}");
    }
}

#[test]
fn cells_are_those_of_sklearn() {
    let golden = Golden::open();
    let (training, held_out, start) = (golden.numbers("training"), golden.numbers("held_out"), golden.numbers("start"));
    let partition = Partition::from_centres(golden.rows(&training), golden.rows(&start)).unwrap();
    for (found, expected) in partition.centres().iter().zip(golden.numbers("centres")) {
        assert_close(*found, expected);
    }
    assert_eq!(partition.cells(golden.rows(&held_out)).unwrap(), golden.positions("cells"));
}

#[test]
fn copying_is_that_of_numpy() {
    let golden = Golden::open();
    let [training, held_out, generated, fresh, centres] =
        ["training", "held_out", "generated", "fresh", "rounded_centres"].map(|name| golden.numbers(name));
    for (index, case) in golden.all["data_copying"].as_array().unwrap().iter().enumerate() {
        let (generated, centres) =
            if index < 2 { (&generated, &centres[..]) } else { (&fresh, &training[..golden.dim]) };
        let partition = Partition::around(golden.rows(centres)).unwrap();
        let fewest = case["fewest"].as_u64().unwrap() as usize;
        let sets = [&training, &held_out, generated].map(|values| golden.rows(values));
        let found = data_copying(sets[0], sets[1], sets[2], &partition, fewest).unwrap();
        assert_close(found.statistic, case["statistic"].as_f64().unwrap());
        assert_eq!(found.cells.len(), case["cells"].as_array().unwrap().len());
        for (found, expected) in found.cells.iter().zip(case["cells"].as_array().unwrap()) {
            let counts = [found.num_training, found.num_held_out, found.num_generated].map(|count| count as f64);
            assert_eq!(counts, numbers(&expected["counts"])[..]);
            assert_close(found.z.unwrap(), expected["z"].as_f64().unwrap());
        }
    }
    let expected: Vec<bool> =
        golden.all["authentic"].as_array().unwrap().iter().map(|value| value.as_bool().unwrap()).collect();
    assert_eq!(authentic_rows(golden.rows(&training), golden.rows(&generated)).unwrap(), expected);
}

#[test]
fn copies_are_told_from_new_rows() {
    const DIM: usize = 5;
    fn rows(values: &[f64]) -> Rows<'_> {
        Rows::new(values, DIM).unwrap()
    }
    let (training, held_out, fresh) = (noise(300 * DIM, 0), noise(200 * DIM, 3000), noise(200 * DIM, 7000));
    let near: Vec<f64> = training[..200 * DIM].iter().map(|value| value + 0.01).collect();
    let far: Vec<f64> = fresh.iter().map(|value| value * 1.5).collect();
    let partition = Partition::of(rows(&training), 4, 1).unwrap();
    let statistic = |generated: &[f64]| {
        data_copying(rows(&training), rows(&held_out), rows(generated), &partition, 20).unwrap().statistic
    };
    assert!(statistic(&near) < -6.0 && statistic(&training) < -6.0, "{}", statistic(&near));
    assert!(statistic(&fresh).abs() < 2.0, "{}", statistic(&fresh));
    assert!(statistic(&far) > 3.0, "{}", statistic(&far));
    assert_eq!(statistic(&held_out), 0.0);
    let authentic =
        |generated: &[f64]| Share::of(&authentic_rows(rows(&training), rows(generated)).unwrap()).unwrap().value();
    assert_eq!(authentic(&near), 0.0);
    assert_eq!(authentic(&training), 0.0);
    // Two new rows are as near as a new and an old one: about half are farther than the old ones' neighbours.
    assert!((0.4..0.8).contains(&authentic(&fresh)), "{}", authentic(&fresh));
}

#[test]
fn the_kernel_interval_is_that_of_drawn_rows() {
    // More rows than a block holds.
    let dim = 3;
    let (a, b) = (noise(300 * dim, 0), noise(270 * dim, 5000));
    let shifted: Vec<f64> = b.iter().map(|value| value + 0.2).collect();
    let (a, b) = (Rows::new(&a, dim).unwrap(), Rows::new(&shifted, dim).unwrap());
    let kernel = |x: &[f64], y: &[f64]| (x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / dim as f64 + 1.0).powi(3);
    // By the definition: all pairs of draws but those of one row.
    let mean = |left: Rows<'_>, right: Rows<'_>, first: &[usize], second: &[usize], within: bool| {
        let (mut sum, mut count) = (0.0, 0.0);
        for i in first {
            for j in second {
                if !within || i != j {
                    sum += kernel(left.row(*i), right.row(*j));
                    count += 1.0;
                }
            }
        }
        sum / count
    };
    let distance = |first: &[usize], second: &[usize]| {
        mean(a, a, first, first, true) + mean(b, b, second, second, true) - 2.0 * mean(a, b, first, second, false)
    };
    let draw = |count: usize, replicate: u64, set: u16| {
        let mut positions = vec![0; count];
        random::draw_positions(11, replicate, Purpose::Bootstrap(set), &mut positions);
        positions
    };
    let mut replicates: Vec<f64> = (0..20).map(|n| distance(&draw(300, n, 0), &draw(270, n, 1))).collect();
    replicates.sort_by(f64::total_cmp);
    let found = kernel_distance_interval(a, b, 20, 0.8, 11).unwrap();
    assert_close(found.low, quantile(&replicates, 0.1));
    assert_close(found.high, quantile(&replicates, 0.9));
    // Every row once is the distance itself, and the interval lies around it.
    let all: [Vec<usize>; 2] = [(0..300).collect(), (0..270).collect()];
    assert_close(distance(&all[0], &all[1]), kernel_distance(a, b).unwrap());
    let found = kernel_distance_interval(a, b, 400, 0.95, 1).unwrap();
    let distance = kernel_distance(a, b).unwrap();
    assert!(found.low < distance && distance < found.high, "{found:?} {distance}");
    let middle = 0.5 * (found.low + found.high);
    assert!((middle - distance).abs() < 0.2 * (found.high - found.low), "{found:?} {distance}");
}

#[test]
fn the_frechet_interval_has_the_width_of_new_samples() {
    // The standard deviation of distances between fresh sets of the same kind, against the width.
    let (dim, count) = (2, 200);
    let set =
        |start: u64, shift: f64| -> Vec<f64> { noise(count * dim, start).iter().map(|value| value + shift).collect() };
    let distance = |start: u64| {
        let (a, b) = (set(start, 0.0), set(start + 40_000, 1.0));
        let moments = |values: &[f64]| Moments::of(Rows::new(values, dim).unwrap()).unwrap();
        frechet_distance(&moments(&a), &moments(&b)).unwrap()
    };
    let fresh: Vec<f64> = (0..200).map(distance).collect();
    let mean = fresh.iter().sum::<f64>() / 200.0;
    let deviation = (fresh.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
    let (a, b) = (set(0, 0.0), set(40_000, 1.0));
    let (a, b) = (Rows::new(&a, dim).unwrap(), Rows::new(&b, dim).unwrap());
    let found = frechet_estimate(a, b, 0.95).unwrap();
    let half = 0.5 * (found.interval.high - found.interval.low);
    assert!((half / (1.96 * deviation) - 1.0).abs() < 0.25, "{half} {deviation}");
    assert_close(found.distance, distance(0));
    assert_close(0.5 * (found.interval.high + found.interval.low), distance(0));
    // Never below 0.
    assert_eq!(frechet_estimate(a, a, 0.95).unwrap().interval.low, 0.0);
    assert!(matches!(frechet_estimate(a, b, 1.0), Err(Error::OutOfRange { .. })));
}

#[test]
fn sets_without_a_measure_are_refused() {
    let values = noise(12, 0);
    let (rows, empty) = (Rows::new(&values, 2).unwrap(), Rows::new(&[], 2).unwrap());
    let other = Rows::new(&values, 3).unwrap();
    assert!(matches!(Neighbourhoods::of(rows, rows, 6), Err(Error::TooFew { found: 6, needed: 7, .. })));
    assert!(Neighbourhoods::of(rows, rows, 5).is_ok());
    assert!(matches!(Neighbourhoods::of(rows, rows, 0), Err(Error::TooFew { .. })));
    assert!(matches!(Neighbourhoods::of(rows, empty, 1), Err(Error::TooFew { found: 0, .. })));
    assert!(matches!(Neighbourhoods::of(rows, other, 1), Err(Error::SizeMismatch { .. })));
    let partition = Partition::of(rows, 2, 0).unwrap();
    assert!(matches!(data_copying(rows, rows, empty, &partition, 1), Err(Error::TooFew { .. })));
    assert!(matches!(data_copying(rows, rows, other, &partition, 1), Err(Error::SizeMismatch { .. })));
    assert!(matches!(data_copying(rows, rows, rows, &partition, 20), Err(Error::TooFew { needed: 20, .. })));
    assert!(matches!(authentic_rows(Rows::new(&values[..2], 2).unwrap(), rows), Err(Error::TooFew { .. })));
    assert!(matches!(authentic_rows(rows, empty), Err(Error::TooFew { .. })));
    assert!(matches!(authentic_rows(rows, other), Err(Error::SizeMismatch { .. })));
    assert!(matches!(kernel_distance_interval(rows, empty, 10, 0.9, 1), Err(Error::TooFew { .. })));
    assert!(matches!(kernel_distance_interval(rows, other, 10, 0.9, 1), Err(Error::SizeMismatch { .. })));
    assert!(matches!(kernel_distance_interval(rows, rows, 10, 0.0, 1), Err(Error::OutOfRange { .. })));
    assert!(matches!(nearest_rows(rows, other, 1, |_, _| true), Err(Error::SizeMismatch { .. })));
    assert!(matches!(nearest_rows(rows, empty, 1, |_, _| true), Err(Error::TooFew { .. })));
    // All rows alike: every ball is a point that holds all.
    let alike = Rows::new(&[3.0; 40], 2).unwrap();
    let quality = Neighbourhoods::of(alike, alike, 5).unwrap().quality();
    assert_eq!((quality.precision, quality.recall, quality.density, quality.coverage), (1.0, 1.0, 4.0, 1.0));
    assert!(authentic_rows(alike, alike).unwrap().iter().all(|authentic| !authentic));
}
