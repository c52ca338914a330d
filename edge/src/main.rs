//! The `verge` command.

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(
    clippy::print_stderr,
    reason = "the one place where an error meets a person"
)]
fn main() -> ExitCode {
    let cli = verge_edge::cli::Cli::parse();
    match verge_edge::cli::run(cli) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("verge: {error:#}");
            ExitCode::from(verge_edge::cli::exit_status(&error))
        }
    }
}
