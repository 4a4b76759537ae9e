//! "Did you mean": the nearest of some known words.

/// The known word that `word` most likely was meant to be, if one is near enough.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A word of no use (an attack, a paste) is not worth the work.
    if word.len() > 64 {
        return None;
    }
    let folded = word.to_lowercase().replace('-', "_");
    let limit = 1 + word.chars().count() / 4;
    known
        .into_iter()
        .map(|candidate| {
            (distance(&folded, &candidate.to_lowercase().replace('-', "_")), candidate)
        })
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) that make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    // Three rows of the usual matrix: two back for the swap.
    let mut before: Vec<usize> = vec![0; width];
    let mut above: Vec<usize> = (0..width).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, y) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(x != y);
            row[j + 1] = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && *x == b[j - 1] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{did_you_mean, distance};

    #[test]
    fn counts_edits() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("prot", "port"), 1);
    }

    #[test]
    fn finds_the_near_and_leaves_the_far() {
        let known = ["name", "mode", "group", "port"];
        assert_eq!(did_you_mean("prot", known), Some("port"));
        assert_eq!(did_you_mean("Mode", known), Some("mode"));
        assert_eq!(did_you_mean("colour", known), None);
        assert_eq!(
            did_you_mean("heartbeat-interval", ["heartbeat_interval"]),
            Some("heartbeat_interval")
        );
        assert_eq!(did_you_mean("x", ["y"]), None);
        assert_eq!(did_you_mean(&"x".repeat(1 << 20), known), None);
    }
}
