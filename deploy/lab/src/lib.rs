//! NetGuard lab: real kernels, disks and power on one machine.
