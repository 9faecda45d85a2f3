//! Signal processing on PCM: resampling, remixing, placing streams on one timeline.
