//! Raw values as HdrHistogram logs, for questions that nobody has asked yet.

use base::Duration;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::SystemTime;

/// Values are kept in nanoseconds, with three digits, up to a minute.
const NANOS_MAX: u64 = 60_000_000_000;

/// Writes `NAME-ID.hlog` into `dir`, which is made if it is not there: each value as often as it is counted.
///
/// # Errors
/// When the disk does not take it.
pub fn write_log(
    dir: &Path,
    name: &str,
    id: &str,
    counts: impl IntoIterator<Item = (Duration, u64)>,
) -> io::Result<()> {
    let path = dir.join(format!("{name}-{id}.hlog"));
    let failed = |what: String| io::Error::other(format!("{}: {what}", path.display()));
    let mut values =
        Histogram::<u64>::new_with_bounds(1, NANOS_MAX, 3).map_err(|e| failed(e.to_string()))?;
    for (value, count) in counts {
        values.saturating_record_n(value.nanos().max(1), count);
    }
    fs::create_dir_all(dir)?;
    let mut file = BufWriter::new(File::create(&path).map_err(|e| failed(e.to_string()))?);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("nanoseconds")
        .with_start_time(SystemTime::now())
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(&mut file, &mut serializer)?;
    let zero = std::time::Duration::ZERO;
    log.write_histogram(&values, zero, zero, Tag::new("values"))
        .map_err(|e| failed(format!("{e:?}")))
}

#[cfg(test)]
mod tests {
    use super::write_log;
    use base::Duration;

    #[test]
    fn a_log_is_written_where_it_is_wanted() {
        let dir = std::env::temp_dir().join(format!("ng-histogram-{}", std::process::id()));
        let counts = [(Duration::ZERO, 2), (Duration::from_millis(90_000), 1)];
        write_log(&dir, "bench", "row", counts).unwrap();
        let text = std::fs::read_to_string(dir.join("bench-row.hlog")).unwrap();
        assert!(text.contains("#nanoseconds") && text.contains("Tag=values"), "{text}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
