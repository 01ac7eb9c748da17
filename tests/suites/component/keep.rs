//! Renewal in the background: in real time, because threads sleep. Leases are short, bounds are wide.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use kvlock::clock::{Clock, VirtualClock};
use kvlock::store::{Fault, Memory, Op, StoreError, Ttl};
use kvlock::{
    Client, LockGuard, Released, Session, Validity,
    error::GrantError,
    renewal::{AutoRenew, LostReason},
};

use crate::world::{millis, refused, secs};

const LEASE: Duration = millis(600);
/// Longer than anything takes here, on a machine that is busy with something else.
const PATIENCE: Duration = secs(20);

fn open() -> (Memory, Session, Session) {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let session = |owner: &str| client.session().owner(owner).open().unwrap();
    (store.clone(), session("one"), session("two"))
}

fn keep(session: &Session, options: AutoRenew) -> LockGuard {
    session.lock("k").lease(LEASE).acquire().unwrap().auto_renew(options)
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(millis(5));
    }
}

fn renewals(store: &Memory) -> usize {
    store.calls().iter().filter(|call| call.op == Op::Replace).count()
}

/// A place for losses to be told, and how often that was.
fn listener() -> (AutoRenew, mpsc::Receiver<LostReason>) {
    let (sender, receiver) = mpsc::channel();
    (AutoRenew::default().on_lost(move |loss| sender.send(loss.clone()).unwrap()), receiver)
}

#[test]
fn a_kept_grant_is_held_far_beyond_its_lease() {
    let (store, one, two) = open();
    let kept = keep(&one, AutoRenew::default());
    let started = Instant::now();
    wait_until("ten renewals", || {
        assert!(two.lock("k").try_acquire().unwrap().is_none(), "{:?}", store.calls());
        renewals(&store) >= 10
    });
    assert!(started.elapsed() > LEASE * 2, "renewed more often than needed: {:?}", started.elapsed());
    assert_eq!(kept.lost(), None);
    assert_eq!(kept.release(), Ok(Released::Freed));
}

#[test]
fn no_call_comes_after_the_release_or_the_drop() {
    for release in [true, false] {
        let (store, one, _) = open();
        let kept = keep(&one, AutoRenew::default());
        wait_until("a renewal", || renewals(&store) >= 1);
        if release {
            kept.release().unwrap();
        } else {
            drop(kept);
        }
        let calls = store.calls();
        assert_eq!(calls.last().unwrap().to_string(), "delete kvlock:lock:k -> deleted");
        std::thread::sleep(LEASE);
        assert_eq!(store.calls().len(), calls.len());
    }
}

#[test]
fn a_release_does_not_wait_for_the_next_renewal() {
    let (_, one, _) = open();
    let kept = one.lock("k").lease(secs(3600)).acquire().unwrap().auto_renew(AutoRenew::default());
    let started = Instant::now();
    kept.release().unwrap();
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn a_broken_lock_is_told_once_and_is_valid_no_more() {
    let (_, one, two) = open();
    let (options, losses) = listener();
    let kept = keep(&one, options);
    two.break_lock("k").unwrap();
    assert_eq!(losses.recv_timeout(PATIENCE).unwrap(), LostReason::Gone(None));
    assert_eq!(kept.lost(), Some(LostReason::Gone(None)));
    assert_eq!(kept.valid_for(), Some(Duration::ZERO));
    assert!(matches!(refused(kept.release()), GrantError::Lost { .. }));
    assert!(losses.recv().is_err(), "told twice");
}

#[test]
fn the_loss_names_the_present_holder() {
    let (_, one, two) = open();
    let kept = keep(&one, AutoRenew::default());
    let adopter = taken_over(&kept, &two);
    match &kept_loss(&kept) {
        LostReason::Gone(Some(holder)) => assert_eq!(holder.token, adopter.token()),
        other => panic!("{other}"),
    }
    drop(kept);
    assert!(matches!(adopter.validity(), Ok(Validity::Valid(_))), "the new holder is not affected");
}

/// Takes the lock from under a kept grant.
fn taken_over(kept: &LockGuard, other: &Session) -> kvlock::Grant {
    other.break_lock(kept.key()).unwrap();
    other.lock(kept.key()).lease(secs(3600)).acquire().unwrap()
}

fn kept_loss(kept: &LockGuard) -> LostReason {
    wait_until("a loss", || kept.lost().is_some());
    kept.lost().unwrap()
}

#[test]
fn an_outage_is_told_when_the_grant_ends_and_not_after_its_record() {
    let (store, one, two) = open();
    let (options, losses) = listener();
    let kept = keep(&one, options);
    store.down();
    wait_until("the end of its validity", || kept.valid_for() == Some(Duration::ZERO));
    assert!(matches!(kept.lost(), Some(LostReason::Expired(_))), "the moment that it is over it says so");
    let loss = losses.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(loss, LostReason::Expired(Some(StoreError::Unavailable(_)))), "{loss}");
    assert!(loss.to_string().contains("could not be renewed"), "{loss}");
    store.up();
    let next = two.lock("k").lease(secs(3600)).acquire().unwrap();
    assert!(next.token() > kept.token());
    drop(kept);
    assert!(matches!(next.validity(), Ok(Validity::Valid(_))));
}

