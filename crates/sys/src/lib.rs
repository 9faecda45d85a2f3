//! The edge to the system.
