//! The commands `pinhold completions` and `pinhold man`.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Completions {
    /// Shell to complete commands in
    shell: Shell,
}

pub(crate) fn completions(
    arguments: &Completions,
    mut program: Command,
    output: Output,
) -> Result<(), Failure> {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, name, &mut script);
    output.write(&script)
}

/// Prints one page for the program and all commands.
pub(crate) fn man(program: Command, output: Output) -> Result<(), Failure> {
    let page = page(program).map_err(|error| Failure::Internal {
        subject: "man page",
        error,
    })?;
    output.write(&page)
}

fn page(mut program: Command) -> io::Result<Vec<u8>> {
    program.build();
    let mut page = Vec::new();
    let man = Man::new(program.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    for command in commands(&program) {
        page.extend(command_section(command)?);
    }
    man.render_extra_section(&mut page)?;
    Ok(page)
}

/// Returns the commands and theirs, in the order of the help.
fn commands(program: &Command) -> Vec<&Command> {
    let own = program.get_subcommands();
    let own = own.filter(|command| command.get_name() != "help");
    own.flat_map(|command| std::iter::once(command).chain(commands(command)))
        .collect()
}

/// Returns a section with the description and options of a command.
fn command_section(command: &Command) -> io::Result<Vec<u8>> {
    let title = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut section = format!(".SH \"{}\"\n", title.to_uppercase()).into_bytes();
    let man = Man::new(command.clone());
    let mut body = Vec::new();
    man.render_synopsis_section(&mut body)?;
    man.render_description_section(&mut body)?;
    man.render_options_section(&mut body)?;
    // Sections of a command's own page become subsections here.
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b".SH ") {
            Some(heading) => section.extend([b".SS ", heading].concat()),
            None => section.extend(line),
        }
    }
    Ok(section)
}
