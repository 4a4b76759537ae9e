//! A failing input made small: pieces are left out, then bytes are lowered, as long as it still fails
//! (the halving of Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002).

/// Most tries: an input of a few hundred bytes needs far fewer.
const TRIES_MAX: u32 = 20_000;

/// A smaller input for which `fails` still holds.
pub fn minimise(input: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut tries = 0;
    let mut try_it = |best: &mut Vec<u8>, candidate: Vec<u8>| {
        tries += 1;
        let better = tries <= TRIES_MAX && fails(&candidate);
        if better {
            *best = candidate;
        }
        better
    };
    loop {
        let before = best.clone();
        let mut piece = best.len().next_power_of_two() / 2;
        while piece > 0 {
            let mut at = 0;
            while at < best.len() {
                let end = (at + piece).min(best.len());
                let without = [&best[..at], &best[end..]].concat();
                if !try_it(&mut best, without) {
                    at = end;
                }
            }
            piece /= 2;
        }
        for at in 0..best.len() {
            for lower in [0, best[at] / 2, best[at].saturating_sub(1)] {
                if lower < best[at] {
                    let mut candidate = best.clone();
                    candidate[at] = lower;
                    try_it(&mut best, candidate);
                }
            }
        }
        if best == before {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::minimise;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let input: Vec<u8> = (0..200).collect();
        let fails = |bytes: &[u8]| {
            let high = bytes.iter().position(|b| *b >= 90);
            high.is_some_and(|at| bytes[at..].iter().any(|b| *b < 255 && *b >= 150))
        };
        assert_eq!(minimise(&input, fails), [150]);
    }
}
