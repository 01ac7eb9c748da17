//! Handing a lock over: one write, under the version that was the holder's; and whatever is lost on the way, never two
//! holders and never a lock that nobody knows to be his.

mod support;

use std::time::Duration;

use kvlock_machine::{
    Acquire, AcquireError, Claim, Grant, GrantError, HandedOver, Key, Mode, Nonce, Release, Released, StoreError,
    Validity, Version, WaitingFor,
};
use support::{Fault, Op, Owner, World, lease, millis, nested, once, secs, waiting};

/// A holder of `k` for ten seconds, and somebody who waits for it with a lease of five.
struct Two {
    world: World,
    holder: Owner,
    grant: Grant,
    next: Owner,
    waiting: Op<Acquire>,
}

impl Two {
    fn new() -> Self {
        Two::with(once(10), waiting(5, secs(60)))
    }

    fn with(held: kvlock_machine::LockOptions, wanted: kvlock_machine::LockOptions) -> Self {
        let mut world = World::new();
        let (holder, next) = (world.acquainted("holder"), world.acquainted("next"));
        let grant = world.acquire(holder, "k", held).unwrap();
        let mut waiting = world.acquiring(next, "k", wanted);
        world.run_for(millis(10), &mut [&mut waiting]);
        world.calls();
        Two { world, holder, grant, next, waiting }
    }

    fn release(&mut self) -> Result<Released, GrantError> {
        self.world.release_to(self.holder, &self.grant, &mut self.waiting)
    }

    #[track_caller]
    fn hand_over(&mut self) -> HandedOver {
        handed(self.release())
    }

    /// The wait goes on from a hand-over, to its end.
    fn take(mut self, handed: HandedOver) -> (World, Owner, Result<Grant, AcquireError>) {
        self.waiting.hand(&self.world, handed);
        let outcome = self.world.finish(self.waiting);
        (self.world, self.next, outcome)
    }
}

