//! The mock does what its script says, and keeps a log of it.

use std::sync::Arc;
use std::time::Duration;

use kvlock::clock::{Clock, VirtualClock};
use kvlock::store::{DeleteOutcome, Fault, KvStore, Memory, Op, StoreError, Ttl, WriteOutcome};

/// A mock on a virtual clock.
struct World {
    clock: Arc<VirtualClock>,
    store: Memory,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new());
        World { store: Memory::new(clock.clone()), clock }
    }

    fn add(&self, key: &str) -> Result<WriteOutcome, StoreError> {
        self.store.add(key, b"value", Ttl::Forever)
    }

    fn log(&self) -> Vec<String> {
        self.store.take_calls().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn the_log_has_a_line_for_every_call() {
    let world = World::new();
    let Ok(WriteOutcome::Written(version)) = world.add("k") else { panic!("a free key") };
    world.add("k").unwrap();
    world.store.get("k").unwrap();
    world.store.get_many(&["k".into(), "other".into()]).unwrap();
    world.store.replace("k", b"new", Ttl::Forever, version).unwrap();
    world.store.delete("k", version).unwrap();
    world.store.delete("other", version).unwrap();
    world.store.era("k").unwrap();
    world.store.get("a key").unwrap_err();
    let lines = [
        "add k -> written",
        "add k -> conflict",
        "get k -> found",
        "get-many k,other -> 1 found",
        "replace k -> written",
        "delete k -> conflict",
        "delete other -> absent",
        "era k -> 1000000000000",
        "get a key -> invalid",
    ];
    assert_eq!(world.log(), lines);
    assert!(world.store.calls().is_empty(), "taken calls are forgotten");
}

#[test]
fn a_lost_reply_is_executed_and_a_lost_request_is_not() {
    let world = World::new();
    world.store.script(Fault::LostReply);
    world.store.script(Fault::LostRequest);
    assert!(matches!(world.add("first"), Err(StoreError::UnknownOutcome(_))));
    assert!(matches!(world.add("second"), Err(StoreError::UnknownOutcome(_))));
    assert!(world.store.peek("first").is_some());
    assert!(world.store.peek("second").is_none());
    assert_eq!(
        world.log(),
        ["add first -> unknown-outcome (lost reply)", "add second -> unknown-outcome (lost request)"]
    );
}

#[test]
fn a_late_request_is_executed_when_it_is_delivered() {
    let world = World::new();
    world.store.script(Fault::Late);
    assert!(matches!(world.add("k"), Err(StoreError::UnknownOutcome(_))));
    assert!(world.store.peek("k").is_none());
    world.store.deliver_late();
    assert!(world.store.peek("k").is_some());
    world.store.deliver_late();
    assert_eq!(world.log(), ["add k -> unknown-outcome (late)", "add k -> written (late)"]);
}

#[test]
fn a_late_request_meets_the_contents_of_its_delivery() {
    let world = World::new();
    world.store.script(Fault::Late);
    world.add("k").unwrap_err();
    let theirs = world.store.put_foreign("k", b"theirs");
    world.store.deliver_late();
    assert_eq!(world.store.peek("k").unwrap().version, theirs);
}

#[test]
fn unavailable_and_rejected_change_nothing() {
    let world = World::new();
    world.store.script(Fault::Unavailable);
    world.store.script(Fault::Rejected);
    assert!(matches!(world.add("k"), Err(StoreError::Unavailable(_))));
    assert!(matches!(world.add("k"), Err(StoreError::Rejected(_))));
    assert!(world.store.peek("k").is_none());
    assert!(world.add("k").is_ok(), "the script is over");
}

#[test]
fn a_slow_answer_takes_its_time_by_the_clock_and_is_executed_at_once() {
    let world = World::new();
    let start = world.clock.now();
    world.store.script(Fault::Slow(Duration::from_secs(7)));
    world.store.add("k", b"value", Ttl::After(Duration::from_secs(10))).unwrap();
    assert_eq!(world.clock.now() - start, Duration::from_secs(7));
    assert_eq!(world.store.peek("k").unwrap().time_left, Some(Ttl::After(Duration::from_secs(3))));
}

#[test]
fn a_fault_for_one_operation_waits_for_it() {
    let world = World::new();
    world.store.script_for(Op::Delete, Fault::LostReply);
    let Ok(WriteOutcome::Written(version)) = world.add("k") else { panic!("a free key") };
    assert_eq!(world.store.scripted(), 1);
    assert!(matches!(world.store.delete("k", version), Err(StoreError::UnknownOutcome(_))));
    assert_eq!(world.store.scripted(), 0);
    assert!(world.store.peek("k").is_none());
}

#[test]
fn a_store_that_is_down_answers_unavailable_and_comes_back_as_it_was() {
    let world = World::new();
    let Ok(WriteOutcome::Written(version)) = world.add("k") else { panic!("a free key") };
    world.store.script(Fault::LostReply);
    world.store.down();
    assert!(matches!(world.store.delete("k", version), Err(StoreError::Unavailable(_))));
    assert_eq!(world.store.scripted(), 1, "the script waits");
    world.store.up();
    world.store.get("k").unwrap_err();
    assert_eq!(world.store.delete("k", version), Ok(DeleteOutcome::Deleted));
}

#[test]
fn a_new_era_is_larger_and_empty_and_ages_with_the_clock() {
    let world = World::new();
    assert_eq!(world.store.era("k").unwrap().lossless_for, Duration::MAX);
    let Ok(WriteOutcome::Written(old)) = world.add("k") else { panic!("a free key") };
    world.store.new_era(Duration::from_secs(2));
    world.clock.advance(Duration::from_secs(3));
    let era = world.store.era("k").unwrap();
    assert!(era.id > old.era + old.number);
    assert_eq!(era.lossless_for, Duration::from_secs(5));
    assert!(world.store.peek("k").is_none());
    assert_eq!(world.store.delete("k", old), Ok(DeleteOutcome::Conflict(None)));
    world.store.set_lossless_for(Duration::MAX);
    assert_eq!(world.store.era("k").unwrap().lossless_for, Duration::MAX);
}

#[test]
fn an_evicted_entry_is_gone_without_a_new_era() {
    let world = World::new();
    let era = world.store.era("k");
    world.add("k").unwrap();
    assert!(world.store.evict("k"));
    assert!(!world.store.evict("k"));
    assert!(world.store.peek("k").is_none());
    assert_eq!(world.store.era("k"), era);
}

#[test]
fn an_entry_is_absent_from_the_nanosecond_at_which_its_ttl_is_over() {
    let world = World::new();
    world.store.add("k", b"value", Ttl::After(Duration::from_secs(1))).unwrap();
    world.clock.advance(Duration::from_nanos(999_999_999));
    assert_eq!(world.store.peek("k").unwrap().time_left, Some(Ttl::After(Duration::from_nanos(1))));
    world.clock.advance(Duration::from_nanos(1));
    assert!(world.store.peek("k").is_none());
}

#[test]
fn a_clone_is_another_handle_to_the_same_store() {
    let world = World::new();
    let other = world.store.clone();
    world.add("k").unwrap();
    assert!(other.peek("k").is_some());
    assert_eq!(other.calls().len(), 1);
}
