//! Shared by every binary.
