//! The arguments of `vox`.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

/// Lists the stages of Voxpipe, or runs one: `vox jitter …` is `vox-jitter …`.
#[derive(Debug, Parser)]
#[command(
    name = "vox",
    version,
    subcommand_value_name = "STAGE [ARGUMENTS]",
    disable_help_subcommand = true,
    after_help = "\
Examples:
  vox                                       lists the stages
  vox jitter --help                         what a stage can do (also: vox help jitter)
  vox capture tone:440 | vox play           runs them"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) stage: Option<Stage>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Stage {
    /// The stage, without its prefix, and what it is given: all of it is the stage's, `--help` too.
    #[command(external_subcommand)]
    Named(Vec<OsString>),
}
