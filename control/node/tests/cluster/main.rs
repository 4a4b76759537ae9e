//! Three real nodes, a fake fast path, fake drivers, a virtual clock.

mod scenarios;
mod world;
