//! Where output goes: events and results to standard output, for people the rest to standard error; with
//! `--json` all of it to standard output.

use std::io::{BufWriter, IsTerminal as _, Write};

use super::failure::{Failure, Stop};
use super::json::Object;
use super::line::{Columns, sentence};

/// The two outputs and the form of what goes there.
pub(super) struct Output {
    out: BufWriter<Box<dyn Write>>,
    notes: Box<dyn Write>,
    form: Form,
}

enum Form {
    Json,
    Lines(Columns),
}

impl Output {
    /// Of this process; in colours where a person reads who did not refuse them.
    pub(super) fn standard(json: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
        let colours = std::io::stdout().is_terminal() && !refused;
        let form = if json { Form::Json } else { Form::Lines(Columns::new(colours)) };
        Self {
            out: BufWriter::with_capacity(64 * 1024, Box::new(std::io::stdout())),
            notes: Box::new(std::io::stderr()),
            form,
        }
    }

    /// Prints one thing; what goes to standard output may wait for `flush`.
    pub(super) fn show(&mut self, object: &Object<'_>) -> Result<(), Stop> {
        let line = match (&mut self.form, object) {
            (Form::Json, object) => {
                serde_json::to_string(object).expect("invariant: objects are plain values")
            }
            (Form::Lines(columns), Object::Event(event)) => columns.event(event),
            (Form::Lines(columns), Object::Published { cursor, id, .. }) => {
                columns.published(*cursor, id)
            }
            (Form::Lines(_), object) => {
                // In their order, where both go to one terminal. Who reads only the other does not mind.
                self.flush()?;
                let _ = writeln!(self.notes, "{}", sentence(object));
                return Ok(());
            }
        };
        writeln!(self.out, "{line}").map_err(|error| stop(&error))
    }

    /// Prints what still waits.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        self.out.flush().map_err(|error| stop(&error))
    }
}

fn stop(error: &std::io::Error) -> Stop {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Stop::Closed,
        _ => Failure::local(format!("cannot write the output: {error}")).into(),
    }
}
