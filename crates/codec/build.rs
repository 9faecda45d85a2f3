//! Links what decodes Opus so that libopus asks `vox_codec` before it computes what only LACE looks at (`src/enhancement.rs`
//! says why). The programs that decode have the same build script, since this is a matter of each program's linking.

use std::env;

#[allow(clippy::disallowed_methods, reason = "cargo tells a build script what it builds for by its environment")]
fn main() {
    println!("cargo:rerun-if-changed=../codec/build.rs");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-link-arg=-Wl,--wrap=osce_calculate_features");
    }
}
