//! What the machine was while something was measured: whoever reads the figures later asks for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Counters of the kernel at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hundredths of a second that the host gave to other guests.
    stolen: Option<u64>,
    /// Interrupts on one core, by what they are for.
    interrupts: BTreeMap<String, u64>,
}

impl Counters {
    /// Reads them; of interrupts those of `core`.
    #[must_use]
    pub fn read(core: usize) -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            stolen: stolen(&text("/proc/stat")),
            interrupts: interrupts(&text("/proc/interrupts"), core),
        }
    }
}

/// The eighth number of the first line (proc(5)).
fn stolen(stat: &str) -> Option<u64> {
    stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().nth(7)?.parse().ok()
}

/// Of `/proc/interrupts`: a column per core, then words.
fn interrupts(text: &str, core: usize) -> BTreeMap<String, u64> {
    let mut lines = text.lines();
    let Some(heading) = lines.next() else { return BTreeMap::new() };
    let name = format!("CPU{core}");
    let cores: Vec<&str> = heading.split_whitespace().collect();
    let Some(column) = cores.iter().position(|it| *it == name) else { return BTreeMap::new() };
    lines
        .filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let words: Vec<&str> = rest.split_whitespace().collect();
            let count = words.get(column)?.parse().ok()?;
            let of = words.get(cores.len()..).unwrap_or_default().join(" ");
            Some((format!("{} {of}", number.trim()).trim().to_owned(), count))
        })
        .collect()
}

/// Name and value of what describes the machine, and what happened on `core` between two readings.
#[must_use]
pub fn describe(core: usize, before: &Counters, after: &Counters) -> Vec<(String, String)> {
    let file = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        if text.is_empty() { "none".to_owned() } else { text }
    };
    let cpu = |name: &str| file(&format!("/sys/devices/system/cpu/{name}"));
    let stolen = after.stolen.zip(before.stolen).map_or_else(
        || "not told".to_owned(),
        |(after, before)| format!("{} ms on all cores", after.saturating_sub(before) * 10),
    );
    let virtualized = Path::new("/sys/hypervisor").exists()
        || file("/proc/cpuinfo").lines().any(|line| {
            line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor")
        });
    let mut all = vec![
        ("kernel".into(), file("/proc/sys/kernel/osrelease")),
        ("kernel command line".into(), file("/proc/cmdline")),
        ("cores".into(), cpu("online")),
        ("isolated cores".into(), cpu("isolated")),
        ("cores without ticks (nohz_full)".into(), cpu("nohz_full")),
        (
            "clock source".into(),
            file("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ),
        ("virtual machine".into(), if virtualized { "yes" } else { "no" }.into()),
        ("load".into(), file("/proc/loadavg")),
        ("the beats' core".into(), core.to_string()),
        (
            "frequency governor of that core".into(),
            cpu(&format!("cpu{core}/cpufreq/scaling_governor")),
        ),
        ("time stolen by the host meanwhile".into(), stolen),
    ];
    let more = after.interrupts.iter().filter_map(|(name, count)| {
        let since = count.saturating_sub(before.interrupts.get(name).copied().unwrap_or(0));
        (since > 0)
            .then(|| (format!("interrupts on that core meanwhile: {name}"), since.to_string()))
    });
    all.extend(more);
    all
}

#[cfg(test)]
mod tests {
    use super::{Counters, describe, interrupts, stolen};

    const INTERRUPTS: &str = "           CPU0       CPU1\n  1:          5          7   IO-APIC  1-edge  i8042\n\
                              LOC:    100    200   Local timer interrupts\nERR:          0\n";

    #[test]
    fn stolen_time_and_interrupts_are_read_by_their_places() {
        assert_eq!(stolen("cpu  1 2 3 4 5 6 7 88 0 0\ncpu0 1"), Some(88));
        assert_eq!(stolen(""), None);
        let of = interrupts(INTERRUPTS, 1);
        assert_eq!(of["1 IO-APIC 1-edge i8042"], 7);
        assert_eq!(of["LOC Local timer interrupts"], 200);
        assert!(interrupts(INTERRUPTS, 2).is_empty());
    }

    #[test]
    fn only_interrupts_that_came_meanwhile_are_told() {
        let before = Counters { stolen: Some(3), interrupts: interrupts(INTERRUPTS, 1) };
        let mut after = before.clone();
        after.stolen = Some(5);
        after.interrupts.insert("LOC Local timer interrupts".into(), 260);
        let all = describe(1, &before, &after);
        let of =
            |name: &str| all.iter().find(|(it, _)| it.contains(name)).map(|(_, it)| it.as_str());
        assert_eq!(of("LOC"), Some("60"));
        assert_eq!(of("i8042"), None);
        assert_eq!(of("stolen"), Some("20 ms on all cores"));
    }
}
