//! NetGuard: the eBPF gate of floating addresses (rule S2b).
