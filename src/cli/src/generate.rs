//! Completions and man pages, made from the commands' own definitions.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::outcome::{CliError, Exit, Outcome};

/// Prints the completions for a shell.
pub(crate) fn completions(shell: Shell) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "leasefence", &mut text);
    leasefence_say::text(&String::from_utf8_lossy(&text));
    Ok(Exit::Done)
}

/// Writes `leasefence.1` and a page for each command.
pub(crate) fn man_pages(directory: &Path) -> Outcome {
    clap_mangen::generate_to(Cli::command(), directory).map_err(|error| {
        CliError::Other(format!("writing man pages into {}: {error}", directory.display()))
    })?;
    Ok(Exit::Done)
}
