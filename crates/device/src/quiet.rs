//! Keeps ALSA from writing to stderr.

/// Makes libasound say nothing on stderr: looking for devices it complains about every plugin that is not set up.
#[cfg(target_os = "linux")]
pub(crate) fn silence_alsa() {
    use core::ffi::{c_char, c_int};

    type Fixed = unsafe extern "C" fn(*const c_char, c_int, *const c_char, c_int, *const c_char);
    type Variadic = unsafe extern "C" fn(*const c_char, c_int, *const c_char, c_int, *const c_char, ...);

    unsafe extern "C" fn say_nothing(_: *const c_char, _: c_int, _: *const c_char, _: c_int, _: *const c_char) {}

    // SAFETY: the two function types differ only in the variadic tail, which the handler never looks at; in the C
    // calling conventions of the platforms that have ALSA the caller passes and cleans up variadic arguments, so a
    // callee that ignores them is sound. The handler is a plain function and lives as long as the program.
    unsafe {
        let handler = core::mem::transmute::<Fixed, Variadic>(say_nothing);
        alsa_sys::snd_lib_error_set_handler(Some(handler));
    }
}

/// There is no ALSA here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn silence_alsa() {}
