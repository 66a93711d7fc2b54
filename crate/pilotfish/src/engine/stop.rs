//! Stop strings: texts that end a generation wherever they appear, also across the borders of tokens.
//!
//! What is given out never contains a part of a stop string: a text that may be the beginning of one is held back until it is
//! clear. Looking at text and not at tokens is the only way that is right, as a text has many spellings in tokens.

use crate::{Error, Result};

/// The stop strings of a session, and the text that may be the beginning of one.
#[derive(Debug, Clone, Default)]
pub(super) struct StopStrings {
    strings: Vec<String>,
    held: String,
}

impl StopStrings {
    /// Refuses an empty string: it would end every text before it begins.
    pub(super) fn new(strings: &[String]) -> Result<Self> {
        if let Some(index) = strings.iter().position(String::is_empty) {
            return Err(Error::StopString { index });
        }
        Ok(Self { strings: strings.to_vec(), held: String::new() })
    }

    /// Takes the next piece of text and gives what is certain. The second is the stop string that ends the text, if one does:
    /// the one that begins first, and of those the longest.
    pub(super) fn push(&mut self, piece: &str) -> (String, Option<&str>) {
        self.held += piece;
        let found = self
            .strings
            .iter()
            .filter_map(|string| Some((self.held.find(string.as_str())?, string)))
            .min_by_key(|(at, string)| (*at, std::cmp::Reverse(string.len())));
        if let Some((at, string)) = found {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return (text, Some(string));
        }
        // The earliest place from which on all that is there begins a stop string.
        let begins = |at: &usize| self.strings.iter().any(|string| string.starts_with(&self.held[*at..]));
        let places = self.held.char_indices().map(|(at, _)| at);
        let certain = places.into_iter().find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(certain);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// Ends the text: what is held back after all is no stop string.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces that come out, and the stop string that ended it.
    fn cut(strings: &[&str], pieces: &[&str]) -> (Vec<String>, Option<String>) {
        let strings: Vec<String> = strings.iter().map(|&string| string.into()).collect();
        let mut stops = StopStrings::new(&strings).expect("none is empty");
        let mut out = Vec::new();
        for piece in pieces {
            let (text, found) = stops.push(piece);
            let found = found.map(str::to_owned);
            out.push(text);
            if found.is_some() {
                return (out, found);
            }
        }
        out.push(stops.finish());
        (out, None)
    }

    fn pieces(text: &[&str]) -> Vec<String> {
        text.iter().map(|&piece| piece.into()).collect()
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_never_shown() {
        let end = Some("\nUser:".to_owned());
        assert_eq!(
            cut(&["\nUser:"], &["Hi", "!\n", "Us", "er", ": x"]),
            (pieces(&["Hi", "!", "", "", ""]), end.clone())
        );
        assert_eq!(cut(&["\nUser:"], &["a\nUser:b"]), (pieces(&["a"]), end));
    }

    #[test]
    fn what_only_looked_like_one_comes_out_in_full() {
        assert_eq!(cut(&["\nUser:"], &["a\n", "Us", "ual"]), (pieces(&["a", "", "\nUsual", ""]), None));
        assert_eq!(cut(&["\nUser:"], &["a\nUse"]), (pieces(&["a", "\nUse"]), None));
        // The second beginning is inside the first.
        assert_eq!(cut(&["aab"], &["a", "a", "a", "b"]), (pieces(&["", "", "a", ""]), Some("aab".into())));
    }

    #[test]
    fn of_several_the_first_in_the_text_ends_it_and_the_longest_of_those() {
        assert_eq!(cut(&["cd", "b", "bcd"], &["abcd"]), (pieces(&["a"]), Some("bcd".into())));
        assert_eq!(cut(&["xyz", "é日"], &["é", "日x"]), (pieces(&["", ""]), Some("é日".into())));
    }

    #[test]
    fn without_stop_strings_nothing_is_held_back() {
        assert_eq!(cut(&[], &["a", "b"]), (pieces(&["a", "b", ""]), None));
        let empty = StopStrings::new(&["a".into(), String::new()]);
        assert_eq!(empty.expect_err("it is refused").code(), "session.stop_string");
    }
}
