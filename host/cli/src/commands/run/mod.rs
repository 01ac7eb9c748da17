//! `kvlock run`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use kvlock::{Grant, Session, WaitingFor, error::StatusError, soft::SOFT_PATIENCE, status::KeyState};

use crate::commands::run::retry::RetryArgs;
use crate::options::args::LockArgs;
use crate::options::command::CommandArgs;
use crate::options::global::Global;
use crate::report::exit::{Exit, Status};
use crate::report::output;
use crate::signals;
use crate::supervise::notes::Notes;
use crate::supervise::runner::{Runner, lost};
use crate::supervise::soft::{self, Soft};
use crate::wait::WaitContext;

mod retry;

/// Run a command while holding a lock
///
/// kvlock renews the lease in the background as long as the command runs. If the lock is lost nevertheless, the
/// command's process group gets TERM, and KILL before the lease can have ended; the exit code is then 74. Processes
/// with a group or session of their own (setsid, timeout, a nested kvlock run) are not reached.
///
/// The environment of the command has KVLOCK_KEY, KVLOCK_OWNER, KVLOCK_TOKEN (the fencing token) and KVLOCK_DEADLINE.
/// The deadline is the Unix time in whole seconds until which the first lease is certain to last. kvlock passes signals
/// on to its process group; stdin, stdout and stderr are its own. kvlock exits with its exit code, or dies of the
/// signal that it died of. If the command leaves processes running in its group, kvlock says so, and --linger decides
/// what happens to them.
///
/// With --also, it holds several keys, all or none, which are lost as one. KVLOCK_KEY and KVLOCK_TOKEN are those of KEY;
/// KVLOCK_TOKENS has the fencing tokens of all keys, as a JSON object of texts by key. Commands that want some of the same
/// keys do not end in a deadlock, whatever the order in which they name them. While kvlock waits for a key it holds
/// others.
///
/// With --soft, the command runs without the lock if the store is down or in quarantine, and goes on if the store goes
/// down or loses everything. It does not run if the lock is busy, nor go on if another holder got the lock. Without the
/// lock there is no KVLOCK_TOKEN.
///
/// With --retry-on, the command may run into a conflict with a writer that takes no lock, and says so by its exit code.
/// The lock then stays reserved for it and kvlock runs it again. KVLOCK_TRY is the number of the try.
#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    lock: LockArgs,
    /// Run at once if kvlock itself runs under `kvlock run` of the same key
    #[arg(long, env = "KVLOCK_REENTRANT", conflicts_with = "shared")]
    reentrant: bool,
    /// Run without the lock while the store is down or in quarantine, but never because it is busy
    #[arg(long, env = "KVLOCK_SOFT", conflicts_with = "retry_on")]
    soft: bool,
    /// Free the key at once, despite --at-least, if the command fails
    #[arg(long, env = "KVLOCK_UNLESS_FAILED")]
    unless_failed: bool,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    command: CommandArgs,
}

