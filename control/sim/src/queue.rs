//! What happens when, in real time; what falls on the same moment happens in the order in which it
//! was planned.

use crate::clock::Real;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things to come.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Slot<T>>>,
    planned: u64,
}

#[derive(Debug)]
struct Slot<T> {
    at: Real,
    number: u64,
    what: T,
}

impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl<T> Eq for Slot<T> {}
impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Slot<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Queue<T> {
    /// Nothing to come.
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }
    /// Plans `what` for `at`.
    pub fn push(&mut self, at: Real, what: T) {
        self.planned += 1;
        self.heap.push(Reverse(Slot { at, number: self.planned, what }));
    }
    /// The next thing, if it happens at or before `limit`.
    pub fn pop_until(&mut self, limit: Real) -> Option<(Real, T)> {
        if self.heap.peek()?.0.at > limit {
            return None;
        }
        self.heap.pop().map(|Reverse(slot)| (slot.at, slot.what))
    }
    /// How many things were ever planned: tells two runs apart that are not the same.
    #[must_use]
    pub const fn planned(&self) -> u64 {
        self.planned
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use crate::clock::Real;

    #[test]
    fn time_decides_and_then_the_order_of_planning() {
        let mut queue = Queue::new();
        queue.push(Real(5), 'b');
        queue.push(Real(3), 'a');
        queue.push(Real(5), 'c');
        queue.push(Real(9), 'd');
        let mut seen = Vec::new();
        while let Some((_, what)) = queue.pop_until(Real(8)) {
            seen.push(what);
        }
        assert_eq!(seen, ['a', 'b', 'c']);
    }
}
