//! Counters, named as in W3C webrtc-stats where it has a name.

use vox_frame::{GapReason, Rate, Stamp};

/// What has happened so far; every counter only grows, but for `packets_lost`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// `packetsReceived`: packets that came in, duplicates and padding included.
    pub packets_received: u64,
    /// `bytesReceived`: their payload bytes.
    pub bytes_received: u64,
    /// `packetsLost`: packets that a gap was released for and that did not come after it.
    pub packets_lost: u64,
    /// `packetsDiscarded`: packets that came too late, or that there was no room or no time for.
    pub packets_discarded: u64,
    /// Those of them that came after their time.
    pub packets_late: u64,
    /// Those of them that a full buffer refused.
    pub packets_overflowed: u64,
    /// Packets that had come before.
    pub packets_duplicated: u64,
    /// Packets without audio.
    pub packets_padding: u64,
    /// `jitterBufferEmittedCount`: ticks of audio released.
    pub jitter_buffer_emitted_count: u64,
    /// `jitterBufferDelay`, as the sum over those ticks of the nanoseconds that they were held.
    pub jitter_buffer_delay_ns: u128,
    /// `jitterBufferTargetDelay`, as the sum over those ticks of the nanoseconds that were aimed at.
    pub jitter_buffer_target_delay_ns: u128,
    /// `concealedSamples`: ticks of playout time that no packet and no copy of one stands for.
    pub concealed_ticks: u64,
    /// `silentConcealedSamples`: ticks of playout time for which nothing was sent.
    pub silent_concealed_ticks: u64,
    /// `concealmentEvents`: how often audio gave way to concealment.
    pub concealment_events: u64,
    /// `insertedSamplesForDeceleration`: ticks by which audio was played longer than it lasts.
    pub inserted_ticks: u64,
    /// `removedSamplesForAcceleration`: ticks by which audio was played shorter than it lasts.
    pub removed_ticks: u64,
    /// `fecPacketsReceived`: packets that came in repaired, and lost ones that were released with their copy.
    pub fec_packets: u64,
    /// Ticks of playout time that the copies of lost packets stand for.
    pub repaired_ticks: u64,
    /// Ticks of gaps released, silence aside.
    pub gap_ticks: u64,
    /// Ticks of silence released.
    pub silent_ticks: u64,
    /// Gaps released, silence aside.
    pub gaps: u64,
    /// How often the line from media time to playout time was moved.
    pub resyncs: u64,
    /// How often the buffer ran empty while it played (half-full rule).
    pub underflows: u64,
    /// `jitter`: interarrival jitter (RFC 3550, section 6.4.1 and A.8), in nanoseconds.
    pub jitter_ns: f64,
}

impl Stats {
    /// Audio of `ticks` was released into a slot, `held_ns` after it had arrived.
    pub(crate) fn note_audio(&mut self, rate: Rate, ticks: u64, slot: u64, held_ns: i64, target_ns: u64) {
        self.jitter_buffer_emitted_count += ticks;
        self.jitter_buffer_delay_ns += u128::from(ticks) * u128::from(held_ns.max(0).unsigned_abs());
        self.jitter_buffer_target_delay_ns += u128::from(ticks) * u128::from(target_ns);
        let change = i64::try_from(slot).unwrap_or(i64::MAX).saturating_sub(rate.ns(ticks));
        self.inserted_ticks += rate.ticks(change.max(0));
        self.removed_ticks += rate.ticks(change.saturating_neg().max(0));
    }

    /// A gap of `ticks` was released into a slot; `begins` says that audio was played before it.
    pub(crate) fn note_gap(
        &mut self,
        rate: Rate,
        ticks: u64,
        slot: u64,
        reason: GapReason,
        repaired: bool,
        begins: bool,
    ) {
        let played = rate.ticks(i64::try_from(slot).unwrap_or(i64::MAX));
        if reason.is_silence() {
            self.silent_ticks = self.silent_ticks.saturating_add(ticks);
            self.silent_concealed_ticks = self.silent_concealed_ticks.saturating_add(played);
            return;
        }
        self.gap_ticks = self.gap_ticks.saturating_add(ticks);
        self.gaps += u64::from(ticks > 0);
        if repaired {
            self.fec_packets += 1;
            self.repaired_ticks = self.repaired_ticks.saturating_add(played);
        } else if slot > 0 {
            self.concealed_ticks = self.concealed_ticks.saturating_add(played);
            self.concealment_events += u64::from(begins);
        }
    }
}

/// The interarrival jitter of RFC 3550, A.8.
#[derive(Debug, Default)]
pub(crate) struct Jitter {
    last: Option<(Stamp, i128)>,
}

impl Jitter {
    /// Takes in a packet; gives the new estimate.
    pub(crate) fn update(&mut self, estimate: f64, rate: Rate, arrived: Stamp, timestamp: u64) -> f64 {
        let media = i128::from(timestamp) * 1_000_000_000 / i128::from(rate.hz());
        let transit = i128::from(arrived.ns()) - media;
        let Some((_, last)) = self.last.replace((arrived, transit)) else { return estimate };
        let difference = (transit - last).unsigned_abs() as f64;
        // A jump of the timestamps is no jitter.
        if difference > 1e9 { estimate } else { estimate + (difference - estimate) / 16.0 }
    }
}
