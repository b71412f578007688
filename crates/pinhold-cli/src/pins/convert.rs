//! The command `pinhold pins convert`.

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, counted};
use crate::pins::formats::{Format, Written};
use crate::pins::input::{Options, read_text};
use crate::pins::loss::Losses;
use crate::pins::{DIFFERENT, INVALID};

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
    let written = match arguments.to.write(read.rules, &context) {
        Ok(written) => written,
        Err(more) => {
            losses.extend(more);
            let format = arguments.to.name();
            let message = format!("{}: {format} can say none of the policies", arguments.file);
            return Err(refuse(&Refusal::Nothing(message), &losses, output));
        }
    };
    losses.extend(written.losses.clone());
    if arguments.strict && !losses.is_empty() {
        return Err(refuse(&Refusal::Strict, &losses, output));
    }
    print(&written, &losses, output)
}

/// Why there is no output.
enum Refusal {
    /// No policy is left.
    Nothing(String),
    /// Something is lost, and `--strict` was given.
    Strict,
}

fn print(written: &Written, losses: &Losses, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        let json = json!({ "output": written.text, "losses": losses.json() });
        return output.print(&json, &"");
    }
    print_losses(losses, output);
    output.write(written.text.as_bytes())
}

/// Prints the losses of a conversion without output, and returns how the program ends.
fn refuse(refusal: &Refusal, losses: &Losses, output: Output) -> Failure {
    let (code, error, message) = match refusal {
        Refusal::Nothing(message) => (INVALID, "usage", message.clone()),
        Refusal::Strict => {
            let count = counted(losses.iter().count(), "loss", "losses");
            let message = format!("{count}: no output, since --strict was given");
            (DIFFERENT, "losses", message)
        }
    };
    print_losses(losses, output);
    if output.is_json() {
        let json = json!({
            "error": error,
            "message": message,
            "output": Value::Null,
            "losses": losses.json(),
        });
        output.print_error(&json);
    }
    output.message(&message);
    Failure::AlreadyPrinted { code }
}

/// Prints a line for each loss to standard error; with `--json` they are in the object.
fn print_losses(losses: &Losses, output: Output) {
    if !output.is_json() {
        for loss in losses.iter() {
            output.message(&format!("loss: {}", loss.line()));
        }
    }
}
