//! The day a template may ask for. The engine has no clock: who wants today's date gives it.

use std::fmt::Write;

/// A day, in the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Date {
    /// From 1.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Default for Date {
    /// 26 July 2024: what Llama 3's templates say where there is no clock.
    fn default() -> Self {
        Self { year: 2024, month: 7, day: 26 }
    }
}

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Date {
    /// As C's `strftime` in English, at midnight. What it does not know stays as it is.
    pub(super) fn format(self, format: &str) -> String {
        let month = MONTHS[usize::from(self.month.clamp(1, 12)) - 1];
        let weekday = DAYS[self.weekday()];
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next();
            let padded = directive != Some('-');
            if !padded {
                directive = chars.next();
            }
            let two = usize::from(padded) * 2;
            // Writing to a string does not fail.
            let _ = match directive {
                Some('Y') => write!(out, "{}", self.year),
                Some('y') => write!(out, "{:02}", self.year % 100),
                Some('m') => write!(out, "{:0two$}", self.month),
                Some('d') => write!(out, "{:0two$}", self.day),
                Some('e') => write!(out, "{:two$}", self.day),
                Some('B') => write!(out, "{month}"),
                Some('b' | 'h') => write!(out, "{}", &month[..3]),
                Some('A') => write!(out, "{weekday}"),
                Some('a') => write!(out, "{}", &weekday[..3]),
                Some('H' | 'M' | 'S') => write!(out, "{:0two$}", 0),
                Some('F') => write!(out, "{}-{:02}-{:02}", self.year, self.month, self.day),
                Some('%') | None => write!(out, "%"),
                Some(other) => write!(out, "%{other}"),
            };
        }
        out
    }

    /// Days after Monday (Zeller's congruence).
    fn weekday(self) -> usize {
        let (mut year, mut month) = (usize::from(self.year), usize::from(self.month));
        if month < 3 {
            month += 12;
            year = year.saturating_sub(1);
        }
        let from_saturday =
            usize::from(self.day) + 13 * (month + 1) / 5 + year + year / 4 + 6 * (year / 100) + year / 400;
        (from_saturday + 5) % 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_templates_ask() {
        let date = Date { year: 2026, month: 2, day: 3 };
        assert_eq!(date.format("%d %b %Y"), "03 Feb 2026");
        assert_eq!(
            date.format("%A, %B %-d, %y %F 100%% %H:%M %q %"),
            "Tuesday, February 3, 26 2026-02-03 100% 00:00 %q %"
        );
        assert_eq!(Date::default().format("%d %b %Y %a"), "26 Jul 2024 Fri");
        assert_eq!(Date { year: 2000, month: 1, day: 1 }.format("%A"), "Saturday");
    }

    #[test]
    fn a_day_that_is_none_does_no_harm() {
        assert_eq!(Date { year: 0, month: 0, day: 0 }.format("%d %B"), "00 January");
        assert_eq!(Date { year: u16::MAX, month: 255, day: 255 }.format("%m %b"), "255 Dec");
    }
}
