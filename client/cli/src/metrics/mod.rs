//! Metrics of a pilot for Prometheus and its like (`docs/guide/metrics.md`): an observer of the agent keeps what was
//! said last, and a small server tells it to whoever knows the token. Nothing of it touches the agent's own threads.

mod exposition;
mod follow;
mod names;
mod server;
mod state;
mod token;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use self::follow::Known;
use self::token::Token;
use crate::exit::Misuse;

/// Where metrics are to be had, in a pilot's directory, for who looks for them.
const FILE: &str = "metrics.json";

/// Where metrics are told, once they are.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) address: SocketAddr,
    pub(crate) token_file: PathBuf,
    file: Option<PathBuf>,
}

impl Metrics {
    /// Tells those of the pilot of `place`, its directory or connection file, whether it runs or not. With another address than this
    /// host's own only if that is `public`.
    pub(crate) fn start(
        address: SocketAddr,
        public: bool,
        place: &Path,
        token_file: &Path,
    ) -> anyhow::Result<Self> {
        if !address.ip().is_loopback() && !public {
            return Err(Misuse(format!(
                "others could reach metrics at {address}: take 127.0.0.1, or say that it is meant, by --metrics-public"
            ))
            .into());
        }
        let token = Token::of(token_file)?;
        let listener = TcpListener::bind(address).with_context(|| {
            format!("cannot listen at {address} for metrics: take another port, or 0 for any")
        })?;
        let address = listener.local_addr()?;
        let known = Known::default();
        follow::follow(place.to_owned(), known.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("scalems-metrics".into())
            .spawn(move || {
                if let Err(error) = runtime.block_on(server::serve(listener, known, token)) {
                    tracing::error!(%error, "metrics are told to nobody any more");
                }
            })?;
        tracing::info!(%address, "metrics are told");
        Ok(Self {
            address,
            token_file: token_file.to_owned(),
            file: None,
        })
    }

    /// Those of a pilot that is started here, with what says so in its directory.
    pub(crate) fn of_pilot(address: SocketAddr, public: bool, directory: &Path) -> anyhow::Result<Self> {
        let mut metrics = Self::start(address, public, directory, &directory.join(token::FILE))?;
        let file = directory.join(FILE);
        let said = serde_json::json!({"url": metrics.url(), "token_file": metrics.token_file});
        std::fs::write(&file, format!("{said}\n")).with_context(|| format!("write {}", file.display()))?;
        metrics.file = Some(file);
        Ok(metrics)
    }

    /// Where they are.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.file.iter().for_each(|file| token::forget(file));
    }
}

/// The token's file of the pilot whose connection file this is.
pub(crate) fn token_file(connection: &Path) -> PathBuf {
    connection.with_file_name(token::FILE)
}
