//! Text of /proc and /sys, absent where the kernel does not have it.

use std::io::Read;
use std::path::Path;

/// The longest of these files that is looked at.
const LONGEST: u64 = 1 << 20;

/// A file's text without the space around it.
pub(crate) fn text(path: impl AsRef<Path>) -> Option<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// A file that holds one number.
pub(crate) fn number(path: impl AsRef<Path>) -> Option<i64> {
    text(path)?.parse().ok()
}

/// A list of cores as the kernel writes it: `0-3,5`.
pub(crate) fn cores(list: &str) -> Vec<usize> {
    /// More cores than any kernel is built for.
    const MOST: usize = 8192;
    let mut all = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            all.extend(first..=last.min(MOST));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::cores;

    #[test]
    fn lists_of_cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(cores("0-2,5\n"), [0, 1, 2, 5]);
        assert!(cores("").is_empty());
        assert_eq!(cores("1,x,3-y,7"), [1, 7]);
        assert!(cores("0-18446744073709551615").len() < 10_000);
    }
}
