//! Two or three real nodes, a fake fast path, fake drivers, a virtual clock.

mod documents;
mod gate;
mod pair;
mod scenarios;
mod world;
