//! The program: hands its arguments to [`c1m::cli`] and turns the outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(c1m::cli::main(std::env::args_os()).code())
}