#[test]
fn a_short_outage_is_ridden_out() {
    let (store, one, _) = open();
    let kept = one.lock("k").lease(secs(6)).acquire().unwrap().auto_renew(AutoRenew::default());
    store.script_for(Op::Replace, Fault::Unavailable);
    store.script_for(Op::Replace, Fault::LostReply);
    wait_until("a renewal after both faults", || store.scripted() == 0 && kept.valid_for() > Some(secs(5)));
    assert_eq!(kept.lost(), None);
    assert_eq!(kept.release(), Ok(Released::Freed));
}

#[test]
fn what_was_told_to_be_lost_stays_lost() {
    let (store, one, _) = open();
    let (options, losses) = listener();
    let kept = keep(&one, options);
    // The answer to the renewal comes after the lease that it renews, though the renewal was in time.
    store.script_for(Op::Replace, Fault::Slow(LEASE * 11 / 12));
    wait_until("the slow renewal", || store.scripted() == 0);
    let loss = kept_loss(&kept);
    std::thread::sleep(LEASE);
    assert!(kept.lost().is_some(), "first {loss}, and then no more");
    assert!(matches!(losses.recv_timeout(PATIENCE), Ok(LostReason::Expired(_))));
}

#[test]
fn the_longest_hold_is_told_while_the_last_lease_runs() {
    let (store, one, two) = open();
    let (options, losses) = listener();
    let started = Instant::now();
    let kept = one.lock("k").lease(secs(9)).acquire().unwrap().auto_renew(options.max_hold(millis(400)));
    assert_eq!(losses.recv_timeout(PATIENCE).unwrap(), LostReason::MaxHold);
    assert!(started.elapsed() >= millis(400), "{:?}", started.elapsed());
    assert_eq!(kept.lost(), Some(LostReason::MaxHold));
    assert!(kept.valid_for() > Some(Duration::ZERO), "there is time to stop");
    assert!(two.lock("k").try_acquire().unwrap().is_none());
    let calls = renewals(&store);
    std::thread::sleep(LEASE);
    assert_eq!(renewals(&store), calls, "it is renewed no more");
    assert_eq!(kept.release(), Ok(Released::Freed), "and still it is ours to release");
}

#[test]
fn the_time_told_never_exceeds_the_lease() {
    let (_, one, _) = open();
    let kept = keep(&one, AutoRenew::default());
    let started = Instant::now();
    while started.elapsed() < LEASE * 3 {
        let left = kept.valid_for().unwrap();
        assert!(left <= LEASE, "{left:?}");
    }
}

/// A clock that moves each time somebody looks.
struct Ticking {
    inner: VirtualClock,
    step: AtomicU64,
}

impl Clock for Ticking {
    fn now(&self) -> Duration {
        self.inner.advance(millis(self.step.load(Ordering::SeqCst)));
        self.inner.now()
    }

    fn sleep(&self, pause: Duration) {
        self.inner.sleep(pause);
    }
}

