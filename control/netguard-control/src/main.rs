//! The control daemon: started by netguard-fast, runs the agreement and moves services.

mod driver_threads;
mod failure;
mod identity;
mod journal;
mod part;
mod service_driver;
mod state;
mod storage;
mod system;

fn main() {}
