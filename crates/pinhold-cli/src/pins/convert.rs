//! The command `pinhold pins convert`.

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, counted};
use crate::pins::DIFFERENT;
use crate::pins::formats::{Format, Written};
use crate::pins::input::{Options, read_text};
use crate::pins::loss::Losses;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Format of the input
    #[arg(long, value_enum)]
    from: Format,
    /// Format of the output
    #[arg(long, value_enum)]
    to: Format,
    /// Print nothing and exit with 3 if anything is lost
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    options: Options,
    /// Input; `-` is standard input
    #[arg(default_value = "-")]
    file: String,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let context = arguments.options.context()?;
    let text = read_text(&arguments.file)?;
    let read = arguments.from.read(&text, &context);
    let read = read.map_err(|error| Failure::input(&arguments.file, error.message(&text)))?;
    let mut losses = read.losses;
    let written = arguments.to.write(read.rules, &context).map_err(|more| {
        losses.extend(more);
        print_losses(&losses, output);
        let detail = format!("{} can say none of the policies", arguments.to.name());
        Failure::input(&arguments.file, detail)
    })?;
    losses.extend(written.losses.clone());
    if arguments.strict && !losses.is_empty() {
        return Err(refuse(&losses, output));
    }
    print(&written, &losses, output)
}

fn print(written: &Written, losses: &Losses, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        let json = json!({ "output": written.text, "losses": losses.json() });
        return output.print(&json, &"");
    }
    print_losses(losses, output);
    output.write(written.text.as_bytes())
}

/// Prints the losses of a strict conversion, and returns how the program ends.
fn refuse(losses: &Losses, output: Output) -> Failure {
    let count = counted(losses.iter().count(), "loss", "losses");
    let message = format!("{count}; without --strict they are listed and the output is printed");
    print_losses(losses, output);
    if output.is_json() {
        let json = json!({
            "error": "losses",
            "message": message,
            "output": Value::Null,
            "losses": losses.json(),
        });
        output.print_error(&json);
    }
    output.message(&message);
    Failure::AlreadyPrinted { code: DIFFERENT }
}

/// Prints a line for each loss to standard error; with `--json` they are in the object.
fn print_losses(losses: &Losses, output: Output) {
    if !output.is_json() {
        for loss in losses.iter() {
            output.message(&loss.line());
        }
    }
}
