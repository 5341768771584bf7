//! `mcpd completions`: scripts that let a shell complete commands and options.

use super::Cli;
use super::exit::Exit;
use super::output::{Output, settle};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

const EXAMPLES: &str = "Examples:
  mcpd completions bash > ~/.local/share/bash-completion/completions/mcpd
  mcpd completions zsh > \"${fpath[1]}/_mcpd\"
  mcpd completions fish > ~/.config/fish/completions/mcpd.fish
  source <(mcpd completions bash)          for this shell alone";

/// Arguments of `mcpd completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Completions) -> Exit {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mcpd", &mut script);
    settle(Output::new().bytes(&script), Exit::Ok)
}
