//! The arguments of `vox`.

use std::ffi::OsString;

use clap::Parser;

/// Lists the stages of Voxpipe, or runs one: `vox jitter …` is `vox-jitter …`.
#[derive(Debug, Parser)]
#[command(name = "vox", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// The stage to run, without its prefix, such as `capture`; none lists the stages.
    pub(crate) stage: Option<String>,

    /// What the stage is given; `vox STAGE --help` tells.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}
