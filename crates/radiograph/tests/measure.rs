//! x
use radiograph::{Phantom, mask_corner_text};
#[test]
#[allow(clippy::print_stdout)]
fn measure() {
    let mut shares = vec![];
    let t = std::time::Instant::now();
    for seed in 0..300 { let clean = Phantom::from_seed(seed, 0).render(512).radiograph; let mut p = clean.clone();
        if mask_corner_text(&mut p) > 0 { let n = clean.pixels.iter().zip(&p.pixels).filter(|(a,b)| a!=b).count(); shares.push(n as f64 / clean.pixels.len() as f64); } }
    shares.sort_by(f64::total_cmp);
    println!("{} of 300; above .01: {}; {:?}", shares.len(), shares.iter().filter(|s| **s>=0.01).count(), shares);
    let a = t.elapsed(); let t = std::time::Instant::now();
    for seed in 0..20 { std::hint::black_box(Phantom::from_seed(seed, 0).render(512)); }
    println!("{a:?}; render {:?}", t.elapsed()/20);
}
