//! The options of every subcommand, and the store and the session that they select.

use std::path::PathBuf;
use std::sync::Once;

use anyhow::Result;
use kvlock::store::Local;
use kvlock::{Client, Session};

use crate::options::duration::HumanDuration;
use crate::report::exit::Exit;
use crate::report::output;

/// Options that may stand before or after the subcommand.
#[derive(clap::Args)]
pub(crate) struct Global {
    /// Where the locks live: memcached://host:port, redis://host:port, local:PATH … [default: a local file]
    #[arg(long, global = true, env = "KVLOCK_STORE", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// The longest lease in use: younger contents grant nothing [default: 30s, or a longer lease or hold]
    #[arg(long, global = true, env = "KVLOCK_QUARANTINE")]
    pub(crate) quarantine: Option<HumanDuration>,
    /// The namespace of the keys; each has locks of its own
    #[arg(long, global = true, env = "KVLOCK_NAMESPACE", value_name = "NAME", default_value = "kvlock")]
    pub(crate) namespace: String,
    /// Print results and errors as JSON, one object a line
    #[arg(long, global = true, env = "KVLOCK_JSON")]
    pub(crate) json: bool,
    /// Write metrics to this file when kvlock ends, for Prometheus' textfile collector
    #[arg(long, global = true, env = "KVLOCK_METRICS", value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// Give the metrics a label with the key
    #[arg(long, global = true, env = "KVLOCK_METRICS_KEY_LABEL")]
    pub(crate) metrics_key_label: bool,
    /// Log to stderr; give it twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "KVLOCK_VERBOSE")]
    pub(crate) verbose: u8,
    /// Print only errors and warnings on stderr
    #[arg(short, long, global = true, env = "KVLOCK_QUIET")]
    pub(crate) quiet: bool,
}

impl Global {
    /// Opens the store. If none is configured, that is a local file, and a line says so.
    pub(crate) fn client(&self) -> Result<Client> {
        let client = self.connect()?;
        Ok(if self.metrics_key_label { client.metrics_key_label(true) } else { client })
    }

    fn connect(&self) -> Result<Client> {
        if let Some(url) = &self.store {
            if url.starts_with("memory:") {
                let what = "bad store URL `memory:`: it is a store for tests, which this process has for itself: it \
                    would exclude nobody; give memcached://host:port, redis://host:port or local:PATH";
                return Err(Exit::usage(what).into());
            }
            return Ok(Client::connect(url)?);
        }
        if let Some(servers) = std::env::var_os("MEMCACHEDLOCK_SERVERS").filter(|servers| !servers.is_empty()) {
            return Ok(Client::connect(&format!("memcached://{}", servers.to_string_lossy()))?);
        }
        let path = default_file()?;
        // Even with --quiet, since nobody has chosen this store.
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            let path = path.display();
            output::say(format_args!(
                "no --store given: locking for this user on this machine only, in local:{path}; KVLOCK_STORE=URL chooses \
                this or another store"
            ));
        });
        Ok(Client::connect(&format!("local:{}", path.display()))?)
    }

    pub(crate) fn session(&self, owner: Option<&str>) -> Result<Session> {
        self.session_of(&self.client()?, owner)
    }

    pub(crate) fn session_of(&self, client: &Client, owner: Option<&str>) -> Result<Session> {
        let mut builder = client.session().namespace(&self.namespace);
        if let Some(owner) = owner {
            builder = builder.owner(owner);
        }
        if let Some(HumanDuration(quarantine)) = self.quarantine {
            builder = builder.quarantine(quarantine);
        }
        Ok(builder.open()?)
    }
}

fn default_file() -> Result<PathBuf> {
    let no_home = |_| Exit::usage("no --store given, and no home directory to keep a local one in; give --store URL");
    Ok(Local::default_path().map_err(no_home)?)
}
