//! `kvlock semaphore`.

mod run;

use anyhow::Result;
use clap::Subcommand;
use kvlock::status::{Asked, Broken};
use kvlock::{error::AcquireError, semaphore::SemaphoreStatus};
use serde_json::{Value, json};

use crate::commands::acquire;
use crate::commands::ask::{self, AskArgs};
use crate::commands::break_lock;
use crate::options::args::{Name, NameBefore, PermitArgs, WaitArgs, waiting};
use crate::options::global::Global;
use crate::report::exit::{Exit, Status};
use crate::report::output::{self, HolderJson};
use crate::signals;
use crate::wait::WaitContext;

const EXAMPLES: &str = "\
Examples:
  At most four of these at a time, on however many machines:
    kvlock semaphore make encoders 4
    kvlock semaphore run encoders -- ./encode.sh

  One more at a time, or two fewer once they are done:
    kvlock semaphore make encoders 5
    kvlock semaphore make encoders 2

  Who has permits?
    kvlock semaphore list
    kvlock semaphore status encoders";

/// Semaphores: locks with a limited number of holders
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Semaphore {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a semaphore, or give it another size
    ///
    /// It grows at once. When it shrinks, no new permits are granted until at most the new number are held, and --wait
    /// limits how long the command waits for that. If the wait ends first, the new size stands, and the exit code is
    /// 75.
    Make {
        #[command(flatten)]
        name: NameBefore,
        /// How many permits: 1 to 1000000
        #[arg(required_unless_present = "spelled_name", allow_negative_numbers = true, value_parser = permits)]
        permits: Option<u32>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Destroy a semaphore
    ///
    /// No permits are granted from now on, and the semaphore is gone when all are back. If --wait ends first, it stays
    /// closed, and the exit code is 75.
    Destroy {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Print all semaphores, with the numbers of their permits and of those held
    List,
    /// Print one semaphore, and who holds its permits
    Status {
        #[command(flatten)]
        name: Name,
    },
    Run(run::Run),
    /// Take a permit and print the grant, for `kvlock release` or `renew` in another process
    ///
    /// The grant is one word on stdout. The lease begins now, and only `kvlock renew` renews it. Anyone who has the
    /// word can release the permit.
    Acquire(PermitArgs),
    /// Ask the holder of a permit to give it back, and print whether it has heard
    ///
    /// As `kvlock ask` does for a lock. Exits with 75 if the holder has not heard it by the end of --wait.
    Ask {
        #[command(flatten)]
        name: NameBefore,
        /// The permit's number, as `status` prints it
        #[arg(required_unless_present = "spelled_name", allow_negative_numbers = true, value_parser = permit)]
        permit: Option<u32>,
        #[command(flatten)]
        how: AskArgs,
    },
    /// End another holder's permit by force, and print whose it was
    ///
    /// The permit is free at once. The holder notices at its next renewal and may be at work until then.
    Break {
        #[command(flatten)]
        name: NameBefore,
        /// The permit's number, as `status` prints it
        #[arg(required_unless_present = "spelled_name", allow_negative_numbers = true, value_parser = permit)]
        permit: Option<u32>,
        /// End only the grant with this token, as `status` prints it
        #[arg(long, value_name = "N", env = "KVLOCK_IF_TOKEN")]
        if_token: Option<u64>,
    },
}

/// The most permits that a semaphore can have, for the help. The component refuses more.
const MAX_PERMITS: u32 = 1_000_000;

fn permits(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_PERMITS).contains(number));
    number.ok_or_else(|| format!("give a name, and the number of its permits, in 1..={MAX_PERMITS}"))
}

fn permit(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "give a name, and the number of one of its permits, as `status` prints it".to_string())
}

impl Semaphore {
    pub(crate) fn prints_what_it_changed(&self) -> bool {
        !matches!(self.command, Command::Run(_) | Command::List | Command::Status { .. })
    }

    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        match self.command {
            Command::Make { name, permits, wait } => {
                let (name, permits) = name.with(permits, "<PERMITS>", self::permits)?;
                make(&name, permits, &wait, global)
            }
            Command::Destroy { name, wait } => destroy(&name, &wait, global),
            Command::List => list(global),
            Command::Status { name } => status(&name, global),
            Command::Run(run) => run.run(global),
            Command::Acquire(permit) => {
                let (_, events) = signals::listen()?;
                let PermitArgs { name, hold } = &permit;
                let session = global.session(hold.owner.as_deref())?;
                let mut acquisition = permit.apply(session.semaphore(&**name).permit()).begin()?;
                let grant = WaitContext::new(name, &hold.wait, global, &events).acquire(|| acquisition.poll(), hold)?;
                acquire::print(grant, global)
            }
            Command::Ask { name, permit, how } => {
                let (name, permit) = name.with(permit, "<PERMIT>", self::permit)?;
                ask_permit(&name, permit, &how, global)
            }
            Command::Break { name, permit, if_token } => {
                let (name, permit) = name.with(permit, "<PERMIT>", self::permit)?;
                break_permit(&name, permit, if_token, global)
            }
        }
    }
}

