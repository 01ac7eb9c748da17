//! Ttls. A store may keep an entry longer than asked, as memcached does with its whole seconds, but never shorter.

use std::time::{Duration, Instant};

use super::super::{DeleteOutcome, Ttl, Version, WriteOutcome};
use super::world::{LONG, Verdict, World, expect, expect_eq};

/// The ttl of what is to expire.
const SHORT: Duration = Duration::from_secs(1);

/// How much longer an entry may be there, and may be told to be.
const SLACK: Duration = Duration::from_millis(3500);

/// What time passes by while we look on.
const STEP: Duration = Duration::from_millis(250);

/// How long it is, at least and at most, since the first write was sent: a real clock has run on beside `pass`.
struct Elapsed {
    passed: Duration,
    started: Instant,
}

impl Elapsed {
    fn new() -> Self {
        Elapsed { passed: Duration::ZERO, started: Instant::now() }
    }

    fn step(&mut self, world: &World<'_>) {
        world.subject.pass(STEP);
        self.passed += STEP;
    }

    fn at_most(&self) -> Duration {
        self.passed.max(self.started.elapsed())
    }
}

pub(super) fn an_entry_lives_its_ttl(world: &World<'_>) -> Verdict {
    let [short, shortened, prolonged, forever] =
        ["short", "shortened", "prolonged", "forever"].map(|name| world.key(name));
    let kept = world.add(&forever, b"forever", Ttl::Forever)?;
    let version = world.add(&prolonged, b"1", Ttl::After(SHORT))?;
    let prolonged_to = replace(world, &prolonged, LONG, version)?;
    let version = world.add(&shortened, b"1", LONG)?;
    // Before the short ones are written, so that the time is never less than their age.
    let mut elapsed = Elapsed::new();
    let shortened_to = replace(world, &shortened, Ttl::After(SHORT), version)?;
    let added = world.add(&short, b"first", Ttl::After(SHORT))?;

    wait_for_end(world, &[&short, &shortened], &mut elapsed)?;

    let many = world.store().get_many(std::slice::from_ref(&short)).map_err(|error| format!("get_many: {error}"))?;
    expect_eq(many, vec![None], "get_many of an expired entry")?;
    let replaced = world.store().replace(&short, b"late", LONG, added);
    expect_eq(replaced, Ok(WriteOutcome::Absent), "replace of an expired entry")?;
    let deleted = world.store().delete(&shortened, shortened_to);
    expect_eq(deleted, Ok(DeleteOutcome::Absent), "delete of an expired entry")?;
    let again = world.add(&short, b"again", LONG).map_err(|why| format!("after expiry: {why}"))?;
    expect(again.number > added.number, || format!("a write after {added:?} should be larger, but is {again:?}"))?;
    world.expect_entry(&short, b"again", again, "after expiry and add")?;
    world.expect_entry(&prolonged, b"replaced", prolonged_to, "after the ttl of before the replace")?;
    world.expect_entry(&forever, b"forever", kept, "after a while")
}

/// Looks at entries until all are gone: none before its ttl, and all within the slack.
fn wait_for_end(world: &World<'_>, keys: &[&String], elapsed: &mut Elapsed) -> Verdict {
    loop {
        let mut left = 0;
        for key in keys {
            let is_there = world.get(key)?.is_some();
            // Asked after the look: the entry's age then was no more than this.
            let age = elapsed.at_most();
            expect(is_there || age >= SHORT, || {
                format!("an entry with a ttl of {SHORT:?} should be there after {age:?}, but is gone")
            })?;
            left += usize::from(is_there);
        }
        if left == 0 {
            return Ok(());
        }
        expect(elapsed.passed < SHORT + SLACK, || {
            format!("an entry with a ttl of {SHORT:?} should be gone after {:?}, but is there", elapsed.passed)
        })?;
        elapsed.step(world);
    }
}

pub(super) fn time_left_is_a_lower_bound(world: &World<'_>) -> Verdict {
    let (short, long, forever) = (world.key("short"), world.key("long"), world.key("forever"));
    world.add(&forever, b"value", Ttl::Forever)?;
    let told = time_left(world, &forever)?;
    expect(matches!(told, None | Some(Ttl::Forever)), || format!("forever should be told as such, not as {told:?}"))?;

    let asked = Duration::from_secs(60);
    world.add(&long, b"value", Ttl::After(asked))?;
    let told = time_left(world, &long)?;
    expect(told.is_none_or(|told| matches!(told, Ttl::After(left) if left <= asked + SLACK)), || {
        format!("an entry with a ttl of {asked:?} should not be told to last {told:?}")
    })?;

    world.add(&short, b"value", Ttl::After(SHORT))?;
    let mut elapsed = Elapsed::new();
    let Some(told) = time_left(world, &short)? else { return Ok(()) };
    while world.get(&short)?.is_some() {
        expect(elapsed.passed < SHORT + SLACK, || "an entry should be gone after its ttl, but is there".into())?;
        elapsed.step(world);
    }
    let lasted = elapsed.at_most();
    expect(matches!(told, Ttl::After(left) if left <= lasted), || {
        format!("an entry with {told:?} left should last as long, but was gone after {lasted:?}")
    })
}

fn time_left(world: &World<'_>, key: &str) -> Result<Option<Ttl>, String> {
    let entry = world.get(key)?.ok_or("the entry should be there, but is not")?;
    Ok(entry.time_left)
}

fn replace(world: &World<'_>, key: &str, ttl: Ttl, version: Version) -> Result<Version, String> {
    match world.store().replace(key, b"replaced", ttl, version) {
        Ok(WriteOutcome::Written(version)) => Ok(version),
        other => Err(format!("replace of the present version should write, but is {other:?}")),
    }
}
