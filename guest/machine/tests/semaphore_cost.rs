//! What permits of small and of large semaphores cost: calls, and keys that are read.

mod support;

use std::time::Duration;

use kvlock_machine::{AcquireError, AcquirePermit, Grant, Released, Request, WaitingFor};
use support::{Drive, Op, Owner, World, millis, once, secs, waiting};

const SMALL: u32 = 10;
const LARGE: u32 = 1000;
const INTERVAL: Duration = millis(50);

/// What was asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    calls: usize,
    /// Those that are written, too.
    keys: usize,
}

fn cost(world: &mut World) -> Cost {
    let keys = |request: &Request| match request {
        Request::GetMany { keys } => keys.len(),
        _ => 1,
    };
    let calls: Vec<usize> = world.log.drain(..).map(|call| keys(&call.request)).collect();
    Cost { calls: calls.len(), keys: calls.iter().sum() }
}

/// A semaphore of which some permits are held, for long.
struct Scene {
    world: World,
    holder: Owner,
    held: Vec<Grant>,
}

impl Scene {
    fn new(size: u32, held: u32) -> Self {
        let mut world = World::new();
        let holder = world.acquainted("holder");
        assert_eq!(world.resize(holder, "pool", size), Ok(None));
        let held = (0..held).map(|_| world.permit(holder, "pool", once(36_000)).unwrap()).collect();
        Scene { world, holder, held }
    }

    /// The costs of permits that a newcomer acquires and gives back, one after the other.
    fn pairs<const N: usize>(&mut self) -> [Cost; N] {
        let owner = self.world.acquainted("newcomer");
        [(); N].map(|()| {
            let grant = self.world.permit(owner, "pool", once(30)).unwrap();
            assert_eq!(self.world.release(owner, &grant), Ok(Released::Freed));
            cost(&mut self.world)
        })
    }

    fn waiter(&mut self, wait: Duration) -> Op<AcquirePermit> {
        let owner = self.world.acquainted("waiter");
        self.world.acquiring_permit(owner, "pool", waiting(30, wait))
    }

    fn give_back(&mut self, index: usize) -> Option<u32> {
        let grant = self.held.remove(index);
        assert_eq!(self.world.release(self.holder, &grant), Ok(Released::Freed));
        grant.permit()
    }
}

#[test]
fn a_free_permit_costs_three_small_calls_the_next_one_two_and_a_release_one() {
    for size in [SMALL, LARGE] {
        let [first, next] = Scene::new(size, 0).pairs();
        assert_eq!(first, Cost { calls: 3 + 1, keys: 3 + 1 }, "of {size}");
        assert_eq!(next, Cost { calls: 2 + 1, keys: 2 + 1 }, "of {size}");
    }
}

#[test]
fn where_half_are_held_the_first_permit_costs_one_more_look_at_a_few_and_the_next_none() {
    for size in [SMALL, LARGE] {
        let mut scene = Scene::new(size, size / 2);
        cost(&mut scene.world);
        for _ in 0..20 {
            let [first, next] = scene.pairs();
            assert!(first.calls <= 8 + 1 && first.keys <= 40, "{first:?} of {size}");
            assert_eq!(next, Cost { calls: 2 + 1, keys: 2 + 1 }, "of {size}");
        }
    }
}

#[test]
fn where_one_is_free_it_is_looked_for_once_and_had_again_without() {
    for size in [SMALL, LARGE] {
        let [first, next] = Scene::new(size, size - 1).pairs();
        // The definition, a guess, a look at all of them, and the permit.
        let looks = 1 + (size as usize).saturating_sub(31).div_ceil(256);
        let most = Cost { calls: 3 + looks + 2 + 1, keys: 3 + looks + size as usize + 2 + 1 };
        assert!(first.calls <= most.calls && first.keys <= most.keys, "{first:?} of {size}");
        assert_eq!(next, Cost { calls: 2 + 1, keys: 2 + 1 }, "of {size}");
    }
}

#[test]
fn a_waiter_that_is_told_that_none_is_free_has_read_all_of_them_once() {
    for size in [SMALL, LARGE] {
        let mut scene = Scene::new(size, size);
        let newcomer = scene.world.acquainted("newcomer");
        let looks = 1 + (size as usize).saturating_sub(31).div_ceil(256);
        // A guess the first time; after that it is known to be in vain.
        for guess in [3, 0] {
            let outcome = scene.world.permit(newcomer, "pool", once(30));
            let Err(AcquireError::Busy { waiting_for: WaitingFor::Exhausted { size: told, held, .. }, .. }) = outcome
            else {
                panic!("{outcome:?}")
            };
            assert_eq!((told, held), (size, size));
            let expected = Cost { calls: guess + looks, keys: guess + looks + size as usize };
            assert_eq!(cost(&mut scene.world), expected, "of {size}");
        }
    }
}

#[test]
fn all_permits_of_a_large_semaphore_are_had_by_one_session_in_a_few_calls_each() {
    let mut scene = Scene::new(LARGE, LARGE);
    let Cost { calls, keys } = cost(&mut scene.world);
    assert!(calls <= 4 * LARGE as usize && keys <= 60 * LARGE as usize, "{calls} calls, {keys} keys");
}

