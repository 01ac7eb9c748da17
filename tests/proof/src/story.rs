//! A run as a person reads it: one line for each step, with the time, who, what was sent, what was answered, and what
//! each owner believes then.

use kvlock_machine::{
    AcquireError, AskState, Asked, Broken, DeleteOutcome, GrantError, Released, Reply, Request, Ttl, Version,
    WriteOutcome,
};

use crate::act::Act;
use crate::ask::AskText;
use crate::line::{is_line, tickets};
use crate::owner::End;
use crate::plan::{Deed, Scenario};
use crate::truth::Mark;
use crate::world::World;

/// Where a run is told, if anybody listens.
#[derive(Debug, Default)]
pub(crate) struct Story {
    lines: Option<Vec<String>>,
}

impl Story {
    /// Nobody listens.
    pub(crate) fn silent() -> Self {
        Story { lines: None }
    }

    /// The run is written down.
    pub(crate) fn told() -> Self {
        Story { lines: Some(Vec::new()) }
    }

    /// The lines of a run from its beginning on.
    pub(crate) fn of<W, A>(mut world: W, acts: &[A], mut act: impl FnMut(&mut W, &A, &mut Story)) -> (W, Vec<String>) {
        let mut story = Story::told();
        acts.iter().for_each(|next| act(&mut world, next, &mut story));
        (world, story.into_lines())
    }

    /// What was written down.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }

    /// Adds to the last line.
    pub(crate) fn line(&mut self, text: impl FnOnce() -> String) {
        if let Some(last) = self.lines.as_mut().and_then(|lines| lines.last_mut()) {
            if !last.ends_with(": ") {
                last.push_str("; ");
            }
            last.push_str(&text());
        }
    }

