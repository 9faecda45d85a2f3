//! libopus: its decoder, through a thin wrapper of our own, since `audiopus` hides what concealment needs.

use core::ffi::c_int;
use core::ptr::NonNull;
use std::collections::VecDeque;

use vox_frame::Channels;

use crate::opus::{is_stereo, packet_frames};
use crate::{Error, enhancement};

/// The complexity of the decoder from which on a neural model conceals.
pub(crate) const DEEP: u8 = 5;

/// How much of the past a decoder must have heard to go on where another left off, in frames: what Opus remembers from one
/// frame to the next has faded by then, the energies of bands as the slowest (RFC 6716, section 4.3.2.1: to half with every
/// frame of 20 ms, to 0.9 with every one of 2.5 ms).
const RUN_UP: usize = 9_600;

/// The shortest packet, in frames: 2.5 ms.
const SHORTEST: usize = 120;

/// A decoder at 48 kHz. Streams say nothing of how many channels their packets hold (RFC 7587, section 7: always two), and
/// speech has one as a rule. So one is decoded until a packet with two comes: the samples are those that libopus gives for
/// each of two, for less.
pub(crate) struct Decoder {
    state: State,
    /// Channels that it may come to decode.
    most: usize,
    /// The last packets, as long as one channel is decoded where it may become two.
    recent: VecDeque<Vec<u8>>,
}

impl Decoder {
    /// Decodes one channel, and two from the first packet on that holds them, where the stream has so many.
    pub(crate) fn new(channels: Channels, complexity: u8) -> Result<Self, Error> {
        let most = channels.count();
        if most > 2 {
            return Err(Error::Channels { codec: "opus", most: 2, found: most });
        }
        let mut state = State::new(1)?;
        state.set_complexity(complexity);
        Ok(Self { state, most, recent: VecDeque::new() })
    }

    /// Channels of what comes out now.
    pub(crate) const fn width(&self) -> usize {
        self.state.channels
    }

    /// To be asked before what `packet` holds, or tells of others, is decoded: whether two channels come out from now on,
    /// where it was one.
    pub(crate) fn widens_for(&mut self, packet: &[u8]) -> bool {
        let widens = self.width() < self.most && is_stereo(packet);
        if widens {
            self.take_two();
        }
        widens && self.width() == self.most
    }

    /// Conceals by a neural model from now on, which deep redundancy needs.
    pub(crate) fn go_deep(&mut self) {
        self.state.set_complexity(self.state.complexity.max(DEEP));
    }

    /// Appends what `packet` holds; false where it is damaged.
    pub(crate) fn packet(&mut self, packet: &[u8], out: &mut Vec<f32>) -> bool {
        self.remember(packet);
        let frames = packet_frames(packet);
        frames > 0 && self.decode(Some(packet), frames, false, out)
    }

    /// Appends `frames` of what the packet before `next` held, from the copy in `next`.
    pub(crate) fn fec(&mut self, next: &[u8], frames: usize, out: &mut Vec<f32>) -> bool {
        !next.is_empty() && self.decode(Some(next), frames, true, out)
    }

    /// Appends `frames` of concealment.
    pub(crate) fn conceal(&mut self, frames: usize, out: &mut Vec<f32>) -> bool {
        self.decode(None, frames, false, out)
    }

    /// Appends `frames` of the noise that a pause is filled with: no model has anything to add to it.
    pub(crate) fn pause(&mut self, frames: usize, out: &mut Vec<f32>) -> bool {
        let complexity = self.state.complexity;
        self.state.set_complexity(complexity.min(DEEP - 1));
        let made = self.decode(None, frames, false, out);
        self.state.set_complexity(complexity);
        made
    }

    fn decode(&mut self, packet: Option<&[u8]>, frames: usize, fec: bool, out: &mut Vec<f32>) -> bool {
        self.run(frames, out, |state, samples, room| state.decode(packet, samples, room, fec)) > 0
    }

