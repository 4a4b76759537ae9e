//! Which unflushed write a sector has its content from.
//!
//! A map from disjoint ranges of sectors to the number of a write. Ranges and not single
//! sectors, because a discard of a whole disk is one write.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint ranges of sectors, by their first.
#[derive(Debug, Default)]
pub(crate) struct Extents(BTreeMap<u64, Extent>);

#[derive(Clone, Copy, Debug)]
struct Extent {
    end: u64,
    write: u64,
}

impl Extents {
    /// From now on `write` is the newest for `span`.
    pub(crate) fn put(&mut self, span: &Range<u64>, write: u64) {
        if span.is_empty() {
            return;
        }
        // One that begins earlier keeps its head.
        if let Some((_, before)) = self.0.range_mut(..span.start).next_back()
            && before.end > span.start
        {
            let tail = *before;
            before.end = span.start;
            self.keep_tail(span.end, tail);
        }
        while let Some((&start, &covered)) = self.0.range(span.clone()).next() {
            self.0.remove(&start);
            self.keep_tail(span.end, covered);
        }
        self.0.insert(span.start, Extent { end: span.end, write });
    }

    fn keep_tail(&mut self, from: u64, held: Extent) {
        if held.end > from {
            self.0.insert(from, held);
        }
    }

    /// Takes out what `write` holds within its span.
    pub(crate) fn remove(&mut self, span: &Range<u64>, write: u64) {
        let own = |(&start, extent): (&u64, &Extent)| (extent.write == write).then_some(start);
        let starts: Vec<u64> = self.0.range(span.clone()).filter_map(own).collect();
        for start in starts {
            self.0.remove(&start);
        }
    }

    /// The parts of `span` that an unflushed write covers, in order.
    pub(crate) fn within(&self, span: Range<u64>) -> impl Iterator<Item = (Range<u64>, u64)> {
        let before = self.0.range(..span.start).next_back();
        before.into_iter().chain(self.0.range(span.clone())).filter_map(move |(&start, extent)| {
            let part = start.max(span.start)..extent.end.min(span.end);
            (!part.is_empty()).then_some((part, extent.write))
        })
    }

    /// Everything, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Range<u64>, u64)> {
        self.0.iter().map(|(&start, extent)| (start..extent.end, extent.write))
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Extents;
    use std::ops::Range;

    fn list(extents: &Extents) -> Vec<(Range<u64>, u64)> {
        extents.all().collect()
    }

    #[test]
    fn a_write_into_the_middle_leaves_both_ends() {
        let mut extents = Extents::default();
        extents.put(&(0..10), 1);
        extents.put(&(4..6), 2);
        assert_eq!(list(&extents), [(0..4, 1), (4..6, 2), (6..10, 1)]);
        assert_eq!(extents.within(3..5).collect::<Vec<_>>(), [(3..4, 1), (4..5, 2)]);
    }

    #[test]
    fn a_long_write_covers_many_and_the_tail_of_the_last_stays() {
        let mut extents = Extents::default();
        for start in 0..5 {
            extents.put(&(start * 4..start * 4 + 3), start);
        }
        extents.put(&(1..17), 9);
        assert_eq!(list(&extents), [(0..1, 0), (1..17, 9), (17..19, 4)]);
    }

    #[test]
    fn what_a_write_no_longer_holds_is_not_taken_out_with_it() {
        let mut extents = Extents::default();
        extents.put(&(0..10), 1);
        extents.put(&(4..6), 2);
        extents.remove(&(0..10), 1);
        assert_eq!(list(&extents), [(4..6, 2)]);
    }
}
