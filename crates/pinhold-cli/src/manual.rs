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
    page.extend(sections(&program, ".SH")?);
    for command in commands(&program) {
        let title = command.get_bin_name().unwrap_or_else(|| command.get_name());
        page.extend(format!(".SH \"{}\"\n", title.to_uppercase()).bytes());
        page.extend(sections(command, ".SS")?);
    }
    Ok(page)
}

/// Returns the commands and theirs, in the order of the help.
fn commands(program: &Command) -> Vec<&Command> {
    let own = program.get_subcommands();
    let own = own.filter(|command| command.get_name() != "help");
    own.flat_map(|command| std::iter::once(command).chain(commands(command)))
        .collect()
}

/// Returns synopsis, description, options, and what follows the help of a command, with this macro
/// for their headings.
fn sections(command: &Command, heading: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut body = Vec::new();
    man.render_synopsis_section(&mut body)?;
    man.render_description_section(&mut body)?;
    man.render_options_section(&mut body)?;
    let mut sections = Vec::new();
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b".SH ") {
            Some(title) => sections.extend([heading.as_bytes(), b" ", title].concat()),
            None => sections.extend(line),
        }
    }
    if let Some(text) = command.get_after_help() {
        sections.extend(after_help(&text.to_string(), heading).bytes());
    }
    Ok(sections)
}

/// Converts paragraphs, each of which has a title and indented lines, to sections that keep the
/// lines.
fn after_help(text: &str, heading: &str) -> String {
    let mut sections = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let escaped = line.replace('\\', "\\e").replace('-', "\\-");
        match escaped.strip_prefix("  ") {
            // `\&` keeps a line from being read as a request.
            Some(line) => sections += &format!("\\&{line}\n"),
            None => {
                let title = line.trim_end_matches(':').to_uppercase();
                sections += &format!("{heading} \"{title}\"\n.nf\n");
            }
        }
    }
    sections + ".fi\n"
}
