//! The peer matrix: calls with every other program that could be found, each codec each way, to one listener, to a
//! group, and encrypted. Every cell runs in a network of its own, so that many run beside each other, and either
//! brings what was said or says why it cannot be. `scripts/interop` makes docs/interop.md of the results.

mod agreement;
mod aiortc;
mod baresip;
mod cell;
mod ffmpeg;
mod gstreamer;
mod judge;
mod matrix;
mod sipp;
mod stage;
mod trx;
mod vlc;

use matrix::{Peer, try_all};

#[test]
fn ffmpeg() {
    try_all(&Peer { name: "ffmpeg", programs: &["ffmpeg"], plan: ffmpeg::plan });
}

#[test]
fn gstreamer() {
    try_all(&Peer { name: "GStreamer", programs: &["gst-launch-1.0"], plan: gstreamer::plan });
}

#[test]
fn sipp() {
    try_all(&Peer { name: "sipp", programs: &["sipp", "sox"], plan: sipp::plan });
}

#[test]
fn aiortc() {
    try_all(&Peer { name: "aiortc", programs: &[], plan: aiortc::plan });
}

#[test]
fn vlc() {
    try_all(&Peer { name: "VLC", programs: &["cvlc"], plan: vlc::plan });
}

#[test]
fn baresip() {
    try_all(&Peer { name: "baresip", programs: &["baresip", "sipp", "sox"], plan: baresip::plan });
}

#[test]
fn trx() {
    try_all(&Peer { name: "trx", programs: &["trx-tx", "trx-rx", "pulseaudio", "parec", "paplay"], plan: trx::plan });
}
