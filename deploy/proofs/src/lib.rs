//! NetGuard lab: the proofs that run in it, and the lab tests.
