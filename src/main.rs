//! The `mcpd` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcpd::cli::main()
}
