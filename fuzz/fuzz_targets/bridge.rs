#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vox_fuzz::bridge(data));
