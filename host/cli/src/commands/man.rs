//! `kvlock man`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::roff::{Roff, roman};

use crate::options::tips;
use crate::report::exit::Status;

/// Write the manual pages: kvlock.1, and one for each subcommand
#[derive(clap::Args)]
pub(crate) struct Man {
    /// The folder to write them to; it is made if it is not there
    pub(crate) folder: PathBuf,
}

impl Man {
    pub(crate) fn run(self, command_line: Command) -> Result<Status> {
        let folder = self.folder.display();
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make the folder {folder}"))?;
        let mut command_line = tips::for_reading(command_line);
        command_line.build();
        write(&command_line, &self.folder).with_context(|| format!("cannot write manual pages to {folder}"))?;
        Ok(Status::SUCCESS)
    }
}

/// Writes the pages of a command and of its subcommands.
fn write(command: &Command, folder: &Path) -> io::Result<()> {
    let source = concat!("kvlock ", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.clone()).source(source).manual("Manual of kvlock");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    synopsis(command).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    after(command).to_writer(&mut page)?;
    fs::write(folder.join(man.get_filename()), page)?;
    command.get_subcommands().try_for_each(|subcommand| write(subcommand, folder))
}

/// Returns the usage as `--help` shows it: mangen's own has every option, and none with its value.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).control("nf", []);
    usage.trim_start_matches("Usage:").lines().for_each(|line| {
        roff.text([roman(line.trim())]);
    });
    roff.control("fi", []);
    roff
}

/// Returns what stands after the help: a line without indentation is the title of a section.
fn after(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for line in text.lines() {
        match line.strip_suffix(':') {
            Some(title) if !line.starts_with(' ') => {
                roff.control("fi", []).control("SH", [title.to_uppercase().as_str()]).control("nf", []);
            }
            _ => {
                roff.text([roman(line)]);
            }
        }
    }
    roff.control("fi", []);
    roff
}
