//! NetGuard lab: a disk with a volatile write cache, served as a FUSE file.
