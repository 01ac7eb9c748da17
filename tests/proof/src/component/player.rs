//! A session of the component in a schedule, and what its user believes.

use std::collections::BTreeSet;
use std::time::Duration;

use kvlock::{
    AcquirePoll, Acquisition, Grant, Released, Session, Validity,
    error::{AcquireError, GrantError},
};
use kvlock_store_model::surely;

use super::board::Board;
use crate::promise::Promise;

/// The two keys of a schedule.
pub(crate) const KEYS: [&str; 2] = ["k", "l"];

/// A session and its user.
pub(crate) struct Player {
    pub(crate) number: usize,
    pub(crate) session: Session,
    pub(crate) wait: Option<Wait>,
    pub(crate) held: Vec<Held>,
    /// The tokens of holds of which a release failed: their depth is not known any more.
    unsure: BTreeSet<u64>,
}

/// An acquisition that is polled.
pub(crate) struct Wait {
    pub(crate) acquisition: Acquisition,
    key: &'static str,
    floor: u64,
    began: Duration,
    limit: Option<Duration>,
    pub(crate) due: Duration,
}

/// A grant.
pub(crate) struct Held {
    key: &'static str,
    grant: Grant,
}

impl Player {
    pub(crate) fn new(number: usize, session: Session) -> Self {
        Player { number, session, wait: None, held: Vec::new(), unsure: BTreeSet::new() }
    }

    /// Does something.
    pub(crate) fn step(&mut self, board: &Board) -> Result<(), Promise> {
        let now = board.now();
        let roll = board.roll(|dice| dice.below(100));
        let done = match (&self.wait, self.held.is_empty()) {
            (Some(wait), _) if roll < 50 && (wait.due <= now || roll < 5) => self.poll(board),
            (Some(_), _) if roll < 53 => {
                board.tell(|| format!("{} gives up waiting", self.number));
                self.wait = None;
                Ok(())
            }
            (_, false) if roll < 65 => self.renew(board),
            (_, false) if roll < 85 => self.release(board),
            (None, _) if roll < 95 => self.begin(board),
            _ if board.force && roll < 98 => self.break_lock(board),
            _ if roll < 99 => self.crash(board),
            _ => Ok(()),
        };
        self.believe(board);
        done
    }

    fn begin(&mut self, board: &Board) -> Result<(), Promise> {
        let key = KEYS[board.roll(|dice| dice.below(2)) as usize];
        let lease = board.roll(|dice| Duration::from_millis(500 + dice.below(9500)));
        let limit = board.roll(|dice| dice.percent(70).then(|| dice.millis(15_000)));
        let mut lock = self.session.lock(key).lease(lease);
        if let Some(limit) = limit {
            lock = lock.wait(limit);
        }
        if board.nested {
            lock = lock.reentrant();
        }
        if board.roll(|dice| dice.percent(10)) {
            lock = lock.at_least(board.roll(|dice| dice.millis(8000)));
        }
        if board.force && board.roll(|dice| dice.percent(30)) {
            lock = lock.adopt();
        }
        board.tell(|| format!("{} acquires {key} for {lease:?}, waits {limit:?}", self.number));
        let acquisition = lock.begin().map_err(|_| Promise::NoNonsense)?;
        let (floor, began) = (board.highest(key), board.now());
        self.wait = Some(Wait { acquisition, key, floor, began, limit, due: began });
        self.poll(board)
    }

