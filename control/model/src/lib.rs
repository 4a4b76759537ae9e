//! The proof by exploration: every schedule within bounds, on the agreement and the heartbeat themselves.
//!
//! The simulator runs the same cores under random schedules; this crate visits *all* schedules of a small cluster with
//! a budget of faults: each frame on its way arrives in any order, or never; clocks move in whole intervals; processes
//! wake late or not at all; power fails, operators order, fast paths accuse. The explorer is stateright; its actors are
//! the cores, not copies (PROTOCOL 11, I1–I10).
//!
//! * [`intern`]: cores by number; what they did, remembered.
//! * [`packet`]: what is on its way, as its bytes.
//! * [`fast`], [`control`]: the two processes of a node around their cores.
//! * [`history`]: what must hold, judged by what came out.
//! * [`state`], [`world`], [`steps`]: one state; what follows from a step; which steps there are.
//! * [`prelude`], [`outage`], [`scenario`]: how an exploration begins, how it may end, and its bounds.
//! * [`explore`]: how stateright visits them.
//! * [`tell`]: steps and states in words.
//!
//! # What was visited
//!
//! Different states within the quick bounds (`cargo xtask model`) and the large ones (`--large`), and the seconds that one
//! thread took on a machine with other work. A plus: the large bounds were not exhausted in this time; what was visited is
//! clean. Times differ by a factor of two from run to run, states only where the bounds are not exhausted.
//!
//! | scenario | quick | s | large | s |
//! |---|---|---|---|---|
//! | primary | 269,684 | 50 | 1,132,049+ | 71 |
//! | removal | 170,751 | 4 | 1,361,866+ | 76 |
//! | restart | 54,086 | 2 | 2,867,399+ | 75 |
//! | admission | 22,913 | 4 | 2,139,587+ | 92 |
//! | pair | 19,278 | 2 | 238,406+ | 76 |
//! | cold | 1,838 | 0.3 | 3,572 | 1.5 |
//! | bystander | 109,836 | 3 | 679,720+ | 82 |
//! | half | 48,844 | 2 | 234,975 | 10 |
//! | clocks | 317,692 | 27 | 638,352+ | 85 |
//! | taken | 76,406 | 15 | 248,507+ | 73 |
//! | exchange | 3,598 | 4 | 266,984+ | 73 |
//! | overtaken | 9,759 | 0.6 | 246,694 | 23 |
//! | again | 29,671 | 0.8 | 2,485,116+ | 85 |
//! | evidence-again | 60 | 0.1 | 133,659 | 6 |
//! | evidence-fresh | 1,671 | 0.2 | 21,770 | 6 |
//!
//! # What is left out, and why nothing is lost by it
//!
//! * *Time goes in whole intervals*, for all nodes at once. Between two ticks anything may happen in any order, so that
//!   only spans shorter than an interval are not told apart; every rule counts in deadlines of several, and the lease
//!   ends between two ticks, on the safe side of the margin. Clocks that differ are `slips`, in scenarios whose rate
//!   bound allows them. Time is absolute, not relative: a tick is spent from a budget that is part of the state, so
//!   that two states at different times could never be one, and the space is finite without rounding anything.
//! * *The network never forgets*: a frame that was sent may arrive at any time, in any order, any number of times, or
//!   never, which is to be lost. The replay windows, which let a frame pass once, are not there but for R-LIFE: so more
//!   can happen here than in the product, never less. Where a scenario says that a sort of message is `lost`, it is
//!   lost always.
//! * *A step of a process is whole*: control performs all actions of one input before fast runs again. The four
//!   accesses of PROTOCOL 5.3b are single steps of the board, and fast meets the board between any two of them that
//!   belong to different inputs. The simulator interrupts in between.
//! * *The ring* from fast to control is never behind. A message that an event would wait for can be late instead.
//! * *S10*: nobody forgives itself a stall here. Then more is suspected, never less.
//! * *An accusation* may come without a silence. Suspicion is opinion; no rule of safety rests on it.
//! * *A disk* stores a charter in a step of its own only where a scenario says so (`slow_disks`); an era is stored within
//!   the step that orders it. What follows an *outage* is one schedule ([`outage`]).
//! * *Snapshots*: no exploration has a log so long.
//! * *Services* are one, whose owner follows from the log; drivers and gates are the simulator's part.
#![forbid(unsafe_code)]

pub mod control;
pub mod explore;
pub mod fast;
pub mod history;
pub mod intern;
pub mod outage;
pub mod packet;
pub mod prelude;
pub mod scenario;
pub mod state;
pub mod steps;
pub mod tell;
pub mod world;
