//! Every decoder of the product that a peer, a client, an operator or a disk can feed: it never panics, and what it takes is
//! what its writer would write. (Which of them have their check beside the code instead: `tests/coverage.rs`.)

pub mod agreed;
mod frames;
mod local;

use crate::target::Target;

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Target> {
    [frames::TARGETS, local::TARGETS, agreed::TARGETS].into_iter().flatten()
}

/// The second must be the first.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, first: &T, second: &T) -> Result<(), String> {
    if first == second {
        return Ok(());
    }
    Err(format!("{what} came back changed: {first:?} became {second:?}"))
}
