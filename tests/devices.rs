//! A sound card that is none: a click said into PulseAudio's null sink comes back, once, at a stable delay.
