//! When and on what a report was made.

use std::time::{SystemTime, UNIX_EPOCH};

use pilotfish::engine::EngineInfo;
use serde::Serialize;

use crate::host::Host;

/// The machine.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    /// As the system names it.
    pub(super) processor: String,
    /// Threads that it offers.
    pub(super) threads: usize,
    /// What ran the models; absent where a report was written without them.
    pub(super) engine: Option<EngineInfo>,
}

impl Machine {
    /// This one.
    pub(super) fn here(host: Option<&Host>) -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name);
        Self {
            processor: name.map_or_else(|| std::env::consts::ARCH.to_owned(), |name| name.trim().to_owned()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            engine: host.map(|host| host.engine.info()),
        }
    }
}

/// Today, by UTC: `2026-11-29`.
pub(super) fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil((since.as_secs() / 86_400) as i64);
    format!("{year}-{month:02}-{day:02}")
}

/// The date so many days after 1 January 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        // `date -ud @$((86400 * n)) +%F`
        for (days, date) in
            [(0, (1970, 1, 1)), (19_782, (2024, 2, 29)), (20_786, (2026, 11, 29)), (11_016, (2000, 2, 29))]
        {
            assert_eq!(civil(days), date);
        }
    }
}
