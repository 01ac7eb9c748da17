//! Eras and numbers: what fencing tokens are made of.

use std::time::{Duration, Instant};

use super::super::{DeleteOutcome, EraInfo, Version, WriteOutcome};
use super::world::{LONG, Verdict, World, expect, expect_conflict, expect_eq};

/// How often an entry is made and removed.
const CYCLES: usize = 20;

/// How much longer than since the loss a store may call itself lossless: clocks of whole seconds.
const SLACK: Duration = Duration::from_secs(3);

pub(super) fn numbers_grow(world: &World<'_>) -> Verdict {
    let key = world.key("cycles");
    let second = world.subject.second();
    let mut last: Option<Version> = None;
    for cycle in 0..CYCLES {
        let store = if cycle % 2 == 0 { world.store() } else { &*second };
        let added = world.add(&key, b"added", LONG)?;
        let replaced = match store.replace(&key, b"replaced", LONG, added) {
            Ok(WriteOutcome::Written(version)) => version,
            other => return Err(format!("replace of the present version should write, but is {other:?}")),
        };
        for version in [added, replaced] {
            expect(last.is_none_or(|last| last.era == version.era && last.number < version.number), || {
                format!("a write after {last:?} should have the same era and a larger number, but has {version:?}")
            })?;
            last = Some(version);
        }
        expect_eq(store.delete(&key, replaced), Ok(DeleteOutcome::Deleted), "delete of the version")?;
    }
    let era = era(world, &key)?;
    expect_eq(last.map(|last| last.era), Some(era.id), "the era of the versions")
}

pub(super) fn another_era_matches_nothing(world: &World<'_>) -> Verdict {
    let (key, nothing) = (world.key("entry"), world.key("nothing"));
    let version = world.add(&key, b"value", LONG)?;
    let second = world.subject.second();
    for store in [world.store(), &*second] {
        for era in [version.era.saturating_sub(1), version.era + 1, 0] {
            let other = Version { era, ..version };
            for key in [&key, &nothing] {
                expect_conflict(store.replace(key, b"new", LONG, other), "replace of a version of another era")?;
                let deleted = store.delete(key, other);
                expect(matches!(deleted, Ok(DeleteOutcome::Conflict(_))), || {
                    format!("delete of a version of another era should be a conflict, but is {deleted:?}")
                })?;
            }
        }
        world.expect_entry(&key, b"value", version, "after writes of another era")?;
        world.expect_nothing(&nothing, "after writes of another era")?;
    }
    Ok(())
}

pub(super) fn a_loss_begins_an_era(world: &World<'_>) -> Verdict {
    let key = world.key("lost");
    let old = world.add(&key, b"old", LONG)?;
    let before = era(world, &key)?;
    let started = Instant::now();
    if !world.subject.lose_everything() {
        return Ok(());
    }
    expect_conflict(world.store().replace(&key, b"new", LONG, old), "replace of a version of the era lost")?;
    world.expect_nothing(&key, "after the loss of everything")?;
    let after = era(world, &key)?;
    expect(after.id >= before.id + old.number, || {
        format!("the era after {} + {} should not be less than that, but is {}", before.id, old.number, after.id)
    })?;
    expect(after.id > before.id, || format!("the era after {} should be larger, but is {}", before.id, after.id))?;
    expect(after.lossless_for <= started.elapsed() + SLACK, || {
        format!("nothing should be called lossless for longer than since the loss, but was: {:?}", after.lossless_for)
    })?;

    let new = world.add(&key, b"new", LONG)?;
    expect_eq(new.era, after.id, "the era of a version written after the loss")?;
    expect(new.era + new.number > old.era + old.number, || {
        format!("era + number should grow over a loss, but after {old:?} came {new:?}")
    })?;
    let deleted = world.store().delete(&key, old);
    expect(matches!(deleted, Ok(DeleteOutcome::Conflict(_))), || {
        format!("delete of a version of the era lost should be a conflict, but is {deleted:?}")
    })?;
    world.expect_entry(&key, b"new", new, "after a delete from the era lost")
}

fn era(world: &World<'_>, key: &str) -> Result<EraInfo, String> {
    world.store().era(key).map_err(|error| format!("era: {error}"))
}