    /// Begins a line of somebody's.
    pub(crate) fn moment(&mut self, at: std::time::Duration, who: &str) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} s  {who}: ", at.as_secs_f64()));
        }
    }

    /// Begins a line.
    pub(crate) fn begin(&mut self, world: &World, scenario: &Scenario, act: &Act) {
        let Some(lines) = &mut self.lines else { return };
        let who = |o: &usize| format!("{}{}", scenario.owners[*o].name, o + 1);
        let text = match act {
            Act::Tick => format!("time goes on to {:.3} s", scenario.at(world.now + 1).as_secs_f64()),
            Act::Begin(o, _) => format!("{}: ", who(o)),
            Act::Execute(o, l) | Act::ExecuteSlowly(o, l) => {
                let op = world.owners[*o].lanes[*l].op.as_ref();
                let sent =
                    op.and_then(|op| if let crate::owner::Phase::Sent(sent) = &op.phase { Some(sent) } else { None });
                format!("the store executes {}'s {}", who(o), sent.map(request).unwrap_or_default())
            }
            Act::Hear(o, _) => format!("{} hears the answer: ", who(o)),
            Act::LoseReply(o, _) => format!("the answer to {} is lost; it hears unknown-outcome: ", who(o)),
            Act::GiveUpOn(o, _) => format!("{}'s request is slow; it hears unknown-outcome: ", who(o)),
            Act::CannotSend(o, _) => format!("{} cannot send; it hears unavailable: ", who(o)),
            Act::Refuse(o, _) => format!("the store refuses; {} hears rejected: ", who(o)),
            Act::Drop(o, _) => format!("{} gives up what it is doing", who(o)),
            Act::Crash(o) => format!("{} crashes", who(o)),
            Act::Arrive(index) => {
                let flight = &world.late[*index];
                format!("the store executes {}'s late {}", who(&flight.source.owner), request(&flight.request))
            }
            Act::Expire(key) => format!("the store drops {key}, whose time is over"),
            Act::Hint(o, _) => format!("the store tells {} that the key was freed", scenario.owners[*o].name),
            Act::Evict(key) => format!("the store evicts {key}"),
            Act::LoseAll => "the store loses everything: a new era".into(),
        };
        lines.push(format!("{:>9.3} s  {text}", scenario.at(world.now).as_secs_f64()));
    }

    /// Somebody's pause is over.
    pub(crate) fn wakes(&mut self, scenario: &Scenario, o: usize) {
        self.line(|| format!("{}{} wakes", scenario.owners[o].name, o + 1));
    }

    pub(crate) fn deed(&mut self, _: usize, deed: &Deed) {
        self.line(|| match deed {
            Deed::Acquire(want) => {
                let lease = want.lease.map_or("for ever".into(), |lease| format!("{lease:?}"));
                let wait = want.wait.map_or("for ever".into(), |wait| format!("{wait:?}"));
                let nested = if want.nested { ", re-entrant" } else { "" };
                let adopt = if want.adopt { ", adopting" } else { "" };
                let least =
                    if want.at_least.is_zero() { String::new() } else { format!(", at least {:?}", want.at_least) };
                format!("acquires {} (lease {lease}, waits {wait}{nested}{adopt}{least})", want.key)
            }
            Deed::Renew(key, lease) => format!("renews {key} (lease {lease:?})"),
            Deed::Release(key) => format!("releases {key}"),
            Deed::ReleaseTo(key) => format!("releases {key} to whoever waits for it"),
            Deed::Break(key) => format!("breaks {key}"),
            Deed::Ask(key) => format!("asks for {key}"),
            Deed::Follow(key) => format!("looks at what became of its ask for {key}"),
            Deed::Hear(key) => format!("looks whether somebody asks for {key}"),
            Deed::HandOver(_) | Deed::WriteOut(_) | Deed::TakeUp => format!("{deed:?}"),
        });
    }

    pub(crate) fn executed(&mut self, answer: &Reply) {
        self.line(|| format!("-> {}", reply(answer)));
    }

    /// What each owner believes, and what is in the store.
    pub(crate) fn beliefs(&mut self, world: &World, scenario: &Scenario) {
        if self.lines.is_none() {
            return;
        }
        let now = scenario.at(world.now);
        let mut beliefs = Vec::new();
        for (o, owner) in world.owners.iter().enumerate() {
            for grant in owner.relied_on() {
                let validity = owner.session.validity(grant, crate::owner::time(now));
                let name = scenario.owners[o].name;
                beliefs.push(format!("{name}{}: {} {validity:?}, token {}", o + 1, grant.key(), grant.token()));
            }
        }
        if !beliefs.is_empty() {
            self.line(|| format!("   [{}]", beliefs.join(" | ")));
        }
    }
}

fn version(version: &Version) -> String {
    format!("v{}.{}", version.era, version.number)
}

fn record(value: &[u8], at: Version) -> String {
    if let Some(tickets) = tickets(value) {
        return format!("the line of {}", tickets.join(", "));
    }
    if let Some(ask) = AskText::read(value) {
        return format!("an ask of {:?}, heard by {:?}", ask.of, ask.heard);
    }
    match Mark::read(value, at) {
        Some(mark) => format!("{}'s record {}, depth {}", mark.owner, mark.nonce as u64, mark.depth),
        None => "a foreign value".into(),
    }
}

fn ttl(ttl: &Ttl) -> String {
    match ttl {
        Ttl::After(length) => format!("{length:?}"),
        Ttl::Forever => "for ever".into(),
    }
}

/// A request in a few words.
pub(crate) fn request(request: &Request) -> String {
    let nowhere = Version { era: 0, number: 0 };
    match request {
        Request::Get { key } => format!("get {key}"),
        Request::GetMany { keys } => format!("get {}", keys.join(", ")),
        Request::Add { key, value, ttl: length } => {
            let what = if is_line(key) { "join" } else { "add" };
            format!("{what} {key} ({}) for {}", record(value, nowhere), ttl(length))
        }
        Request::Replace { key, value, ttl: length, if_version } => {
            let what = if is_line(key) { "join" } else { "replace" };
            format!("{what} {key} if {} ({}) for {}", version(if_version), record(value, nowhere), ttl(length))
        }
        Request::Delete { key, if_version } => format!("delete {key} if {}", version(if_version)),
        Request::Era { .. } => "era".into(),
        Request::All(requests) => requests.iter().map(self::request).collect::<Vec<_>>().join("; "),
    }
}

