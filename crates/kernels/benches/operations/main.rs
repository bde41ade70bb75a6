//! Times of single operations.
//!
//! `cargo bench -p dino-diffusion-kernels [-- WORD]` prints this crate's code against the reference on the same backend,
//! forward and forward with backward, for the operations whose name holds the word. `bench/compare.py` runs
//!
//! ```text
//! cargo bench -p dino-diffusion-kernels -- --serve "conv 3 1 4 320 320 32" both
//! ```
//!
//! which answers each line on standard input with milliseconds, so that PyTorch can be timed in turns with it;
//! `--peak` prints how many billion operations a second the processor can do.
#![allow(clippy::print_stdout)] // a benchmark prints its table

mod cases;
mod peak;

use cases::Case;
use std::io::BufRead;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: memory::CachingAllocator = memory::CachingAllocator;

/// What `cargo bench` shows: the sizes of `small-128`, and some of Stable Diffusion.
const CASES: [&str; 25] = [
    "conv 3 1 32 128 128 16",
    "conv 3 1 32 256 256 8",
    "conv 3 1 32 256 256 4",
    "conv 3 2 32 128 128 16",
    "conv 3 1 32 4 128 16",
    "conv 3 1 32 128 4 16",
    "conv 3 1 1 128 128 16",
    "conv 3 1 4 320 320 32",
    "conv 1 1 4 320 320 32",
    "linear 8192 128 128",
    "linear 2048 256 512",
    "linear 32 128 512",
    "attention 32 256 256 128 4",
    "attention 32 64 64 256 8",
    "attention 32 256 10 128 4",
    "attention 4 1024 1024 320 8",
    "group_norm_silu 32 16 128",
    "group_norm_silu 32 8 256",
    "group_norm_silu 1 256 128",
    "layer_norm 8192 128",
    "silu 1048576",
    "gelu 1048576",
    "geglu 8192 128",
    "upsample 32 8 256",
    "upsample_conv 1 256 256 128",
];

/// Milliseconds of one run: repeated until the clock can be trusted.
fn timed(run: &mut dyn FnMut()) -> f64 {
    let begin = Instant::now();
    let mut count = 0;
    while count == 0 || begin.elapsed().as_secs_f64() < 0.05 {
        run();
        count += 1;
    }
    begin.elapsed().as_secs_f64() * 1e3 / count as f64
}

/// Median of five, after a run that touches everything once.
fn median(mut run: Box<dyn FnMut()>) -> f64 {
    run();
    let mut times: Vec<f64> = (0..5).map(|_| timed(&mut run)).collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

fn main() {
    // As the program does it.
    if let Err(error) = kernels::start_threads(None) {
        println!("threads cannot be started: {error}");
        return;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--peak"] => println!("{:.1}", peak::billion_operations_per_second()),
        ["--serve", case, direction] => match Case::parse(case) {
            Some(case) => serve(case.run(true, direction == "both")),
            None => println!("there is no operation `{case}`"),
        },
        _ => table(words.first().map_or("", String::as_str)),
    }
}

/// After a pause, a (virtual) machine takes a while until all its cores are at work; this long nothing counts. The other
/// side does the same.
const RUN_UP: Duration = Duration::from_millis(100);

fn serve(mut run: Box<dyn FnMut()>) {
    run();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        let begin = Instant::now();
        while begin.elapsed() < RUN_UP {
            run();
        }
        println!("{}", timed(&mut run));
    }
}

fn table(filter: &str) {
    println!("{:<40} {:>10} {:>10} {:>7}   ({:?})", "operation", "reference", "ours ms", "ratio", kernels::cpu_level());
    for text in CASES.into_iter().chain(["adamw 15335424"]).filter(|text| text.contains(filter)) {
        let Some(case) = Case::parse(text) else { continue };
        for (both, what) in [(false, "forward"), (true, "forward + backward")] {
            if both && matches!(case, Case::Adamw { .. }) {
                continue;
            }
            let (slow, fast) = (median(case.run(false, both)), median(case.run(true, both)));
            println!("{:<40} {slow:>10.3} {fast:>10.3} {:>7.2}", format!("{text} {what}"), slow / fast);
        }
    }
}
