//! Deep redundancy (DRED): a coarse copy of up to a second of speech that a later packet carries, over libopus's own
//! functions, since no safe wrapper has them together with the rest of the decoder.

use core::ffi::c_int;
use core::ptr::NonNull;

use crate::Error;
use crate::opus_decoder::Decoder;

/// The longest past that is read, in frames at 48 kHz: libopus writes no more than about a second.
const MAX_PAST: u32 = 48_000;

/// How much more of the past is read than is missing, in frames: the model begins two frames of 10 ms before what it
/// makes, and packets describe the past up to 40 ms ahead of themselves. With less it begins on nothing, which sounds
/// worse than no redundancy.
const RUN_UP: u32 = 2_880;

/// Reads the redundancy of packets.
pub(crate) struct Dred {
    decoder: NonNull<opusic_sys::OpusDREDDecoder>,
    state: NonNull<opusic_sys::OpusDRED>,
    /// The packet whose redundancy the state holds, how much of the past was asked for, and how much is there, in
    /// frames.
    packet: Vec<u8>,
    past: u32,
    reach: i32,
}

// SAFETY: both are plain memory that only their owner touches; libopus keeps nothing by thread.
unsafe impl Send for Dred {}

/// Whether the packet has room for redundancy: it lies in the padding (RFC 6716, section 3.2.5).
pub(crate) const fn may_describe(packet: &[u8]) -> bool {
    matches!(packet, [toc, count, ..] if *toc & 3 == 3 && *count & 0x40 != 0)
}

impl Dred {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut error: c_int = 0;
        // SAFETY: `error` outlives the call.
        let decoder = unsafe { opusic_sys::opus_dred_decoder_create(&raw mut error) };
        let decoder = NonNull::new(decoder).ok_or_else(|| Error::Opus(format!("no DRED decoder (error {error})")))?;
        // SAFETY: `error` outlives the call.
        let state = unsafe { opusic_sys::opus_dred_alloc(&raw mut error) };
        let Some(state) = NonNull::new(state) else {
            // SAFETY: it came from opus_dred_decoder_create and is not used again.
            unsafe { opusic_sys::opus_dred_decoder_destroy(decoder.as_ptr()) };
            return Err(Error::Opus(format!("no DRED state (error {error})")));
        };
        Ok(Self { decoder, state, packet: Vec::new(), past: 0, reach: 0 })
    }

    /// How many frames before `packet` its redundancy reaches back, looked for up to `past` frames; 0 where it carries
    /// none. The farther, the more it costs.
    pub(crate) fn reach(&mut self, packet: &[u8], past: u32) -> usize {
        let past = past.saturating_add(RUN_UP).min(MAX_PAST);
        if self.packet != packet || self.past < past {
            self.packet.clear();
            self.packet.extend_from_slice(packet);
            self.past = past;
            self.reach = self.parse(packet, past);
        }
        usize::try_from(self.reach).unwrap_or(0)
    }

    fn parse(&mut self, packet: &[u8], past: u32) -> i32 {
        let Ok(length) = i32::try_from(packet.len()) else { return 0 };
        let mut end: c_int = 0;
        // SAFETY: both states are live, `packet` is good for `length` bytes, and `end` outlives the call.
        let parsed = unsafe {
            opusic_sys::opus_dred_parse(
                self.decoder.as_ptr(),
                self.state.as_ptr(),
                packet.as_ptr(),
                length,
                past as i32,
                48_000,
                &raw mut end,
                0,
            )
        };
        // What lies within `end` of the packet is silence that it does not describe.
        if parsed > end { parsed } else { 0 }
    }

    /// Appends `frames` that lie `back` frames before the packet looked at last.
    pub(crate) fn decode(&self, decoder: &mut Decoder, back: usize, frames: usize, out: &mut Vec<f32>) -> bool {
        let Ok(back) = i32::try_from(back) else { return false };
        let got = decoder.run(frames, out, |decoder, samples, room| {
            // SAFETY: both states are live, and `samples` has room for `room` frames of all channels.
            unsafe {
                opusic_sys::opus_decoder_dred_decode_float(
                    decoder.as_ptr(),
                    self.state.as_ptr(),
                    back,
                    samples.as_mut_ptr(),
                    room,
                )
            }
        });
        got == frames
    }
}

impl Drop for Dred {
    fn drop(&mut self) {
        // SAFETY: both came from libopus and are not used again.
        unsafe {
            opusic_sys::opus_dred_free(self.state.as_ptr());
            opusic_sys::opus_dred_decoder_destroy(self.decoder.as_ptr());
        }
    }
}
