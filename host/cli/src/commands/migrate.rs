//! `kvlock migrate`.

use anyhow::Result;
use kvlock::store::Postgres;
use serde_json::json;

use crate::options::global::Global;
use crate::report::exit::{self, Exit, Status};
use crate::report::output;

/// Make the tables of a store postgres://, or print the SQL that makes them
#[derive(clap::Args)]
pub(crate) struct Migrate {
    /// Roles that get the right to use the tables
    #[arg(value_name = "ROLE")]
    roles: Vec<String>,
    /// Print the SQL, and do nothing
    #[arg(long, env = "KVLOCK_PRINT")]
    print: bool,
}

impl Migrate {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        let roles: Vec<&str> = self.roles.iter().map(String::as_str).collect();
        let store = global.store.as_deref();
        let is_ours = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !store.map_or(self.print, is_ours) {
            let what = "only PostgreSQL has tables that are made: give --store postgres://host[:port]/database";
            return Err(Exit::usage(what).into());
        }
        let (Some(url), false) = (store, self.print) else {
            let sql = Postgres::migration(&roles);
            match global.json {
                true => output::print_json(&json!({ "sql": sql }))?,
                false => output::bytes(sql.as_bytes())?,
            }
            return Ok(Status::SUCCESS);
        };
        // For a URL that is none.
        global.client()?;
        migrate(url, &roles)?;
        if global.json {
            output::print_json(&json!({ "roles": roles }))?;
        } else {
            let used_by = if roles.is_empty() { String::new() } else { format!(", for {}", roles.join(", ")) };
            output::line(format_args!("the tables are there{used_by}"))?;
        }
        Ok(Status::SUCCESS)
    }
}

fn migrate(url: &str, roles: &[&str]) -> Result<()> {
    let migrated = Postgres::connect(url).and_then(|store| store.migrate(roles));
    migrated.map_err(|error| Exit::new(exit::UNAVAILABLE, format!("{error:#}")).about(error).into())
}