#[test]
fn the_time_told_does_not_grow_by_what_passes_while_it_is_asked_for() {
    let clock = Arc::new(Ticking { inner: VirtualClock::new(), step: AtomicU64::new(0) });
    let store = Memory::new(clock.clone());
    let session = Client::with_store(store).with_clock(clock.clone()).session().open().unwrap();
    let grant = session.lock("k").lease(secs(36_000)).acquire().unwrap();
    let Ok(Validity::Valid(left)) = grant.validity() else { panic!("it is held") };
    let deadline = clock.now() + left;
    clock.step.store(1000, Ordering::SeqCst);
    let kept = grant.auto_renew(AutoRenew::default());
    clock.step.store(0, Ordering::SeqCst);
    let told = clock.now() + kept.valid_for().unwrap();
    assert!(told <= deadline, "{told:?} is beyond {deadline:?}");
}

#[test]
fn a_lease_without_end_is_valid_without_end_while_it_is_kept() {
    let (store, one, _) = open();
    let kept = one.lock("k").lease(Ttl::Forever).acquire().unwrap().auto_renew(AutoRenew::default());
    let calls = store.calls().len();
    std::thread::sleep(millis(100));
    assert_eq!((kept.valid_for(), kept.lost()), (None, None));
    assert_eq!(store.calls().len(), calls);
    assert_eq!(kept.release(), Ok(Released::Freed));
}

#[test]
fn a_resumed_grant_is_confirmed_by_being_kept() {
    let (store, one, two) = open();
    let written = one.lock("k").lease(LEASE).acquire().unwrap().write_out().unwrap();
    let kept = two.resume(&written).unwrap().auto_renew(AutoRenew::default());
    wait_until("its first renewal", || {
        assert_eq!(kept.lost(), None, "what is not confirmed yet is not lost");
        renewals(&store) >= 1 && kept.valid_for() > Some(Duration::ZERO)
    });
    assert_eq!(kept.release(), Ok(Released::Freed));
}

#[test]
fn several_locks_of_one_session_are_kept_at_a_time_while_it_waits_for_another() {
    let (_, one, two) = open();
    let lost = Arc::new(AtomicBool::new(false));
    let kept: Vec<LockGuard> = (0..8)
        .map(|n| {
            let lost = lost.clone();
            let options = AutoRenew::default().on_lost(move |_| lost.store(true, Ordering::SeqCst));
            one.lock(format!("k{n}")).lease(secs(3)).acquire().unwrap().auto_renew(options)
        })
        .collect();
    let _other = two.lock("other").lease(secs(4)).acquire().unwrap();
    let waited = one.lock("other").acquire().unwrap();
    for kept in kept {
        assert_eq!(kept.release(), Ok(Released::Freed));
    }
    assert!(!lost.load(Ordering::SeqCst));
    drop(waited);
}

#[test]
fn a_kept_permit_of_a_semaphore_is_held_far_beyond_its_lease() {
    let (store, one, two) = open();
    let (one, two) = (one.semaphore("pool"), two.semaphore("pool"));
    one.make(1).run().unwrap();
    let kept = one.permit().lease(LEASE).acquire().unwrap().auto_renew(AutoRenew::default());
    wait_until("ten renewals", || {
        assert!(two.permit().try_acquire().unwrap().is_none(), "{:?}", store.calls());
        renewals(&store) >= 10
    });
    assert_eq!(kept.lost(), None);
    assert_eq!(kept.release(), Ok(Released::Freed));
    assert!(two.permit().try_acquire().unwrap().is_some());
}

#[test]
fn a_kept_permit_of_a_semaphore_that_is_broken_is_told_once() {
    let (_, one, two) = open();
    let (one, two) = (one.semaphore("pool"), two.semaphore("pool"));
    one.make(2).run().unwrap();
    let (options, losses) = listener();
    let broken = one.permit().lease(LEASE).acquire().unwrap();
    let number = broken.permit().unwrap();
    let broken = broken.auto_renew(options);
    let other = one.permit().lease(LEASE).acquire().unwrap().auto_renew(AutoRenew::default());
    two.break_permit(number).unwrap();
    assert_eq!(losses.recv_timeout(PATIENCE).unwrap(), LostReason::Gone(None));
    assert!(matches!(refused(broken.release()), GrantError::Lost { .. }));
    assert!(losses.recv().is_err(), "told twice");
    assert_eq!((other.lost(), other.release()), (None, Ok(Released::Freed)));
}
