//! Sound devices behind a lock-free ring.
