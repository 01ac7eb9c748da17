//! `kvlock ask`.

use std::time::{Duration, Instant};

use anyhow::Result;
use kvlock::asking::{AskRequest, Asking};
use kvlock::error::StatusError;
use kvlock::status::Asked;
use serde_json::{Value, json};

use crate::options::args::Key;
use crate::options::duration::OrForever;
use crate::options::global::Global;
use crate::report::exit::{self, Exit, Status};
use crate::report::output::{self, HolderJson};
use crate::signals::{self, Events};
use crate::wait;

/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Ask the holder of a lock to give it back, and print whether it has heard
///
/// It is a polite `break`: the holder learns it at its next renewal, which is due after a third of its lease, and need
/// not do anything. A command under `kvlock run` gets the signal of --on-wanted. Readers that share a lock are all asked.
/// Exits with 75 if nobody has heard it by the end of --wait; the ask stands for a lease of the holder's then, and a
/// minute at least.
#[derive(clap::Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    how: AskArgs,
}

/// How to ask.
#[derive(clap::Args)]
pub(crate) struct AskArgs {
    /// Why: one line, for the holder to read
    #[arg(long, env = "KVLOCK_NOTE", value_name = "TEXT")]
    note: Option<String>,
    /// How long to wait until it is heard; 0 only asks
    #[arg(short = 'w', long, env = "KVLOCK_WAIT", default_value = "30s")]
    wait: OrForever,
    /// Your name, shown to the holder [default: host, process and thread]
    #[arg(long, env = "KVLOCK_OWNER", value_name = "NAME")]
    pub(crate) owner: Option<String>,
}

impl Ask {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        let (_, events) = signals::listen()?;
        let session = global.session(self.how.owner.as_deref())?;
        let asked = self.how.ask(session.ask(&*self.key), &self.key, &events)?;
        print(&asked, &self.key, json!({ "key": &*self.key }), global)
    }
}

impl AskArgs {
    /// Asks, and waits until it is heard. `what` names the lock or the permit.
    pub(crate) fn ask(&self, mut request: AskRequest, what: &str, events: &Events) -> Result<Asked> {
        if let Some(note) = &self.note {
            request = request.note(note);
        }
        let (mut asking, begun) = (request.begin()?, Instant::now());
        let mut outage: Option<StatusError> = None;
        while !asking.is_over() {
            let left = self.wait.0.map_or(LOOK_AGAIN, |wait| wait.saturating_sub(begun.elapsed()));
            if left.is_zero() {
                break;
            }
            if let Some(signal) = wait::pause(left.min(LOOK_AGAIN), events) {
                let text = format!("`{}`: the wait was interrupted; the ask stands", output::short(what));
                return Err(Exit::interrupted(signal, text).into());
            }
            outage = look(&mut asking)?;
        }
        match outage {
            Some(error) => Err(error.into()),
            None => Ok(asking.state().clone()),
        }
    }
}

/// Looks at what became of it. Returns why the store does not answer now; any other error ends the wait.
fn look(asking: &mut Asking) -> Result<Option<StatusError>, StatusError> {
    match asking.look() {
        Ok(_) => Ok(None),
        Err(error) if error.kind().is_outage() => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Prints what became of asking for `what`; as JSON, added to the fields that name it.
pub(crate) fn print(asked: &Asked, what: &str, mut named: Value, global: &Global) -> Result<Status> {
    let (name, holder, is_done) = match asked {
        Asked::Free => ("free", None, true),
        Asked::Reserved(holder) => ("reserved", Some(holder), false),
        Asked::Kept(holder) => ("kept", Some(holder), false),
        Asked::Heard(holder) => ("heard", Some(holder), true),
        Asked::Released(holder) => ("released", holder.as_ref(), true),
        Asked::Unheard(holder) => ("unheard", Some(holder), false),
        _ => ("other", None, false),
    };
    if global.json {
        named["asked"] = name.into();
        named["holder"] = json!(holder.map(|holder| HolderJson::from(holder.as_ref())));
        output::print_json(&named)?;
    } else {
        let text = match (name, holder) {
            ("free", _) => "free, nobody to ask".to_string(),
            ("heard", Some(holder)) => format!("heard; it is {holder}"),
            ("released", Some(holder)) => format!("given back; by now it is {holder}"),
            ("released", None) => "given back; it is free".to_string(),
            ("unheard", Some(holder)) => format!("asked, and not heard yet; it is {holder}"),
            (_, Some(holder)) => format!("nobody to ask; it is {holder}"),
            (_, None) => "nobody to ask".to_string(),
        };
        output::line(format_args!("{what}: {text}"))?;
    }
    Ok(if is_done { Status::SUCCESS } else { Status::Exited(exit::BUSY) })
}
