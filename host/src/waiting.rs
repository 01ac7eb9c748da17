//! A wait, from its first poll to a grant: in the component, or in the line of those of this process who wait for the
//! same key, of whom only the first is in the component.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::component::{Claim, Guest, HandedOver, LockTerms, Pending, Progress, Target, Tried, WaitId, What};
use crate::error::AcquireError;
use crate::grant::Grant;
use crate::holder::WaitingFor;
use crate::line::{Heard, Limit, Lines, Place, Seat, Stay, Terms, Turn};
use crate::lock::Poll;
use crate::owner::Owner;
use crate::owner::validation;
use crate::ride_out::{Outage, RideOut};
use crate::wait_log::WaitLog;

/// What a wait remembers from one poll to the next.
pub(crate) struct Waiting {
    attempt: Arc<Attempt>,
    granted: Granted,
    ride_out: RideOut,
    outage: Outage,
    log: WaitLog,
    seat: Option<Seat>,
    /// How many grants the session had ever had when the component was asked last.
    asked_after: Option<u64>,
}

/// What is known of a grant before it is asked.
#[derive(Clone, Copy)]
pub(crate) enum Granted {
    /// It is a lock of this key in this session's name.
    Own,
    /// Nothing.
    Asked,
}

/// What is wanted by whom, and what there is of it in the session's instance.
pub(crate) struct Attempt {
    shared: Owner,
    key: String,
    target: Target,
    /// When it was polled first, by the clock: from then on the wait counts.
    started: OnceLock<Duration>,
    begun: Mutex<Option<Begun>>,
    /// It was granted or refused at the first try: there was nothing to begin.
    ended: AtomicBool,
    /// It may have what it waits for, by a write that nobody knows of. Only it can find out, so it waits for nobody.
    in_doubt: AtomicBool,
    /// Whether the store has ever answered the session.
    reached: AtomicBool,
    within_another: AtomicBool,
}

/// What was begun in the component.
#[derive(Clone, Copy)]
struct Begun {
    id: WaitId,
    /// How long it had been waited in line before.
    after: Duration,
}

impl Waiting {
    pub(crate) fn new(shared: Owner, key: String, target: Target, granted: Granted, ride_out: RideOut) -> Self {
        let shared = if shared.is_own_process() { shared } else { shared.here().clone() };
        let attempt = Attempt {
            shared,
            key,
            target,
            started: OnceLock::new(),
            begun: Mutex::new(None),
            ended: AtomicBool::new(false),
            in_doubt: AtomicBool::new(false),
            reached: AtomicBool::new(false),
            within_another: AtomicBool::new(false),
        };
        let (attempt, log, outage) = (Arc::new(attempt), WaitLog::default(), Outage::default());
        Waiting { attempt, granted, ride_out, outage, log, seat: None, asked_after: None }
    }

    /// Refuses what is not legal before anything is begun.
    pub(crate) fn check(&self) -> Result<(), AcquireError> {
        validation::check_target(&self.attempt.shared, &self.attempt.target, &self.attempt.key)
    }

    pub(crate) fn shared(&self) -> &Owner {
        &self.attempt.shared
    }

    pub(crate) fn key(&self) -> &str {
        &self.attempt.key
    }

    /// What there is of it in the component; none before it was asked for the first time.
    pub(crate) fn id(&self) -> Option<WaitId> {
        self.attempt.begun().map(|begun| begun.id)
    }

    /// Whether the try that was granted last is within one of another thread.
    pub(crate) fn is_within_another(&self) -> bool {
        self.attempt.within_another.load(Ordering::Relaxed)
    }

    /// Goes on as far as it can without sleeping.
    pub(crate) fn poll(&mut self) -> Result<Poll, AcquireError> {
        self.advance(Stay::Polled)
    }

    /// Goes on until the lock is held or will not be.
    pub(crate) fn block(&mut self) -> Result<Grant, AcquireError> {
        let stay = Stay::Blocked { looks_often: self.ride_out.is_limited() };
        loop {
            match self.advance(stay)? {
                Poll::Ready(grant) => return Ok(grant),
                Poll::Pending { pause, .. } => self.shared().clock().park(pause),
            }
        }
    }