#[track_caller]
fn handed(released: Result<Released, GrantError>) -> HandedOver {
    match released {
        Ok(Released::HandedOver(handed)) => handed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lock_is_handed_over_by_one_write_and_is_never_free() {
    let mut two = Two::new();
    let (handed, old) = (two.hand_over(), two.grant.clone());
    assert_eq!(two.world.calls(), ["replace"]);
    let holder = two.holder;
    let (mut world, next, grant) = two.take(handed);
    let grant = grant.unwrap();
    assert_eq!(world.calls(), [""; 0]);
    assert!(grant.token() > old.token() && grant.owner() == "next");
    assert_eq!(grant.token(), handed.version.token());
    assert!(matches!(world.validity(next, &grant), Validity::Valid(_)));
    assert_eq!(world.validity(holder, &old), Validity::Lost);
    assert_eq!(world.renew(next, &grant), Ok(()));
    assert_eq!(world.release(next, &grant), Ok(Released::Freed));
}

#[test]
fn the_record_is_the_successors_with_its_lease_and_mode() {
    let wanted = waiting(7, secs(60)).mode(Mode::Reentrant);
    let mut two = Two::with(once(10), wanted);
    let handed = two.hand_over();
    let text = two.world.servers.text("k", two.world.now).unwrap();
    for line in ["owner: next", "mode: reentrant", "depth: 1", "lease: 7s"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(!text.contains("token:"), "its token is that of this write: {text}");
    let (mut world, next, grant) = two.take(handed);
    let inner = world.acquire(next, "k", nested(7)).unwrap();
    assert_eq!(inner.token(), grant.unwrap().token());
}

#[test]
fn the_lease_counts_from_when_the_write_was_sent() {
    let mut two = Two::new();
    two.world.script([Fault::SlowReply(secs(2))]);
    let sent = two.world.time();
    let handed = two.hand_over();
    assert_eq!(handed.sent, sent);
    two.world.advance(secs(1));
    let (world, next, grant) = two.take(handed);
    assert_eq!(world.validity(next, &grant.unwrap()), Validity::Valid(millis(4990) - secs(3)));
}

#[test]
fn a_hand_over_that_is_told_from_the_future_counts_from_now() {
    let mut two = Two::new();
    let handed = two.hand_over();
    let future = HandedOver { sent: handed.sent.after(secs(100)), ..handed };
    let (world, next, grant) = two.take(future);
    assert_eq!(world.validity(next, &grant.unwrap()), Validity::Valid(millis(4990)));
}

#[test]
fn only_the_outermost_hold_is_handed_over() {
    let mut two = Two::with(nested(10), waiting(5, secs(60)));
    let inner = two.world.acquire(two.holder, "k", nested(10)).unwrap();
    let released = two.world.release_to(two.holder, &inner, &mut two.waiting);
    assert_eq!(released, Ok(Released::Nested(1)));
    two.hand_over();
}

#[test]
fn a_minimum_hold_is_kept_and_not_handed_over() {
    let mut two = Two::with(once(10).at_least(secs(8)).unwrap(), waiting(5, secs(60)));
    assert!(matches!(two.release(), Ok(Released::Kept(_))));
}

#[test]
fn the_successors_minimum_hold_counts_from_the_hand_over() {
    let mut two = Two::with(once(10), waiting(5, secs(60)).at_least(secs(8)).unwrap());
    let handed = two.hand_over();
    two.world.advance(secs(1));
    let (mut world, next, grant) = two.take(handed);
    assert_eq!(world.release(next, &grant.unwrap()), Ok(Released::Kept(secs(7))));
}

#[test]
fn a_claim_for_another_key_only_frees_the_lock() {
    let mut two = Two::new();
    let mut other = two.world.acquiring(two.next, "other", waiting(5, secs(60)));
    assert_eq!(two.world.release_to(two.holder, &two.grant, &mut other), Ok(Released::Freed));
    assert!(two.world.servers.text("other", two.world.now).is_none());
}

#[test]
fn a_hand_over_whose_reply_is_lost_is_a_release_and_the_successor_finds_its_record() {
    let mut two = Two::new();
    two.world.script([Fault::LostReply]);
    assert_eq!(two.release(), Ok(Released::Freed));
    assert_eq!(two.world.calls(), ["replace", "get"]);
    let began = two.world.now;
    let grant = two.world.finish(two.waiting).unwrap();
    assert!(two.world.now < began + millis(50) && grant.owner() == "next");
    assert_eq!(two.world.calls(), ["add", "get-many", "replace"]);
}

#[test]
fn a_late_add_of_the_successor_does_not_pass_for_the_hand_over() {
    let mut world = World::new();
    let (holder, next, breaker) = (world.acquainted("holder"), world.timeless("next"), world.acquainted("breaker"));
    let grant = world.acquire(holder, "k", once(10)).unwrap();
    let mut waiting = world.acquiring(next, "k", waiting(5, secs(60)));
    world.script([Fault::Late(secs(1))]);
    world.run_for(millis(900), &mut [&mut waiting]);
    world.break_lock(breaker, "k").unwrap();
    world.advance(millis(200)); // the add arrives, and its lease begins
    world.advance(secs(4));
    world.script([Fault::LostRequest]);
    let released = world.release_to(holder, &grant, &mut waiting);
    assert!(!matches!(released, Ok(Released::HandedOver(_))), "{released:?}");
}

#[test]
fn a_hand_over_whose_request_is_lost_is_sent_again() {
    let mut two = Two::new();
    two.world.script([Fault::LostRequest]);
    let handed = two.hand_over();
    assert_eq!(two.world.calls(), ["replace", "get", "replace"]);
    assert!(two.take(handed).2.is_ok());
}

#[test]
fn a_hand_over_of_unknown_outcome_says_so_and_the_successor_finds_its_record() {
    let mut two = Two::new();
    two.world.script([Fault::LostReply]);
    two.world.weather = Fault::Unavailable;
    let released = two.release();
    assert!(matches!(released, Err(GrantError::Store(StoreError::UnknownOutcome(_)))), "{released:?}");
    assert_eq!(two.world.validity(two.holder, &two.grant), Validity::Unconfirmed);
    two.world.weather = Fault::Fine;
    let (began, owner) = (two.world.now, two.next);
    let grant = two.world.finish(two.waiting).unwrap();
    assert!(two.world.now < began + millis(200), "it looks as soon as it finds the lock taken");
    assert!(matches!(two.world.validity(owner, &grant), Validity::Valid(_)));
    assert_eq!(two.world.release(two.holder, &two.grant), Ok(Released::Freed), "it is not the holder's any more");
    assert_eq!(two.world.release(owner, &grant), Ok(Released::Freed));
}

#[test]
fn a_hand_over_that_did_not_happen_can_be_released_after_all() {
    let mut two = Two::new();
    two.world.script([Fault::LostRequest]);
    two.world.weather = Fault::Unavailable;
    assert!(matches!(two.release(), Err(GrantError::Store(StoreError::UnknownOutcome(_)))));
    two.world.weather = Fault::Fine;
    assert_eq!(two.world.release(two.holder, &two.grant), Ok(Released::Freed));
    assert!(two.world.finish(two.waiting).is_ok());
}

#[test]
fn a_hand_over_that_arrives_late_is_void_once_the_lock_was_released() {
    let mut two = Two::new();
    two.world.script([Fault::Late(secs(30))]);
    two.world.weather = Fault::Unavailable;
    assert!(two.release().is_err());
    two.world.weather = Fault::Fine;
    assert_eq!(two.world.release(two.holder, &two.grant), Ok(Released::Freed));
    two.world.advance(secs(40));
    assert!(two.world.servers.text("k", two.world.now).is_none());
}

#[test]
fn a_successor_that_took_its_record_by_itself_is_no_loss_to_its_predecessor() {
    let mut two = Two::new();
    two.world.script([Fault::LostReply, Fault::Unavailable]);
    let claim = two.world.claim(&mut two.waiting).unwrap();
    let mut release = Op::new(&two.world, two.holder, Release::to(two.grant.clone(), claim));
    release.run_to_call(&mut two.world);
    let grant = two.world.finish(two.waiting).unwrap();
    assert_eq!(two.world.finish(release), Ok(Released::Freed));
    assert!(matches!(two.world.validity(two.next, &grant), Validity::Valid(_)));
}

#[test]
fn a_lock_that_was_lost_is_not_handed_over() {
    let mut two = Two::new();
    let thief = two.world.acquainted("thief");
    two.world.break_lock(thief, "k").unwrap();
    let stolen = two.world.acquire(thief, "k", once(30)).unwrap();
    match two.release() {
        Err(GrantError::Lost(Some(holder))) => assert_eq!(holder.owner, "thief"),
        other => panic!("{other:?}"),
    }
    assert_eq!(two.world.release(thief, &stolen), Ok(Released::Freed));
}

#[test]
fn a_successor_in_quarantine_gives_it_back_and_waits() {
    let mut world = World::new();
    let (careless, careful) = (world.owner_with("careless", Some(Duration::ZERO)), world.owner("careful"));
    world.servers.lose(0, world.now);
    let grant = world.acquire(careless, "k", once(10)).unwrap();
    let mut waiting = world.acquiring(careful, "k", waiting(5, secs(60)));
    let handed = handed(world.release_to(careless, &grant, &mut waiting));
    world.calls();
    waiting.hand(&world, handed);
    let began = world.now;
    world.run_until(began + secs(1), &mut [&mut waiting]);
    assert_eq!(world.calls(), ["era", "delete"]);
    assert!(matches!(waiting.machine.waiting_for(), WaitingFor::Quarantine(_)));
    assert!(world.servers.text("k", world.now).is_none());
    assert!(world.finish(waiting).is_ok());
    assert!(world.now >= began + secs(30));
}

#[test]
fn a_successor_that_takes_after_the_lease_begins_it_again_or_waits_on() {
    let mut two = Two::new();
    let handed = two.hand_over();
    two.world.servers.slack = secs(2);
    two.world.advance(millis(4995)); // less than the lease, more than can be trusted
    let (mut world, next, grant) = two.take(handed);
    let grant = grant.unwrap();
    assert_eq!(world.validity(next, &grant), Validity::Valid(millis(4990)));
    assert_eq!(world.calls(), ["replace", "replace"]);

    let mut two = Two::new();
    let handed = two.hand_over();
    two.world.advance(secs(6));
    let thief = two.world.acquainted("thief");
    let taken = two.world.acquire(thief, "k", once(3)).unwrap();
    let (world, next, grant) = two.take(handed);
    let grant = grant.unwrap();
    assert!(grant.token() > taken.token(), "it waited until the other's lease was over");
    assert!(matches!(world.validity(next, &grant), Validity::Valid(_)));
}

#[test]
fn only_a_waiter_has_a_claim() {
    let mut two = Two::new();
    let fresh = two.world.acquiring(two.holder, "k", once(5));
    let mut holders = fresh;
    assert_eq!(two.world.claim(&mut holders), None, "its session holds the lock");
    two.waiting.run_to_call(&mut two.world);
    assert_eq!(two.world.claim(&mut two.waiting), None, "it is inside a call");
    let mut fresh = two.world.acquiring(two.next, "other", once(5));
    assert!(two.world.claim(&mut fresh).is_some(), "it may be handed over what it never asked for");
    two.world.run_for(secs(1), &mut [&mut fresh]);
    assert_eq!(two.world.claim(&mut fresh), None, "it has ended");
}

#[test]
fn a_claim_is_read_back_as_it_was_made_and_nothing_else_is_one() {
    let mut two = Two::new();
    let claim = two.world.claim(&mut two.waiting).unwrap();
    assert_eq!(Claim::new(claim.store_key(), &claim.value()), Ok(claim));
    let held = two.world.servers.text("k", two.world.now).unwrap();
    assert!(Claim::new("n:lock:k", format!("{held}token: 7\n").as_bytes()).is_err());
    assert!(Claim::new("n:lock:k", held.replace("depth: 1", "depth: 2").as_bytes()).is_err());
    assert!(Claim::new("n:lock:k", b"foreign").is_err());
}

#[test]
fn a_hand_over_without_a_claim_is_looked_for_and_not_believed() {
    let mut two = Two::new();
    let version = Version { era: 1, number: 1 };
    two.waiting.hand(&two.world, HandedOver { version, sent: two.world.time(), chain_length: 1, first: 1 });
    let (holder, grant) = (two.holder, two.grant.clone());
    two.world.run_for(millis(5), &mut [&mut two.waiting]);
    assert_eq!(two.world.calls()[0], "get-many");
    assert!(matches!(two.waiting.machine.waiting_for(), WaitingFor::Holder(_)));
    assert!(matches!(two.world.validity(holder, &grant), Validity::Valid(_)));
}

#[test]
fn what_the_session_got_by_another_acquisition_stands() {
    let mut two = Two::new();
    let handed = two.hand_over();
    let breaker = two.world.acquainted("breaker");
    two.world.break_lock(breaker, "k").unwrap();
    let other = two.world.acquire(two.next, "k", once(20)).unwrap();
    let (world, next, outcome) = two.take(handed);
    assert_eq!(outcome, Err(AcquireError::AlreadyHeld));
    assert!(matches!(world.validity(next, &other), Validity::Valid(_)));
}

#[test]
fn an_acquisition_that_was_not_begun_takes_a_hand_over_too() {
    let mut two = Two::new();
    let key = Key::new("k").unwrap();
    let options = waiting(5, secs(60));
    let machine = Acquire::new(two.world.session(two.next), key, options, Nonce(7));
    let mut fresh = Op::new(&two.world, two.next, machine);
    let handed = handed(two.world.release_to(two.holder, &two.grant, &mut fresh));
    fresh.hand(&two.world, handed);
    assert!(two.world.finish(fresh).is_ok());
    assert_eq!(lease(secs(5)).ttl(), kvlock_machine::Ttl::After(secs(5)));
}
