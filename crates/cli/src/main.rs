//! `dino-diffusion`: what was typed, what is printed, and the exit status. Everything else is in `pipeline`.

mod arguments;
mod commands;
mod context;
mod outcome;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

/// Training allocates the same large tensors again and again: they are kept for reuse.
#[global_allocator]
static ALLOCATOR: memory::CachingAllocator = memory::CachingAllocator;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let terminal = terminal::Terminal::new(arguments.global.verbosity());
    let result = context::Context::new(&arguments.global, &terminal)
        .and_then(|context| commands::run(arguments.command, &context));
    outcome::report(result, &terminal)
}
