//! The one place that writes to standard output and standard error, so that a reader that has gone away is no panic and
//! nothing that a step said can steer the reader's terminal.

use std::io::{ErrorKind, Write};

use crate::failure::{Exit, Failure};

/// Whether anybody reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// As far as can be told.
    Listening,
    /// The other end of the pipe is closed.
    Gone,
}

/// Prints text for people on standard output.
pub(crate) fn print(text: &str) -> Result<Reader, Failure> {
    write_out(printable(text).as_bytes())
}

/// Prints a document, or a line of one, on standard output.
pub(super) fn write_out(bytes: &[u8]) -> Result<Reader, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Listening),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(
            Failure::new(Exit::Unreachable, "standard output can't be written to").because(error),
        ),
    }
}

/// Says a line on standard error. Nothing depends on whether it is heard.
pub(crate) fn say(text: &str) {
    let mut line = printable(text);
    line.push('\n');
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// Text that can't move the cursor, colour the terminal or turn the direction of reading.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(steers, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_replaced_and_the_rest_stays() {
        assert_eq!(
            printable("ação\t1\n\u{1b}[31mred\u{7}\r\u{9b}2J\u{202e}"),
            "ação\t1\n\u{fffd}[31mred\u{fffd}\u{fffd}\u{fffd}2J\u{fffd}"
        );
    }
}
