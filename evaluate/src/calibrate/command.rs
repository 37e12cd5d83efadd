//! The command line of `doorward calibrate`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The target of the calibration: the thresholds for the user's own people, unless a part is named.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Command {
    /// Folder of photographs: one folder per person, or one file per person.
    #[arg(required = true)]
    pub dir: Option<PathBuf>,
    /// Draw FMR and FNMR over the similarity, and the DET curve, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// A separate calibration.
    #[command(subcommand)]
    pub part: Option<Part>,
}

/// The other calibrations.
#[derive(Subcommand)]
pub enum Part {
    /// Find the point where live begins at this camera: liveness.operating_point.
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
        /// Write the found operating point to the configuration file; its comments stay.
        #[arg(long)]
        write: bool,
    },
}
