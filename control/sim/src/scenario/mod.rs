//! Written schedules: small text files, one step a line, that say what happens and what must be
//! seen.
//!
//! ```text
//! nodes 3                     configuration first: nodes, links, witness, interval, misses, loss,
//!                             timing INTERVAL MISSES (others that nodes may get), slow drivers TIME,
//!                             latency, again (time until daemons are started again), snapshots EVERY
//!                             kept ENTRIES slice BYTES, seed, configured NODE…, voters NODE… (of the
//!                             file; else all), store TIME (the disk, for a charter); catches
//!                             RULE…: it fails when that rule is off, or all that `+` joins
//! service vip lease 1 2 3     name, policy, nodes in order of preference; `fail-back` may follow
//! start 1 2 3                 or restart
//! settle                      everybody that is up is a member, every service runs
//! let old = owner vip         names for nodes: owner SERVICE, primary, other NODE…
//! cut old                     power off; also: kill NODE [fast|control|both], leave NODE
//! pause fast 2 50ms           or control, or both
//! partition 1 | 2 3           also: oneway [fast|control] 1 -> 2 3, link 0 down [NODE], heal
//! settings 2 100ms 3          that node alone, before its start or while it runs
//! retime 100ms 3 at 1         all, by an entry that the operator has made at 1
//! reform add 4 at 1           the operator, asking 1; also: add 4 without vote, drop 4, witness 4 (or
//!                             none any more), voters 1 2 3
//! override 3 4 5 at 1         the operator says that these are off for good
//! move vip 2                  also: clear vip at 1, confirm 2 off at 1
//! hold control 1 -> 2 400ms   frames are not lost, but come so much later, until `heal`
//! run 100ms
//! mark                        removals are counted from here, and `kept` is about what is committed
//!                             now; `settle` does the same
//! expect owner vip 2 within 40ms
//! ```
//!
//! What can be expected: `owner S N`, `no owner S`, `member N`, `removed N`, `no removal`,
//! `removals COUNT`, `primary N`, `no lease`, `no quorum`, `learned N` (has the log and no vote),
//! `kept` (there is a primary, and it has committed all that had been at the mark),
//! `votes N…` (exactly these vote), `open N` (has a change, and does not know that it is agreed), `down N`,
//! `installed N` (its life took a snapshot), `answer S N` and `silence S` (what the observer outside hears).
//!
//! * [`parse`]: lines into steps, with errors that name the line.
//! * [`mod@play`]: steps into a world.

pub mod parse;
pub mod play;

pub use parse::{Mistake, Scenario, Step};
pub use play::play;