    fn advance(&mut self, stay: Stay) -> Result<Poll, AcquireError> {
        let mut heard_at = self.shared().clock().now();
        let polled = self.turn(&mut heard_at, stay).and_then(|poll| self.bear(poll));
        match &polled {
            Ok(Poll::Pending { waiting_for, .. }) => {
                self.log.waiting(&self.attempt.key, heard_at, waiting_for);
                return polled;
            }
            Ok(Poll::Ready(grant)) => {
                let log = std::mem::take(&mut self.log);
                log.granted(self.key(), &**self.shared().clock(), grant.token());
            }
            Err(error) => tracing::debug!(key = self.key(), "not granted: {error}"),
        }
        self.seat = None;
        polled
    }

    /// Asks the component or waits in line; `now` becomes the time at which what it waits for was heard.
    fn turn(&mut self, now: &mut Duration, stay: Stay) -> Result<Poll, AcquireError> {
        let limit = self.attempt.limit(*now);
        // Or it would end, and be handed the lock all the same.
        let stands_up = || self.seat.as_ref().is_none_or(Seat::stand_up);
        if limit.never_waits || (self.must_ask() && stands_up()) {
            return self.ask(*now, limit, stay, None);
        }
        match self.look(*now, limit, stay)? {
            Turn::Ask => self.ask(*now, limit, stay, None),
            Turn::Take(handed) => self.ask(*now, limit, stay, Some(handed)),
            Turn::Wait { pause, heard } => {
                *now = heard.at;
                Ok(Poll::Pending { pause, waiting_for: heard.waiting_for.clone() })
            }
            Turn::Over(heard) => {
                let (waited, waiting_for) = (limit.waited(*now), heard.waiting_for.clone());
                if let WaitingFor::Outage(error) = waiting_for {
                    return Err(AcquireError::Store { key: self.attempt.key.clone(), error });
                }
                Err(AcquireError::Busy { key: self.attempt.key.clone(), waited, waiting_for })
            }
        }
    }

    /// Whether only the component can tell if there is anything to wait for: it may be to adopt, or the session may
    /// have got what it waits for by another of its calls, or by a write that was not answered.
    fn must_ask(&self) -> bool {
        let holds = self.shared().holds();
        self.attempt.is_in_doubt()
            || (self.attempt.target.takes_over() && self.asked_after.is_none())
            || (holds.is_any() && self.asked_after != Some(holds.ever()))
    }

    fn look(&mut self, now: Duration, limit: Limit, stay: Stay) -> Result<Turn, AcquireError> {
        let turn = self.seat.as_mut().and_then(|seat| seat.look(now, limit, stay));
        if let Some(turn) = turn {
            return Ok(turn);
        }
        // It was passed over for not being polled, or was never in line.
        self.seat = None;
        let lines = self.shared().lines();
        if lines.is_empty() {
            return Ok(Turn::Ask);
        }
        let Some(mut seat) = Lines::queue(lines, &self.attempt) else { return Ok(Turn::Ask) };
        if self.id().is_none() {
            self.check()?;
        }
        let turn = seat.look(now, limit, stay);
        self.seat = Some(seat);
        Ok(turn.unwrap_or(Turn::Ask))
    }

    /// Asks the component, which goes on from a hand-over if there was one.
    fn ask(
        &mut self,
        now: Duration,
        limit: Limit,
        stay: Stay,
        handed: Option<HandedOver>,
    ) -> Result<Poll, AcquireError> {
        self.asked_after = Some(self.shared().holds().ever());
        let (pause, waiting_for) = match self.attempt.ask(now, self.granted, handed)? {
            Poll::Pending { pause, waiting_for } => (pause, waiting_for),
            Poll::Ready(grant) => {
                self.leave_to(&grant);
                return Ok(Poll::Ready(grant));
            }
        };
        let since = self.shared().clock().now();
        if self.attempt.is_in_doubt() {
            if let Some(seat) = self.seat.take() {
                seat.hear(since, pause, Heard { at: now, waiting_for: waiting_for.clone() });
            }
            return Ok(Poll::Pending { pause, waiting_for });
        }
        let seat = self.seat.get_or_insert_with(|| Lines::join(self.attempt.shared.lines(), &self.attempt));
        seat.hear(since, pause, Heard { at: now, waiting_for: waiting_for.clone() });
        match seat.look(since, limit, stay) {
            Some(Turn::Wait { pause, .. }) => Ok(Poll::Pending { pause, waiting_for }),
            // It was handed over while the component was asked, which did not know.
            Some(Turn::Take(handed)) => self.ask(since, limit, stay, Some(handed)),
            // It is its turn already, or its wait is over: the next poll tells.
            Some(Turn::Ask | Turn::Over(_)) | None => {
                if let Stay::Polled = stay {
                    seat.promise(since);
                }
                Ok(Poll::Pending { pause: Duration::ZERO, waiting_for })
            }
        }
    }

