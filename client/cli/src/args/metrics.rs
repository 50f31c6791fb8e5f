//! `scalems metrics`, and metrics of a pilot that is started.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Where metrics are told unless it is said.
const ADDRESS: &str = "127.0.0.1:9464";

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  scalems metrics --listen 127.0.0.1:0")]
pub(crate) struct MetricsArgs {
    /// Where to listen; port 0: any that is free.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = ADDRESS)]
    pub(crate) listen: SocketAddr,
    /// Others than this host may read them, who know the token.
    #[arg(long = "metrics-public")]
    pub(crate) public: bool,
    /// The file that has the token, made if it is not there; without it `metrics.token` in the pilot's directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// The same for a pilot that is started.
#[derive(Debug, Args)]
pub(crate) struct PilotMetrics {
    /// Tell metrics for Prometheus over HTTP, to who knows the token in `metrics.token` of the pilot's directory.
    #[arg(long = "metrics", value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = ADDRESS, require_equals = true)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Others than this host may read metrics, who know the token.
    #[arg(long, requires = "metrics")]
    pub(crate) metrics_public: bool,
}

impl PilotMetrics {
    /// The words that say the same again.
    pub(crate) fn words(&self) -> Vec<String> {
        let address = self.metrics.map(|address| format!("--metrics={address}"));
        let public = self.metrics_public.then(|| "--metrics-public".to_owned());
        address.into_iter().chain(public).collect()
    }
}
