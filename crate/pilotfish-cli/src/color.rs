//! Tokens coloured by how far the guides moved the distribution they were drawn from: KL(mix || base) in nats.

use clap::ValueEnum;

use crate::output;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless the environment sets `NO_COLOR`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour what goes to stdout.
    pub(crate) fn on(self) -> bool {
        match self {
            Self::Auto => output::on_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// From this many nats on, a token gets this background of the 256-colour palette; dark ones, so that light text on a dark
/// terminal stays readable, with the foreground set for light terminals too.
const SCALE: [(f32, u8); 5] = [(0.05, 17), (0.2, 19), (0.5, 54), (1.0, 90), (2.0, 125)];

/// `text` on the background that `kl` gets.
pub(crate) fn paint(text: &str, kl: f32) -> String {
    match SCALE.iter().rev().find(|(from, _)| kl >= *from) {
        Some((_, background)) if !text.is_empty() => format!("\x1b[38;5;255;48;5;{background}m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

/// The scale, painted.
pub(crate) fn legend() -> String {
    let steps: Vec<String> = SCALE.iter().map(|(from, _)| paint(&format!(" {from} "), *from)).collect();
    format!("moved by the guides, in nats: {}", steps.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_further_gets_the_later_colour() {
        assert_eq!(paint("a", 0.0), "a");
        assert_eq!(paint("a", f32::NAN), "a");
        assert_eq!(paint("", 9.0), "");
        assert_eq!(paint("a", 0.5), "\x1b[38;5;255;48;5;54ma\x1b[0m");
        assert_eq!(paint("a", 0.99), paint("a", 0.5));
        assert_ne!(paint("a", 1.0), paint("a", 0.5));
    }
}