    /// Leaves the line with a grant: those behind know without asking who is to be waited for.
    fn leave_to(&mut self, grant: &Grant) {
        let Some(seat) = self.seat.take() else { return };
        let now = self.shared().clock().now();
        match self.attempt.target.what {
            What::Lock(_) => {
                let holder = Box::new(grant.as_holder(self.attempt.target.lease));
                seat.leave(now, Some(Heard { at: now, waiting_for: WaitingFor::Holder(holder) }));
            }
            // There may be more permits where this one came from. And work that conflicts is not handed the lock: the
            // next of it stands in line in the store while the lock is held, or it would find there who has gone.
            What::Permit | What::Try(_) => seat.leave(now, None),
        }
    }

    /// Gives up if an outage has lasted longer than is to be ridden out, or in a quarantine if it is not to be.
    fn bear(&mut self, poll: Poll) -> Result<Poll, AcquireError> {
        if let Poll::Pending { waiting_for: waiting_for @ WaitingFor::Quarantine(_), .. } = &poll
            && self.ride_out.ends_in_quarantine()
        {
            let now = self.shared().clock().now();
            let (key, waited) = (self.attempt.key.clone(), self.attempt.limit(now).waited(now));
            return Err(AcquireError::Busy { key, waited, waiting_for: waiting_for.clone() });
        }
        let Poll::Pending { waiting_for: WaitingFor::Outage(error), .. } = &poll else {
            self.outage.over();
            return Ok(poll);
        };
        if self.attempt.reached.load(Ordering::Relaxed) {
            self.outage.reached();
        }
        if self.outage.is_borne(self.attempt.shared.clock().now(), self.ride_out) {
            return Ok(poll);
        }
        Err(AcquireError::Store { key: self.attempt.key.clone(), error: error.clone() })
    }
}

impl Attempt {
    pub(crate) fn place(&self) -> Place {
        Place::new(self.shared.namespace(), self.target.kind(), &self.key)
    }

    pub(crate) fn terms(&self) -> Terms {
        let Target { interval, lease, .. } = self.target;
        Terms { interval, lease, at_least: self.target.at_least(), quarantine: self.shared.quarantine() }
    }

    fn limit(&self, now: Duration) -> Limit {
        let started = *self.started.get_or_init(|| now);
        let wait = self.target.wait;
        Limit {
            started,
            end: wait.map(|wait| started.saturating_add(wait)),
            never_waits: wait.is_some_and(|wait| wait.is_zero()),
        }
    }

    /// What it waits for may be its own already.
    pub(crate) fn doubt(&self) {
        self.in_doubt.store(true, Ordering::Relaxed);
    }

    fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }

    fn begun(&self) -> Option<Begun> {
        *self.begun.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What there is of it in the component, begun now if there is nothing yet.
    fn begin(&self, guest: &mut Guest, now: Duration) -> Result<Begun, AcquireError> {
        if let Some(begun) = self.begun() {
            return Ok(begun);
        }
        let after = self.waited(now);
        let begun = Begun { id: guest.begin(&self.key, &self.target, after)?, after };
        self.note(begun);
        Ok(begun)
    }

    fn waited(&self, now: Duration) -> Duration {
        now.saturating_sub(*self.started.get_or_init(|| now))
    }

    fn ask(&self, now: Duration, granted: Granted, handed: Option<HandedOver>) -> Result<Poll, AcquireError> {
        if !self.shared.is_own_process() {
            let ended = "this acquisition is of the process before the fork; begin another".to_string();
            return Err(AcquireError::Invalid(ended));
        }
        self.shared.call(&self.key, |guest| {
            self.shared.release_again::<AcquireError>(guest, &self.key)?;
            if let (What::Lock(lock), None, None) = (&self.target.what, handed, self.begun()) {
                return self.try_lock(guest, lock, self.waited(now), granted);
            }
            let begun = self.begin(guest, now)?;
            if let Some(handed) = handed {
                guest.take(&self.key, begun.id, handed)?;
            }
            let progress = guest.poll(&self.key, &self.target, begun.id);
            self.poll_of(guest, progress, granted, begun.after)
        })
    }

    /// Begins and tries once: of a lock that is free nothing stays behind in the component but its grant.
    fn try_lock(
        &self,
        guest: &mut Guest,
        lock: &LockTerms,
        after: Duration,
        granted: Granted,
    ) -> Result<Poll, AcquireError> {
        if self.ended.swap(true, Ordering::Relaxed) {
            let ended = "this acquisition has ended; begin another".to_string();
            return Err(AcquireError::Invalid(ended));
        }
        let progress = guest.try_lock(&self.key, &self.target, lock, after).map(|tried| match tried {
            Tried::Granted(granted) => Progress::Granted(granted),
            Tried::Waiting(id, pending) => {
                self.note(Begun { id, after });
                Progress::Pending(pending)
            }
        });
        self.poll_of(guest, progress, granted, after)
    }

    fn note(&self, begun: Begun) {
        *self.begun.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(begun);
    }

    /// What to write to hand the lock over to it; none if it is no lock, or its session is inside a call: nobody waits
    /// for that.
    pub(crate) fn claim(&self) -> Option<Claim> {
        if !matches!(self.target.what, What::Lock(_)) {
            return None;
        }
        let now = self.shared.clock().now();
        let claimed = self.shared.try_call(&self.key, |guest| match self.begin(guest, now) {
            Ok(begun) => guest.claim(&self.key, begun.id),
            Err(error) => Err(error),
        });
        // One that fails is found out by its own thread.
        claimed?.ok()?
    }

    /// Takes in its place what was handed over to it when it had gone, and gives it back.
    pub(crate) fn decline(&self, handed: HandedOver) {
        let declined = self.shared.call(&self.key, |guest| {
            let Some(begun) = self.begun() else { return Ok(()) };
            guest.take(&self.key, begun.id, handed)?;
            let Progress::Granted(granted) = guest.poll(&self.key, &self.target, begun.id)? else {
                return Err(AcquireError::Invalid("its wait has ended".to_string()));
            };
            // What fails here ends with its lease, as does any release that fails.
            let _ = guest.release(&self.key, granted.grant, None);
            guest.drop_resource(granted.grant);
            Ok(())
        });
        if let Err(error) = declined {
            tracing::warn!(key = self.key, "a lock that was handed over is not given back: {error}");
        }
    }

    fn poll_of(
        &self,
        guest: &mut Guest,
        progress: Result<Progress, AcquireError>,
        known: Granted,
        in_line: Duration,
    ) -> Result<Poll, AcquireError> {
        if guest.is_in_doubt() {
            self.doubt();
        }
        self.reached.fetch_or(guest.has_reached_the_store(), Ordering::Relaxed);
        match progress {
            Ok(Progress::Pending(Pending { pause, waiting_for })) => Ok(Poll::Pending { pause, waiting_for }),
            Ok(Progress::Granted(granted)) => {
                // Work that may conflict waits again, and is in its own line then.
                self.in_doubt.store(false, Ordering::Relaxed);
                // While the session is ours: whoever gets it next is within this try, and knows.
                let is_apart = matches!(self.target.what, What::Try(_)) && !self.shared.tries().begin(&self.key);
                self.within_another.store(is_apart, Ordering::Relaxed);
                Ok(Poll::Ready(match known {
                    Granted::Own => Grant::own(&self.shared, self.key.clone(), granted),
                    Granted::Asked => Grant::of(&self.shared, guest.facts::<AcquireError>(&self.key, granted.grant)?),
                }))
            }
            Err(error) => Err(error.later_by(in_line)),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // In a fork a thread that is not there may have it locked.
        if !self.shared.is_own_process() {
            return;
        }
        if let Some(begun) = self.begun() {
            self.shared.drop_resource(begun.id);
        }
    }
}
