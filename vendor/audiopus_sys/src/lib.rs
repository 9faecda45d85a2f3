//! `audiopus` asks for `audiopus_sys`, which would link Debian's libopus 1.3.1 or build a snapshot of that age.
//! This crate takes its place (see `[patch.crates-io]` in the workspace) and hands on opusic-sys, which builds
//! libopus 1.6 from source: one libopus in a binary, and the one with deep PLC and DRED.
#![no_std]
pub use opusic_sys::*;