    /// Appends what `decode` puts into room for so many frames; it says how many it put there. Gives that number.
    pub(crate) fn run(
        &mut self,
        frames: usize,
        out: &mut Vec<f32>,
        decode: impl FnOnce(&mut State, &mut [f32], c_int) -> c_int,
    ) -> usize {
        let Ok(room) = c_int::try_from(frames) else { return 0 };
        let (start, width) = (out.len(), self.width());
        out.resize(start + frames * width, 0.0);
        let got = usize::try_from(decode(&mut self.state, &mut out[start..], room)).unwrap_or(0);
        out.truncate(start + got * width);
        got
    }

    fn remember(&mut self, packet: &[u8]) {
        if self.width() == self.most {
            return;
        }
        let full = self.recent.len() >= RUN_UP / packet_frames(packet).max(SHORTEST);
        let mut copy = if full { self.recent.pop_front().unwrap_or_default() } else { Vec::new() };
        copy.clear();
        copy.extend_from_slice(packet);
        self.recent.push_back(copy);
    }

    /// Decodes two channels from now on: by another decoder, which first hears what this one heard last. Where there is
    /// none, one channel is the mean of both.
    fn take_two(&mut self) {
        let Ok(mut state) = State::new(2) else { return };
        state.set_complexity(self.state.complexity);
        let mut unheard = Vec::new();
        for packet in std::mem::take(&mut self.recent) {
            let frames = packet_frames(&packet);
            unheard.resize(2 * frames, 0.0);
            state.decode(Some(&packet), &mut unheard, frames as c_int, false);
        }
        self.state = state;
    }
}

/// A decoder of libopus.
pub(crate) struct State {
    decoder: NonNull<opusic_sys::OpusDecoder>,
    channels: usize,
    complexity: u8,
}

// SAFETY: the state is plain memory that only its owner touches; libopus keeps nothing by thread.
unsafe impl Send for State {}

impl State {
    /// For one channel or two.
    fn new(channels: usize) -> Result<Self, Error> {
        let mut error: c_int = 0;
        // SAFETY: the arguments are a rate and a number of channels that libopus takes, and `error` outlives the call.
        let decoder = unsafe { opusic_sys::opus_decoder_create(48_000, channels as c_int, &raw mut error) };
        let decoder = NonNull::new(decoder).ok_or_else(|| Error::Opus(format!("no decoder (error {error})")))?;
        Ok(Self { decoder, channels, complexity: 0 })
    }

    pub(crate) const fn as_ptr(&mut self) -> *mut opusic_sys::OpusDecoder {
        self.decoder.as_ptr()
    }

    /// See [`DecoderOptions::complexity`](crate::DecoderOptions::complexity).
    fn set_complexity(&mut self, complexity: u8) {
        if self.complexity == complexity {
            return;
        }
        self.complexity = complexity;
        // SAFETY: the state is live, and this request takes one int.
        unsafe {
            opusic_sys::opus_decoder_ctl(
                self.decoder.as_ptr(),
                opusic_sys::OPUS_SET_COMPLEXITY_REQUEST,
                c_int::from(complexity),
            );
        }
    }

    /// Decodes into `samples`, which hold `room` frames; gives how many there are, or an error of libopus.
    fn decode(&mut self, packet: Option<&[u8]>, samples: &mut [f32], room: c_int, fec: bool) -> c_int {
        assert!(samples.len() >= room as usize * self.channels, "there is room for what is asked for");
        let (data, length) = packet.map_or((core::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()));
        let Ok(length) = i32::try_from(length) else { return 0 };
        let decoder = self.decoder.as_ptr();
        // SAFETY: `data` is null or points at `length` bytes, and `samples` has room for `room` frames of all channels.
        enhancement::decode_at(self.complexity, || unsafe {
            opusic_sys::opus_decode_float(decoder, data, length, samples.as_mut_ptr(), room, c_int::from(fec))
        })
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: the decoder came from opus_decoder_create and is not used again.
        unsafe { opusic_sys::opus_decoder_destroy(self.decoder.as_ptr()) }
    }
}

#[cfg(test)]
mod tests;
