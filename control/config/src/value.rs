//! Words of the file that stand for something: durations, addresses with a prefix, names.

use crate::NAME_MAX;
use std::net::IpAddr;
use std::time::Duration;

/// Units a duration may have, longest first, with their nanoseconds.
const UNITS: [(&str, u64); 5] =
    [("min", 60_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1), ("s", 1_000_000_000)];

/// Reads "10ms". The error says what is wrong.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    if number.is_empty() {
        return Err("it has no number".into());
    }
    if unit.is_empty() {
        return Err("it has no unit".into());
    }
    if unit.starts_with('.') || unit.starts_with(',') {
        return Err("it has a fraction; use a smaller unit".into());
    }
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("there is no unit \"{}\"", unit.chars().take(16).collect::<String>()));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*nanos))
        .map(Duration::from_nanos)
        .ok_or_else(|| "it is too long".into())
}

/// Writes a duration as the file would have it: "10ms".
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    UNITS
        .iter()
        .map(|(name, unit)| (name, u128::from(*unit)))
        .filter(|(_, unit)| nanos > 0 && nanos.is_multiple_of(*unit))
        .max_by_key(|(_, unit)| *unit)
        .map_or_else(|| "0ms".into(), |(name, unit)| format!("{}{name}", nanos / unit))
}

/// Reads "10.77.1.100/24". The error says what is wrong.
pub(crate) fn parse_network_address(text: &str) -> Result<(IpAddr, u8), String> {
    let Some((address, prefix)) = text.split_once('/') else {
        return Err("it has no prefix length".into());
    };
    let address: IpAddr = address.parse().map_err(|_| "it is no IPv4 or IPv6 address")?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match prefix.parse::<u8>() {
        Ok(prefix) if (1..=longest).contains(&prefix) => Ok((address, prefix)),
        _ => Err(format!("its prefix length is not between 1 and {longest}")),
    }
}

/// Checks that a name can stand in commands, file names and log lines.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Err("it is empty".into())
    } else if name.len() > NAME_MAX {
        Err(format!("it is longer than {NAME_MAX} characters"))
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Err("it does not begin with a letter or digit".into())
    } else if !name.chars().all(good) {
        Err("it has characters other than letters, digits, '.', '_' and '-'".into())
    } else {
        Ok(())
    }
}

/// Why an address cannot be a node's own or a floating one, if so.
pub(crate) fn unusable(address: &IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("it stands for any address")
    } else if address.is_multicast() {
        Some("it is a multicast group")
    } else if matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) {
        Some("it is the broadcast address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{check_name, format_duration, parse_duration, parse_network_address};
    use std::time::Duration;

    #[test]
    fn durations_go_both_ways() {
        for text in ["10ms", "1s", "2min", "250us", "1500ms", "1ns"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration(" 10 ms "), Ok(Duration::from_millis(10)));
        assert_eq!(format_duration(Duration::ZERO), "0ms");
        assert_eq!(format_duration(Duration::from_millis(60_000)), "1min");
    }

    #[test]
    fn a_bad_duration_says_why() {
        for (text, why) in [
            ("", "no number"),
            ("ms", "no number"),
            ("10", "no unit"),
            ("10 sec", "no unit \"sec\""),
            ("0.5s", "fraction"),
            ("-1s", "no number"),
            ("99999999999999999999s", "too long"),
            ("18446744073709551615s", "too long"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn network_addresses() {
        assert!(parse_network_address("10.0.0.1/24").is_ok());
        assert!(parse_network_address("fd00::1/64").is_ok());
        assert!(parse_network_address("10.0.0.1").unwrap_err().contains("no prefix"));
        assert!(parse_network_address("10.0.0.1/33").unwrap_err().contains("1 and 32"));
        assert!(parse_network_address("10.0.0/8").unwrap_err().contains("no IPv4"));
    }

    #[test]
    fn names() {
        assert!(check_name("n1.example-2_x").is_ok());
        for bad in ["", "-x", "a b", "a/b", "\u{e9}", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
