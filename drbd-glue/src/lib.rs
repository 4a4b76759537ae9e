//! NetGuard: DRBD by generic netlink.
