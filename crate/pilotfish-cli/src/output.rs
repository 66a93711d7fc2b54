//! stdout for answers, stderr for the rest. A closed stdout (a pipe to `head`) is an ordinary end, not a panic.

use std::io::{ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::error::{CliError, Result};

/// Writes `text` as it is, at once.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => CliError::Closed,
        _ => CliError::Stdout(error),
    })
}

/// Writes `value` as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(value).map_err(|error| CliError::Stdout(error.into()))?;
    text(&format!("{line}\n"))
}

/// Writes a line to stderr.
pub(crate) fn diagnostic(line: &str) {
    // Nobody is left to be told that stderr is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether people read stdout on a terminal.
pub(crate) fn on_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns of text, aligned: the first to the left, the others to the right, or as [`Table::left`] says.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    left: Vec<usize>,
}

impl Table {
    /// With these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()], left: vec![0] }
    }

    /// Aligns another column to the left.
    pub(crate) fn left(mut self, column: usize) -> Self {
        self.left.push(column);
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, each ended.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - cell.chars().count());
                if column > 0 {
                    line += "  ";
                }
                line +=
                    &if self.left.contains(&column) { format!("{cell}{padding}") } else { format!("{padding}{cell}") };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// `text` on one line: what would move the cursor is shown as an escape.
pub(crate) fn shown(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_numbers_to_the_right_and_names_to_the_left() {
        let mut table = Table::new(&["name", "n", "text"]).left(2);
        table.row(["a".into(), "100".into(), "x".into()]);
        table.row(["größer".into(), "7".into(), "yy".into()]);
        assert_eq!(table.render(), "name      n  text\na       100  x\ngrößer    7  yy\n");
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(shown("a\n\u{1b}[31mé"), "a\\n\\u{1b}[31mé");
    }
}
