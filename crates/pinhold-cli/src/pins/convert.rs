//! The command `pinhold pins convert`.

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, counted};
use crate::pins::formats::Format;
use crate::pins::input::{Options, read_text};
use crate::pins::loss::Losses;
use crate::pins::source::InputError;
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
    let read = match read.map_err(InputError::into_nothing) {
        Ok(read) => read,
        Err(Ok(losses)) => {
            let message = format!("no policy of {} can be taken over", arguments.file);
            let losses = [(arguments.from, losses)];
            return Err(refuse(&Refusal::Nothing(message), &losses, output));
        }
        Err(Err(error)) => return Err(Failure::input(&arguments.file, error.message(&text))),
    };
    let mut losses = vec![(arguments.from, read.losses)];
    let written = match arguments.to.write(read.rules, &context) {
        Ok(written) => written,
        Err(more) => {
            losses.push((arguments.to, more));
            let format = arguments.to.name();
            let message = format!("{}: {format} can say none of the policies", arguments.file);
            return Err(refuse(&Refusal::Nothing(message), &losses, output));
        }
    };
    losses.push((arguments.to, written.losses));
    if arguments.strict && losses.iter().any(|(_, losses)| !losses.is_empty()) {
        return Err(refuse(&Refusal::Strict, &losses, output));
    }
    if output.is_json() {
        let json = json!({ "output": written.text, "losses": json_of(&losses) });
        return output.print(&json, &"");
    }
    print_losses(&losses, output);
    output.write(written.text.as_bytes())
}

/// The losses of the reader and of the writer.
type AllLosses = [(Format, Losses)];

/// Why there is no output.
enum Refusal {
    /// No policy is left.
    Nothing(String),
    /// Something is lost, and `--strict` was given.
    Strict,
}

/// Prints the losses of a conversion without output, and returns how the program ends.
fn refuse(refusal: &Refusal, losses: &AllLosses, output: Output) -> Failure {
    let (code, error, message) = match refusal {
        Refusal::Nothing(message) => (INVALID, "usage", message.clone()),
        Refusal::Strict => {
            let count = counted(
                losses.iter().flat_map(|(_, losses)| losses.iter()).count(),
                "loss",
                "losses",
            );
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
            "losses": json_of(losses),
        });
        output.print_error(&json);
    }
    output.message(&message);
    Failure::AlreadyPrinted { code }
}

/// Prints a line for each loss to standard error; with `--json` they are in the object.
fn print_losses(losses: &AllLosses, output: Output) {
    if !output.is_json() {
        for (format, losses) in losses {
            for loss in losses.iter() {
                output.message(&format!("{}: {}", format.name(), loss.line()));
            }
        }
    }
}

fn json_of(losses: &AllLosses) -> Value {
    let of = |(format, losses): &(Format, Losses)| {
        let format = format.name();
        let losses = losses.iter().map(move |loss| {
            let mut json = loss.json();
            if let Value::Object(members) = &mut json {
                members.insert("format".to_owned(), json!(format));
            }
            json
        });
        losses.collect::<Vec<_>>()
    };
    losses.iter().flat_map(of).collect()
}
