//! Three to five agreements in one test, under a virtual clock.

#[cfg(feature = "mutations")]
mod calm;
mod changes;
mod eras;
mod faults;
mod garbage;
mod normal;
mod pair;
mod pump;
mod removals;
mod returns;
mod scale;
mod scripts;
mod snapshots;
mod starts;
mod votes;