impl Run {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        let (sender, events) = signals::listen()?;
        let (name, LockArgs { hold, .. }) = (self.lock.name(), &self.lock);
        let wait = WaitContext::new(&name, &hold.wait, global, &events);
        let runner = Runner {
            command: &self.command,
            lease: hold.lease.into(),
            unless_failed: self.unless_failed,
            notes: Notes { key: &name, quiet: global.quiet },
            sender,
            events: &events,
        };
        if self.retry.is_wanted() {
            return self.retry.run(&runner, &wait, &self.lock, &global.session(hold.owner.as_deref())?);
        }
        match self.take(&wait, global) {
            Ok(Taken::Now(session, grant)) => {
                let keys = self.lock.keys().into_iter().map(str::to_string).collect();
                let soft = self.soft.then(|| Soft { session, keys, name: name.clone() });
                runner.run(grant, soft.as_ref())
            }
            Ok(Taken::ByParent) => run_nested(&runner),
            Err(error) => match soft::cause(&error).filter(|_| self.soft) {
                Some(cause) => self.run_unguarded(&runner, &cause),
                None => Err(error),
            },
        }
    }

    fn take(&self, wait: &WaitContext<'_>, global: &Global) -> Result<Taken> {
        let LockArgs { hold, .. } = &self.lock;
        let session = global.session(hold.owner.as_deref())?;
        let gives_up_softly = self.soft && !hold.wait.says_how_long_to_ride_out();
        if self.reentrant {
            let first = if gives_up_softly { Some(Duration::ZERO) } else { hold.wait.patience().first };
            let longest = first.into_iter().chain(hold.wait.limit()).min();
            let look = || parent(&session, &self.lock.keys());
            match wait.look(look, longest)? {
                Parent::Holds => return Ok(Taken::ByParent),
                Parent::Shares(key) => {
                    return Err(Exit::usage(format!(
                        "`{}` is shared, and this runs under a `kvlock run` of it: nobody has it alone in there; \
                         without --reentrant, `--shared` shares it once more",
                        output::short(&key)
                    ))
                    .into());
                }
                Parent::HoldsSome { held, wanted } => {
                    return Err(Exit::usage(format!(
                        "the `kvlock run` that this runs under has `{}` and not `{}`: to wait for a key inside may end \
                         in a deadlock; name it there as well, with --also",
                        output::short(&held),
                        output::short(&wanted)
                    ))
                    .into());
                }
                Parent::Other => {}
            }
        }
        let mut lock = self.lock.lock(&session);
        if self.reentrant {
            lock = lock.reentrant();
        }
        if gives_up_softly {
            // A store that never answered counts as down at once.
            lock = lock.ride_out(SOFT_PATIENCE).ride_out_first(Duration::ZERO);
        }
        if self.soft {
            lock = lock.give_up_in_quarantine();
        }
        let mut acquisition = lock.begin()?;
        let grant = wait.acquire(|| acquisition.poll(), hold)?;
        Ok(Taken::Now(session, grant))
    }

    /// Runs the command without a lock, because the store is down or in quarantine.
    fn run_unguarded(&self, runner: &Runner<'_>, cause: &WaitingFor) -> Result<Status> {
        if let Some(signal) = runner.pending_interrupt() {
            return Ok(Status::Killed(signal));
        }
        let LockArgs { key, hold, .. } = &self.lock;
        soft::say(&self.lock.name(), "there is no lock, and the command runs all the same", cause);
        let variables = [
            ("KVLOCK_KEY", Some(key.to_string().into())),
            ("KVLOCK_OWNER", hold.owner.as_ref().map(Into::into)),
            ("KVLOCK_TOKEN", None),
            ("KVLOCK_TOKENS", None),
            ("KVLOCK_DEADLINE", None),
            ("KVLOCK_PERMIT", None),
            ("KVLOCK_TRY", None),
        ];
        let child = runner.spawn(&variables, None)?;
        let end = runner.supervise(&child, None).ending_at(runner.end_at()).run()?;
        if let Some(loss) = end.loss {
            return Err(lost(key, loss, end.refused).into());
        }
        runner.note_left(child.group());
        Ok(end.status)
    }
}

/// The holder of the lock that the command runs under.
enum Taken {
    Now(Session, Grant),
    ByParent,
}

/// Runs the command under the lock of our parent. The parent renews it, and ends this process group, too, if the lock
/// is lost.
fn run_nested(runner: &Runner<'_>) -> Result<Status> {
    let child = runner.spawn(&[], None)?;
    let end = runner.supervise(&child, None).run()?;
    runner.note_left(child.group());
    Ok(end.status)
}

/// What a `kvlock run` that started us has of our keys.
enum Parent {
    /// It has all of them alone: their holders have the tokens of our environment.
    Holds,
    /// It has this key, and not that one.
    HoldsSome { held: String, wanted: String },
    /// Readers have this key. One of them may be the parent.
    Shares(String),
    /// There is none, or it has lost the lock.
    Other,
}

fn parent(session: &Session, keys: &[&str]) -> Result<Parent, StatusError> {
    let tokens = tokens_of_the_parent();
    let known: Vec<&str> = keys.iter().copied().filter(|key| tokens.contains_key(*key)).collect();
    if known.is_empty() {
        return Ok(Parent::Other);
    }
    let mut held = Vec::new();
    for (key, status) in known.iter().zip(session.statuses(&known)?) {
        match status.state {
            KeyState::Held(holder) if holder.readers > 0 => return Ok(Parent::Shares((*key).to_string())),
            KeyState::Held(holder) if tokens.get(*key) == Some(&holder.token.to_string()) => held.push(*key),
            _ => {}
        }
    }
    Ok(match (held.first(), keys.iter().find(|key| !held.contains(key))) {
        (Some(_), None) => Parent::Holds,
        (Some(held), Some(wanted)) => Parent::HoldsSome { held: (*held).to_string(), wanted: (*wanted).to_string() },
        (None, _) => Parent::Other,
    })
}

/// Returns the fencing tokens, by key, of the `kvlock run` that started us.
fn tokens_of_the_parent() -> HashMap<String, String> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let several = serde_json::from_str(&variable("KVLOCK_TOKENS")).unwrap_or_default();
    let one = (variable("KVLOCK_KEY"), variable("KVLOCK_TOKEN"));
    [one].into_iter().filter(|(key, _)| !key.is_empty()).chain::<HashMap<_, _>>(several).collect()
}
