//! The command line of `doorward calibrate`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What is calibrated: the thresholds for the user's own people, unless a part is named.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Command {
    /// Folder of photographs: one folder a person, or one file a person.
    #[arg(required = true)]
    pub dir: Option<PathBuf>,
    /// Draw FMR and FNMR over the similarity, and the DET curve, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// A part of its own.
    #[command(subcommand)]
    pub part: Option<Part>,
}

/// What else is calibrated.
#[derive(Subcommand)]
pub enum Part {
    /// Where live begins at this camera: liveness.operating_point.
    Liveness {
        /// Folder of pictures of live people at this camera, or of folders of them.
        #[arg(long)]
        live: PathBuf,
        /// Folder of pictures of photos, screens and masks held to this camera, or of folders.
        #[arg(long)]
        spoof: PathBuf,
        /// Draw APCER and BPCER over the operating point, and the DET curve, as SVG.
        #[arg(long, value_name = "FILE.svg")]
        plot: Option<PathBuf>,
        /// Write the operating point found to the configuration file; its comments stay.
        #[arg(long)]
        write: bool,
    },
}
