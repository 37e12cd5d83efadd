//! `doorward http`: makes the interface reachable from other machines.

use super::{Failure, Runner};
use clap::Subcommand;
use doorward::config::{self, Config};
use doorward::http::tls;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::process::ExitCode;

/// The HTTP interface.
#[derive(Subcommand)]
pub enum Http {
    /// Makes a certificate for ADDRESS, prints its fingerprint, and sets http.listen, http.tls_cert
    /// and http.tls_key in the configuration. Compare the fingerprint on each client.
    Listen {
        /// An address of this machine; 0.0.0.0 or :: for every network.
        address: IpAddr,
    },
}

impl Runner {
    /// Makes the certificate and sets the keys.
    pub fn http_listen(&self, address: IpAddr) -> Result<ExitCode, Failure> {
        let Some(file) = Config::file(self.file.as_deref()) else {
            let why = "there is no configuration file to change; name one with --config";
            return Err(Failure::Usage(why.into()));
        };
        let folder = &self.config.device.data_dir;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut names = vec![self.config.device.id.clone()];
        names.extend(self.config.http.hosts.iter().cloned());
        let failed = |error: tls::TlsError| Failure::Usage(error.to_string());
        let made = tls::make(folder, &names, address).map_err(failed)?;
        // Before the address: a configuration that is written in part is never refused.
        let path = |path: &std::path::Path| path.display().to_string();
        config::set_in_file(file, "http", "tls_cert", path(&made.cert))?;
        config::set_in_file(file, "http", "tls_key", path(&made.key))?;
        config::set_in_file(file, "http", "listen", address.to_string())?;
        let result = serde_json::json!({
            "listen": address, "tls_cert": made.cert, "sha256": made.fingerprint,
        });
        super::show(format_args!("{result:#}\n"))?;
        eprintln!(
            "it takes effect at the daemon's next start, or with `systemctl reload doorward`"
        );
        Ok(ExitCode::SUCCESS)
    }
}
