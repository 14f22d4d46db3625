//! What commands print.

use anyhow::Result;
use serde::Serialize;

/// How a command prints its result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// One JSON document instead of text for people.
    pub(super) json: bool,
}

impl Output {
    /// Prints `value` as JSON, or else what `text` makes of it.
    pub(super) fn show<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json {
            return print_json(value);
        }
        let text = text(value);
        if !text.is_empty() {
            print_text(&text);
        }
        Ok(())
    }
}

/// Prints a JSON document in the layout of the AWS command line.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = Vec::new();
    let layout = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, layout))?;
    print_text(&String::from_utf8(text)?);
    Ok(())
}

/// Prints text for people. A reader who has seen enough is no error.
pub(super) fn print_text(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Tells the user something that is not the result of the command.
pub(super) fn note(text: &str) {
    eprintln!("kmsfs: {text}");
}