fn make(name: &str, permits: u32, wait: &WaitArgs, global: &Global) -> Result<Status> {
    let (_, events) = signals::listen()?;
    let session = global.session(None)?;
    let resizing = waiting!(session.semaphore(name).make(permits), wait).begin()?;
    let before = WaitContext::new(name, wait, global, &events).resize(resizing)?;
    if global.json {
        output::print_json(&json!({ "semaphore": name, "size": permits, "before": before }))?;
    } else {
        let count = if permits == 1 { "1 permit".to_string() } else { format!("{permits} permits") };
        output::line(match before {
            None => format!("{name}: made, {count}"),
            Some(before) if before == permits => format!("{name}: {count}, as before"),
            Some(before) => format!("{name}: {count}, {before} before"),
        })?;
    }
    Ok(Status::SUCCESS)
}

fn destroy(name: &str, wait: &WaitArgs, global: &Global) -> Result<Status> {
    let (_, events) = signals::listen()?;
    let session = global.session(None)?;
    let resizing = waiting!(session.semaphore(name).destroy(), wait).begin()?;
    let before = WaitContext::new(name, wait, global, &events).resize(resizing)?;
    if global.json {
        output::print_json(&json!({ "semaphore": name, "size": 0, "before": before }))?;
    } else {
        output::line(format_args!("{name}: destroyed"))?;
    }
    Ok(Status::SUCCESS)
}

fn list(global: &Global) -> Result<Status> {
    let session = global.session(None)?;
    let semaphores = session.semaphores()?;
    if semaphores.is_empty()
        && let Some(left) = session.status("of any key")?.quarantine
    {
        output::say(format_args!("there are no semaphores{}", output::quarantine(Some(left))));
    }
    for status in semaphores {
        if global.json {
            output::print_json(&as_json(&status))?;
        } else {
            output::line(format_args!("{}{}", headline(&status), owners(&status)))?;
        }
    }
    Ok(Status::SUCCESS)
}

fn status(name: &str, global: &Global) -> Result<Status> {
    let session = global.session(None)?;
    let Some(status) = session.semaphore(name).status()? else {
        let quarantine = output::quarantine(session.status(name)?.quarantine);
        return Err(unknown(name, &quarantine).into());
    };
    if global.json {
        output::print_json(&as_json(&status))?;
        return Ok(Status::SUCCESS);
    }
    output::line(headline(&status))?;
    for holder in &status.holders {
        let permit = holder.permit.unwrap_or_default();
        output::line(format_args!("  permit {permit}: {holder}; token {}", holder.token))?;
    }
    Ok(Status::SUCCESS)
}

/// Returns the error of a semaphore that nobody has made, or that the store has just lost.
fn unknown(name: &str, quarantine: &str) -> Exit {
    let error = AcquireError::UnknownSemaphore { key: name.to_string() };
    Exit::usage(format!("{error}{quarantine}")).about(error)
}

fn headline(SemaphoreStatus { name, size, holders, quarantine, .. }: &SemaphoreStatus) -> String {
    let (held, quarantine) = (holders.len(), output::quarantine(*quarantine));
    match size {
        0 => format!("{name}: being destroyed, {held} held{quarantine}"),
        size => format!("{name}: {held} of {size} permits held{quarantine}"),
    }
}

/// How many owners a line names. Of the others, it gives the number.
const NAMED: usize = 5;

fn owners(SemaphoreStatus { holders, .. }: &SemaphoreStatus) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let named: Vec<_> = holders.iter().take(NAMED).map(|holder| holder.owner.as_str()).collect();
    let more = holders.len().checked_sub(NAMED).filter(|more| *more > 0);
    format!(": {}{}", named.join(", "), more.map(|more| format!(" and {more} more")).unwrap_or_default())
}

fn as_json(SemaphoreStatus { name, size, holders, quarantine, .. }: &SemaphoreStatus) -> Value {
    let holders: Vec<_> = holders.iter().map(HolderJson::from).collect();
    let quarantine = quarantine.map(|left| left.as_secs_f64());
    json!({ "semaphore": name, "size": size, "held": holders.len(), "holders": holders, "quarantine": quarantine })
}

fn ask_permit(name: &str, permit: u32, how: &AskArgs, global: &Global) -> Result<Status> {
    let (_, events) = signals::listen()?;
    let semaphore = global.session(how.owner.as_deref())?.semaphore(name);
    let asked = how.ask(semaphore.ask_permit(permit), name, &events)?;
    if asked == Asked::Free {
        check_permit(&semaphore, permit)?;
    }
    let what = format!("{name}: permit {permit}");
    ask::print(&asked, &what, json!({ "semaphore": name, "permit": permit }), global)
}

/// Refuses a number that the semaphore does not have, and a semaphore that is not there.
fn check_permit(semaphore: &kvlock::Semaphore, permit: u32) -> Result<()> {
    let name = semaphore.name();
    match semaphore.status()? {
        None => Err(unknown(name, "").into()),
        Some(status) if (1..=permit).contains(&status.size) => {
            let last = status.size - 1;
            Err(Exit::usage(format!("`{name}` has no permit {permit}: the last of them is {last}")).into())
        }
        Some(_) => Ok(()),
    }
}

fn break_permit(name: &str, permit: u32, if_token: Option<u64>, global: &Global) -> Result<Status> {
    let semaphore = global.session(None)?.semaphore(name);
    let broken = match if_token {
        Some(token) => semaphore.break_permit_if(permit, token)?,
        None => semaphore.break_permit(permit)?,
    };
    if broken == Broken::Free {
        check_permit(&semaphore, permit)?;
    }
    if global.json {
        output::print_json(&break_lock::as_json(json!({ "semaphore": name, "permit": permit }), &broken))?;
    } else {
        output::line(break_lock::told(&format!("{name}: permit {permit}"), &broken))?;
    }
    Ok(break_lock::code(&broken))
}
