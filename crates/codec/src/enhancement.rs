//! What libopus computes for LACE is left out where LACE is off.
//!
//! Of every SILK frame of 20 ms at 16 kHz libopus 1.6 takes the features that its enhancing models look at, a quarter of
//! what decoding costs, and only then asks whether there is a model to look at them (`osce_enhance_frame` in `dnn/osce.c`:
//! with the method `NONE` they are local variables that nobody reads, and another method begins with a reset). It has no
//! switch for that. So programs that decode link with `--wrap=osce_calculate_features` (`build.rs`), by which the linker
//! sends that call here. A program linked without it does what libopus does: the same to the bit, and slower.

use core::cell::Cell;

/// The complexity of the decoder from which on a model enhances speech.
const ENHANCED: u8 = 6;

thread_local! {
    /// Whether what this thread decodes is enhanced. Whoever decodes past this module is not kept from it.
    static ENHANCES: Cell<bool> = const { Cell::new(true) };
}

#[cfg(test)]
thread_local! {
    /// Frames whose features this thread computed.
    pub(crate) static COMPUTED: Cell<usize> = const { Cell::new(0) };
}

/// Decodes, at the complexity that the decoder has.
pub(crate) fn decode_at<T>(complexity: u8, decode: impl FnOnce() -> T) -> T {
    ENHANCES.set(complexity >= ENHANCED);
    let decoded = decode();
    ENHANCES.set(true);
    decoded
}

#[cfg(target_os = "linux")]
mod features {
    use core::ffi::{c_int, c_void};

    use super::ENHANCES;

    // Nobody defines it in a program that is linked without `--wrap`, and nobody calls it there.
    core::arch::global_asm!(".weak __real_osce_calculate_features");

    unsafe extern "C" {
        fn __real_osce_calculate_features(
            decoder: *mut c_void,
            control: *mut c_void,
            features: *mut f32,
            bits: *mut f32,
            periods: *mut c_int,
            samples: *const i16,
            coded_bits: i32,
        );
    }

    /// In the place of libopus' function of that name (`dnn/osce_features.h`), with its arguments.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn __wrap_osce_calculate_features(
        decoder: *mut c_void,
        control: *mut c_void,
        features: *mut f32,
        bits: *mut f32,
        periods: *mut c_int,
        samples: *const i16,
        coded_bits: i32,
    ) {
        if ENHANCES.get() {
            #[cfg(test)]
            super::COMPUTED.set(super::COMPUTED.get() + 1);
            // SAFETY: only the call that `--wrap` sends here comes here, with the arguments for this function.
            unsafe {
                __real_osce_calculate_features(decoder, control, features, bits, periods, samples, coded_bits);
            }
        }
    }
}