/// An answer in a few words.
pub(crate) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Entry(Ok(None)) => "nothing there".into(),
        Reply::Entry(Ok(Some(entry))) => {
            format!("{}, {}", version(&entry.version), record(&entry.value, entry.version))
        }
        Reply::Entries(Ok(entries)) => {
            let each = entries.iter().map(|entry| match entry {
                Some(entry) => format!("{}, {}", version(&entry.version), record(&entry.value, entry.version)),
                None => "nothing there".into(),
            });
            each.collect::<Vec<_>>().join(" and ")
        }
        Reply::Write(Ok(WriteOutcome::Written(at))) => format!("written, {}", version(at)),
        Reply::Write(Ok(WriteOutcome::Conflict(Some(at)))) => format!("conflict with {}", version(at)),
        Reply::Write(Ok(WriteOutcome::Conflict(None))) => "conflict".into(),
        Reply::Write(Ok(WriteOutcome::Absent)) | Reply::Delete(Ok(DeleteOutcome::Absent)) => "absent".into(),
        Reply::Delete(Ok(DeleteOutcome::Deleted)) => "deleted".into(),
        Reply::Delete(Ok(DeleteOutcome::Conflict(_))) => "conflict".into(),
        Reply::Era(Ok(era)) => format!("era {}, lossless for {:?}", era.id, era.lossless_for),
        Reply::All(replies) => replies.iter().map(self::reply).collect::<Vec<_>>().join("; "),
        Reply::Entry(Err(error)) | Reply::Entries(Err(error)) => error.to_string(),
        Reply::Write(Err(error)) | Reply::Delete(Err(error)) | Reply::Era(Err(error)) => error.to_string(),
    }
}

/// An outcome in a few words.
pub(crate) fn end(end: &End) -> String {
    match end {
        End::Acquired(Ok(grant)) => format!("is granted it, token {}", grant.token()),
        End::Acquired(Err(AcquireError::Busy { waited, .. })) => format!("is told busy after {waited:?}"),
        End::Acquired(Err(error)) => format!("is told: {error}"),
        End::Renewed(Ok(())) => "is told it is renewed".into(),
        End::Renewed(Err(error)) => format!("is told of its renewal: {error}"),
        End::Released(Ok(Released::Freed)) => "is told it is released".into(),
        End::Released(Ok(Released::Nested(depth))) => format!("is told one hold ended, {depth} left"),
        End::Released(Ok(Released::Kept(left))) => format!("is told it is released and kept for {left:?}"),
        End::Released(Ok(Released::HandedOver(_))) => "is told it is handed over".into(),
        End::Released(Err(GrantError::Lost(_))) => "is told at its release: the lock was lost".into(),
        End::Released(Err(error)) => format!("is told of its release: {error}"),
        End::Broke(Ok(Broken::Ended(holder))) => {
            format!("is told it broke {}'s grant, token {}", holder.owner, holder.token)
        }
        End::Broke(Ok(Broken::Other(holder))) => format!("is told {} has it by now", holder.owner),
        End::Broke(Ok(Broken::Free)) => "is told nobody had it".into(),
        End::Broke(Err(error)) => format!("is told of its break: {error}"),
        End::Asked(Ok(Asked::Placed(_, holder))) => format!("is told it asks {}", holder.owner),
        End::Followed(Ok(AskState::Heard(holder))) => format!("is told {} has heard it", holder.owner),
        End::Heard(Ok(Some(ask))) => format!("is told {} asks for it", ask.owner),
        End::Asked(outcome) => format!("is told of its ask: {outcome:?}"),
        End::Followed(outcome) => format!("is told of its ask: {outcome:?}"),
        End::Heard(outcome) => format!("is told of asks: {outcome:?}"),
    }
}
