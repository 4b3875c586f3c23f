//! How times and tables are written for people.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use jiff::{Timestamp, tz::TimeZone};

/// A table without lines, as wide as it needs to be.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The table's text without blanks at the ends of its lines.
pub(crate) fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A duration in seconds with one decimal, or minutes and more in words.
pub(crate) fn duration_ms(ms: u64) -> String {
    let duration = Duration::from_millis(ms);
    if duration < Duration::from_secs(600) {
        return format!("{}.{} s", ms / 1000, ms % 1000 / 100);
    }
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// The same, or a dash where there is nothing to say.
pub(crate) fn optional_ms(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), duration_ms)
}

/// A wall-clock time of this day as `12:00:24.1`, and of another day with its date, in local time.
pub(crate) fn clock_time(unix_ms: u64) -> String {
    let zone = TimeZone::system();
    let Some(stamp) = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) else {
        return "an impossible time".to_owned();
    };
    let then = stamp.to_zoned(zone.clone());
    let time = format!("{}.{}", then.strftime("%H:%M:%S"), unix_ms % 1000 / 100);
    if then.date() == Timestamp::now().to_zoned(zone).date() {
        time
    } else {
        format!("{} {time}", then.date())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_person_would_say_them() {
        assert_eq!(duration_ms(0), "0.0 s");
        assert_eq!(duration_ms(11_549), "11.5 s");
        assert_eq!(duration_ms(3_660_000), "1h 1m");
        assert_eq!(optional_ms(None), "-");
    }

    #[test]
    fn an_old_time_carries_its_date() {
        assert!(clock_time(0).contains("1970-01-01") || clock_time(0).contains("1969-12-31"));
        assert_eq!(clock_time(u64::MAX), "an impossible time");
    }

    #[test]
    fn a_table_has_no_blanks_at_the_ends_of_its_lines() {
        let mut table = table(&["host", "state"]);
        table.add_row(["a", "alive"]);
        assert_eq!(lines(&table), "host  state\na     alive");
    }
}
