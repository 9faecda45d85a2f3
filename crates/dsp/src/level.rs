//! How loud audio is and whether somebody speaks in it, as RTP tells it beside the audio (RFC 6464).

/// The level of digital silence, in -dBov.
const SILENCE: u8 = 127;

/// The background is taken to be no louder than this before it was heard, in -dBov.
const QUIETEST_ROOM: f32 = 60.0;

/// How fast the background may become louder, in dB a second: slower than any word.
const RISE_DB_S: f32 = 3.0;

/// How far voices stand above the background, and how loud they are at least, in dB and -dBov.
const ABOVE_DB: f32 = 9.0;
const FAINTEST: f32 = 55.0;

/// How long it goes on to be voice after the last loud frame, in ns.
const HANG_NS: i64 = 200_000_000;

/// Voice activity and level, frame by frame.
///
/// The level is exact; the activity is a guess from the energy above a background that is followed, good enough to choose
/// who is forwarded. A stage that listens more closely notes its own on the records, and is believed.
#[derive(Debug, Clone)]
pub struct Levels {
    /// In -dBov.
    background: f32,
    hang_ns: i64,
}

impl Default for Levels {
    fn default() -> Self {
        Self { background: QUIETEST_ROOM, hang_ns: 0 }
    }
}

impl Levels {
    /// Takes a frame that lasts `ns` and has that mean power (1 is that of a square wave at full scale). Gives whether
    /// somebody speaks, and the level in -dBov: 0 is overload, 127 silence.
    pub fn handle(&mut self, power: f32, ns: i64) -> (bool, u8) {
        let level =
            if power > 0.0 { (-10.0 * power.log10()).clamp(0.0, f32::from(SILENCE)) } else { f32::from(SILENCE) };
        let risen = self.background - RISE_DB_S * ns as f32 / 1e9;
        self.background = risen.max(level.min(f32::from(SILENCE)));
        let loud = level <= FAINTEST && level + ABOVE_DB <= self.background;
        self.hang_ns = if loud { HANG_NS } else { (self.hang_ns - ns).max(0) };
        (self.hang_ns > 0, level.round() as u8)
    }
}

/// Mean power of samples, full scale ±1.
pub fn mean_power(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
}

/// Mean power of 16-bit little-endian samples.
pub fn mean_power_s16le(bytes: &[u8]) -> f32 {
    let samples = bytes.as_chunks().0;
    let square = |sample: &[u8; 2]| i64::from(i16::from_le_bytes(*sample)).pow(2);
    let sum: i64 = samples.iter().map(square).sum();
    (sum as f64 / samples.len().max(1) as f64 / f64::from(1u32 << 30)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_NS: i64 = 20_000_000;

    fn tone(amplitude: f32) -> Vec<f32> {
        (0..960).map(|n| amplitude * (n as f32 * core::f32::consts::TAU / 48.0).sin()).collect()
    }

    fn power_of(dbov: f32) -> f32 {
        10f32.powf(-dbov / 10.0)
    }

    #[test]
    fn levels_are_those_of_rfc_6464() {
        let level = |power| Levels::default().handle(power, FRAME_NS).1;
        assert_eq!(level(mean_power(&[1.0, -1.0])), 0, "a square wave at full scale");
        assert_eq!(level(mean_power(&tone(1.0))), 3, "a sine at full scale");
        assert_eq!(level(mean_power(&tone(0.1))), 23);
        assert_eq!((level(0.0), level(mean_power(&[])), level(4.0)), (127, 127, 0));
    }

    #[test]
    fn samples_of_16_bits_have_the_same_power() {
        let samples = tone(0.5);
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| ((sample * 32_768.0) as i16).to_le_bytes()).collect();
        assert!((mean_power_s16le(&bytes) - mean_power(&samples)).abs() < 1e-4);
        assert_eq!((mean_power_s16le(&[]), mean_power_s16le(&[0, 128])), (0.0, 1.0));
    }

    #[test]
    fn voices_stand_out_of_the_background_and_noise_does_not() {
        let mut levels = Levels::default();
        let mut voiced =
            |dbov: f32, frames: usize| (0..frames).filter(|_| levels.handle(power_of(dbov), FRAME_NS).0).count();
        assert_eq!(voiced(70.0, 50), 0, "a quiet room");
        assert_eq!(voiced(25.0, 50), 50, "a voice");
        assert_eq!(voiced(70.0, 50), 9, "until a moment after it");
        voiced(40.0, 1_000);
        assert_eq!(voiced(40.0, 50), 0, "a fan is no voice for ever");
        assert_eq!(voiced(25.0, 50), 50, "a voice beside the fan is");
    }
}