    /// Goes on with the acquisition.
    pub(crate) fn poll(&mut self, board: &Board) -> Result<(), Promise> {
        let Some(mut wait) = self.wait.take() else { return Ok(()) };
        match wait.acquisition.poll() {
            Ok(AcquirePoll::Pending { pause, .. }) => {
                wait.due = board.now() + pause;
                let overdue = wait.limit.is_some_and(|limit| wait.due > wait.began + limit + Duration::from_secs(60));
                self.wait = Some(wait);
                if overdue { Err(Promise::WaitsAsAsked) } else { Ok(()) }
            }
            Ok(AcquirePoll::Ready(grant)) => self.granted(board, &wait, grant),
            Err(error) => {
                board.tell(|| format!("{} is told: {error}", self.number));
                match error {
                    AcquireError::Busy { waited, .. } if wait.limit.is_none_or(|limit| waited < limit) => {
                        Err(Promise::WaitsAsAsked)
                    }
                    AcquireError::Lost { .. } => self.lost(board, wait.key, None),
                    AcquireError::Component { .. } | AcquireError::Invalid { .. } | AcquireError::Corrupt { .. } => {
                        Err(Promise::NoNonsense)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn granted(&mut self, board: &Board, wait: &Wait, grant: Grant) -> Result<(), Promise> {
        let (key, token) = (wait.key, grant.token());
        board.tell(|| format!("{} is granted {key}, token {token}", self.number));
        let outer = self.held.iter().any(|held| held.key == key && held.grant.token() == token);
        self.held.push(Held { key, grant });
        // The session may hold yet what it failed to release.
        if outer || self.unsure.contains(&token) {
            return Ok(());
        }
        // Who was given it before us could be told after us, where locks are taken by force.
        let grows = token > wait.floor && (board.force || token > board.highest(key));
        board.count_grant(key, token);
        if grows { Ok(()) } else { Err(Promise::TokensGrow) }
    }

    fn renew(&mut self, board: &Board) -> Result<(), Promise> {
        let index = board.roll(|dice| dice.below(self.held.len() as u64)) as usize;
        let lease = board.roll(|dice| dice.percent(50).then(|| Duration::from_millis(500 + dice.below(9500))));
        let began = board.writes();
        let held = &mut self.held[index];
        let (key, token) = (held.key, held.grant.token());
        board.tell(|| format!("{} renews {key}, lease {lease:?}", self.number));
        let outcome = match lease {
            Some(lease) => {
                board.rely_until(self.number, key, board.now() + surely(lease));
                held.grant.renew_for(lease)
            }
            None => held.grant.renew(),
        };
        board.tell(|| format!("{} is told of its renewal: {outcome:?}", self.number));
        match outcome {
            Ok(()) if board.rewritten_since(began, token) => Ok(()),
            Ok(()) => Err(Promise::SuccessIsTrue),
            Err(GrantError::Lost { .. }) => self.lost(board, key, Some(token)),
            Err(GrantError::Store { .. }) => Ok(()),
            Err(_) => Err(Promise::NoNonsense),
        }
    }

    fn release(&mut self, board: &Board) -> Result<(), Promise> {
        let index = board.roll(|dice| dice.below(self.held.len() as u64)) as usize;
        let Held { key, grant } = self.held.remove(index);
        let token = grant.token();
        let left = self.held.iter().filter(|held| held.grant.token() == token && held.key == key).count();
        if left == 0 {
            board.stop_relying(self.number, key);
        }
        board.tell(|| format!("{} releases {key}", self.number));
        let outcome = grant.release();
        board.tell(|| format!("{} is told of its release: {outcome:?}", self.number));
        match outcome {
            Ok(Released::Nested(depth)) if depth as usize == left || self.unsure.contains(&token) => Ok(()),
            Ok(Released::Freed | Released::Kept(_)) if self.unsure.contains(&token) => Ok(()),
            // Players are polled, and nothing is handed over to who is.
            Ok(Released::HandedOver) => Err(Promise::SuccessIsTrue),
            Ok(Released::Freed | Released::Kept(_)) if left > 0 => Err(Promise::DepthIsRight),
            Ok(Released::Freed | Released::Kept(_)) if board.was_given_back(token) || !board.is_plain(token) => Ok(()),
            Ok(Released::Nested(_)) => Err(Promise::DepthIsRight),
            Ok(_) => Err(Promise::SuccessIsTrue),
            Err(GrantError::Lost { .. }) => self.lost(board, key, Some(token)),
            Err(GrantError::Store { .. }) => {
                // The library tries once to give a grant back; from here on the holds of this one are not counted.
                self.unsure.insert(token);
                Ok(())
            }
            Err(_) => Err(Promise::NoNonsense),
        }
    }

    /// It is told that it lost the lock: so it has. None: whatever it has of the key.
    fn lost(&mut self, board: &Board, key: &str, token: Option<u64>) -> Result<(), Promise> {
        let is_lost = |held: &Held| held.key == key && token.is_none_or(|token| token == held.grant.token());
        let stands = |held: &Held| board.stands_and_is_sure(self.number, key, held.grant.token());
        let says_valid = |held: &Held| matches!(held.grant.validity(), Ok(Validity::Valid(_) | Validity::Unlimited));
        let lost = || self.held.iter().filter(|held| is_lost(held));
        let (wrong, still) = (lost().any(stands), lost().any(says_valid));
        for held in self.held.extract_if(.., |held| is_lost(held)) {
            held.grant.forget();
        }
        match (wrong, still) {
            (true, _) => Err(Promise::LossIsTrue),
            (_, true) => Err(Promise::HonestValidity),
            _ => Ok(()),
        }
    }

    fn break_lock(&mut self, board: &Board) -> Result<(), Promise> {
        let key = KEYS[board.roll(|dice| dice.below(2)) as usize];
        let broken = self.session.break_lock(key);
        board.tell(|| format!("{} breaks {key}: {broken:?}", self.number));
        Ok(())
    }

    /// The process dies: nothing is released, and another comes in its place.
    pub(crate) fn crash(&mut self, board: &Board) -> Result<(), Promise> {
        board.tell(|| format!("{} crashes", self.number));
        self.abandon();
        for key in KEYS {
            board.stop_relying(self.number, key);
        }
        self.session = board.open(self.number).ok_or(Promise::NoNonsense)?;
        Ok(())
    }

    /// Lets go of everything without a call.
    pub(crate) fn abandon(&mut self) {
        self.wait = None;
        self.held.drain(..).for_each(|held| held.grant.forget());
    }

    /// Enters what its grants say of themselves.
    pub(crate) fn believe(&self, board: &Board) {
        let now = board.now();
        for key in KEYS {
            let grants = self.held.iter().filter(|held| held.key == key);
            let sure = grants.filter_map(|held| match held.grant.validity() {
                Ok(Validity::Valid(left)) => Some((now + left, held.grant.token())),
                _ => None,
            });
            board.believe(self.number, key, sure.max());
        }
    }
}
