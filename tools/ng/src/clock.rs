//! Wall clock for display. UTC, so that lines from several machines can be put side by side.

/// "2026-11-23 10:00:00.123" of milliseconds since 1970, UTC.
pub(crate) fn date_and_time(unix_ms: u64) -> String {
    let (year, month, day) = civil(unix_ms / 86_400_000);
    format!("{year:04}-{month:02}-{day:02} {}", time_of_day(unix_ms))
}

/// "10:00:00.123".
pub(crate) fn time_of_day(unix_ms: u64) -> String {
    let ms = unix_ms % 86_400_000;
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{h:02}:{m:02}:{s:02}.{:03}", ms % 1000)
}

/// "5 s", "12 min", "3 h", "2 days".
pub(crate) fn span(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s @ 7200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's civil_from_days).
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{date_and_time, span};

    #[test]
    fn dates_over_leap_days() {
        for (unix_ms, shown) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_123, "2000-02-29 00:00:00.123"),
            (1_709_251_199_999, "2024-02-29 23:59:59.999"),
            (1_795_431_600_000, "2026-11-23 11:00:00.000"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000"),
        ] {
            assert_eq!(date_and_time(unix_ms), shown);
        }
        let _ = date_and_time(u64::MAX);
    }

    #[test]
    fn spans_in_the_unit_that_reads_best() {
        let shown = [0, 119_999, 120_000, 7_200_000, 172_800_000].map(span);
        assert_eq!(shown, ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