#[test]
fn a_wait_for_one_of_a_thousand_reads_at_most_three_times_as_much_as_for_one_of_ten() {
    let [small, large] = [SMALL, LARGE].map(|size| {
        let mut scene = Scene::new(size, size);
        let mut waiter = scene.waiter(secs(3600));
        let begun = scene.world.now + secs(1);
        scene.world.run_until(begun, &mut [&mut waiter]);
        cost(&mut scene.world);
        scene.world.run_until(begun + secs(20), &mut [&mut waiter]);
        assert!(waiter.due().is_some());
        cost(&mut scene.world)
    });
    assert!(large.keys <= 3 * small.keys && large.calls <= small.calls * 11 / 10, "{large:?}, {small:?}");
}

#[test]
fn a_waiter_alone_finds_the_permit_that_comes_back_after_a_look_at_each() {
    let mut scene = Scene::new(LARGE, LARGE);
    for index in [900, 500, 0] {
        let mut waiter = scene.waiter(secs(60));
        scene.world.run_for(secs(3), &mut [&mut waiter]);
        let back = scene.give_back(index);
        let began = scene.world.now;
        assert_eq!(scene.world.finish(waiter).unwrap().permit(), back);
        assert!(scene.world.now - began <= INTERVAL * LARGE.div_ceil(31), "{:?}", scene.world.now - began);
    }
}

#[test]
fn many_waiters_find_a_permit_that_comes_back_in_about_an_interval() {
    const BACK: u32 = 16;
    let mut scene = Scene::new(LARGE, LARGE);
    let mut waiters: Vec<_> = (0..64).map(|_| scene.waiter(secs(60))).collect();
    let until = scene.world.now + secs(1);
    run_until(&mut scene.world, until, &mut waiters);
    let mut waited = Duration::ZERO;
    for _ in 0..BACK {
        scene.give_back(7);
        let began = scene.world.now;
        while !waiters.iter_mut().any(|waiter| waiter.outcome().is_some()) {
            let until = scene.world.now + millis(1);
            run_until(&mut scene.world, until, &mut waiters);
        }
        waiters.retain(|waiter| waiter.due().is_some());
        waited += scene.world.now - began;
    }
    assert!(waited <= INTERVAL * BACK, "{waited:?} for {BACK}");
}

fn run_until(world: &mut World, until: Duration, waiters: &mut [Op<AcquirePermit>]) {
    let mut ops: Vec<&mut dyn Drive> = waiters.iter_mut().map(|waiter| waiter as &mut dyn Drive).collect();
    world.run_until(until, &mut ops);
}

#[test]
fn the_permit_of_a_crashed_holder_is_found_in_an_interval_after_its_lease_however_many_there_are() {
    for size in [SMALL, LARGE] {
        let mut scene = Scene::new(size, size - 1);
        let crashed = scene.world.permit(scene.holder, "pool", once(10)).unwrap();
        let ends = scene.world.now + secs(10);
        let waiter = scene.waiter(secs(60));
        assert_eq!(scene.world.finish(waiter).unwrap().permit(), crashed.permit());
        assert!((ends..ends + INTERVAL).contains(&scene.world.now), "{:?} of {size}", scene.world.now - ends);
    }
}

#[test]
fn a_waiter_is_let_in_in_an_interval_when_the_semaphore_grows_however_large_it_is() {
    for size in [SMALL, LARGE] {
        let mut scene = Scene::new(size, size);
        let mut waiter = scene.waiter(secs(60));
        scene.world.run_for(secs(2), &mut [&mut waiter]);
        assert_eq!(scene.world.resize(scene.holder, "pool", size + 1), Ok(Some(size)));
        let began = scene.world.now;
        assert_eq!(scene.world.finish(waiter).unwrap().permit(), Some(size));
        assert!(scene.world.now - began <= INTERVAL, "{:?} of {size}", scene.world.now - began);
    }
}

#[test]
fn what_is_remembered_of_a_semaphore_that_is_gone_or_smaller_grants_nothing() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.acquainted(name));
    assert_eq!(world.resize(a, "pool", 2), Ok(None));
    // Its own number is the larger one, which is taken out first.
    let [zero, one] = [(); 2].map(|()| world.permit(b, "pool", once(3000)).unwrap());
    let (mine, other) = if one.permit() == Some(1) { (one, zero) } else { (zero, one) };
    assert_eq!(world.release(b, &mine), Ok(Released::Freed));
    assert_eq!(world.resize(a, "pool", 1), Ok(Some(2)));
    assert!(matches!(world.permit(b, "pool", once(30)), Err(AcquireError::Busy { .. })));
    assert_eq!(world.release(b, &other), Ok(Released::Freed));
    assert_eq!(world.resize(a, "pool", 0), Ok(Some(1)));
    assert_eq!(world.permit(b, "pool", once(30)), Err(AcquireError::Unknown));
    world.servers.lose(0, world.now);
    // Nothing is granted in so young an era, and of what is not there that is told and not waited for.
    assert_eq!(world.permit(b, "pool", waiting(30, secs(60))), Err(AcquireError::Unknown));
}

#[test]
fn a_semaphore_that_was_lost_with_all_else_is_unknown_at_once_to_sessions_that_remember_it() {
    let mut scene = Scene::new(SMALL, 1);
    scene.give_back(0);
    scene.world.servers.lose(0, scene.world.now);
    let began = scene.world.now;
    assert_eq!(scene.world.permit(scene.holder, "pool", waiting(30, secs(60))), Err(AcquireError::Unknown));
    assert_eq!(scene.world.now, began);
}
