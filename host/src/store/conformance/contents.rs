//! The contents of a key, and the conditions to change them.

use super::super::{DeleteOutcome, Ttl, Version, WriteOutcome};
use super::world::{LONG, Verdict, World, expect, expect_conflict, expect_eq};

pub(super) fn get_finds_what_add_wrote(world: &World<'_>) -> Verdict {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..64 * 1024_u32).map(|at| (at % 251) as u8).collect();
    let values: [(&str, &[u8]); 6] = [
        ("text", b"some text"),
        ("empty", b""),
        ("nul", b"a\0b\0"),
        ("lines", b"VALUE a 0 1\r\nEND\r\n"),
        ("bytes", &every_byte),
        ("large", &large),
    ];
    for (name, value) in values {
        let key = world.key(name);
        let version = world.add(&key, value, LONG)?;
        world.expect_entry(&key, value, version, "after add")?;
    }
    Ok(())
}

pub(super) fn get_finds_nothing(world: &World<'_>) -> Verdict {
    world.expect_nothing(&world.key("never"), "before any write")
}

pub(super) fn add_leaves_a_held_key(world: &World<'_>) -> Verdict {
    let key = world.key("held");
    let version = world.add(&key, b"first", LONG)?;
    let second = world.subject.second();
    for store in [world.store(), &*second] {
        let told = expect_conflict(store.add(&key, b"second", Ttl::Forever), "add of a held key")?;
        expect(told.is_none_or(|told| told == version), || {
            format!("the conflict should tell the present version {version:?} or none, but told {told:?}")
        })?;
        world.expect_entry(&key, b"first", version, "after an add that lost")?;
    }
    Ok(())
}

pub(super) fn replace_changes(world: &World<'_>) -> Verdict {
    let key = world.key("replaced");
    let old = world.add(&key, b"a longer first value", LONG)?;
    match world.subject.second().replace(&key, b"new", LONG, old) {
        Ok(WriteOutcome::Written(new)) => {
            expect(new.era == old.era && new.number > old.number, || {
                format!("the version after {old:?} should have a larger number, but is {new:?}")
            })?;
            world.expect_entry(&key, b"new", new, "after replace")
        }
        other => Err(format!("replace of the present version should write, but is {other:?}")),
    }
}

pub(super) fn replace_needs_the_version(world: &World<'_>) -> Verdict {
    let key = world.key("replaced");
    let old = world.add(&key, b"first", LONG)?;
    let Ok(WriteOutcome::Written(new)) = world.store().replace(&key, b"second", LONG, old) else {
        return Err("replace of the present version should write".into());
    };
    for wrong in others(old, new) {
        let told = expect_conflict(world.store().replace(&key, b"third", LONG, wrong), "replace of another version")?;
        expect(told.is_none_or(|told| told == new), || format!("a conflict should tell {new:?}, but told {told:?}"))?;
        world.expect_entry(&key, b"second", new, "after a replace that lost")?;
    }
    Ok(())
}

pub(super) fn delete_removes(world: &World<'_>) -> Verdict {
    let key = world.key("deleted");
    let version = world.add(&key, b"value", LONG)?;
    expect_eq(world.subject.second().delete(&key, version), Ok(DeleteOutcome::Deleted), "delete of the version")?;
    world.expect_nothing(&key, "after delete")?;
    let again = world.add(&key, b"again", LONG)?;
    world.expect_entry(&key, b"again", again, "after delete and add")
}

pub(super) fn delete_needs_the_version(world: &World<'_>) -> Verdict {
    let key = world.key("deleted");
    let old = world.add(&key, b"first", LONG)?;
    let Ok(WriteOutcome::Written(new)) = world.store().replace(&key, b"second", LONG, old) else {
        return Err("replace of the present version should write".into());
    };
    for wrong in others(old, new) {
        match world.store().delete(&key, wrong) {
            Ok(DeleteOutcome::Conflict(told)) => expect(told.is_none_or(|told| told == new), || {
                format!("a conflict should tell {new:?}, but told {told:?}")
            })?,
            other => return Err(format!("delete of another version should be a conflict, but is {other:?}")),
        }
        world.expect_entry(&key, b"second", new, "after a delete that lost")?;
    }
    Ok(())
}

pub(super) fn absent_is_absent(world: &World<'_>) -> Verdict {
    let key = world.key("gone");
    let version = world.add(&key, b"value", LONG)?;
    expect_eq(world.store().delete(&key, version), Ok(DeleteOutcome::Deleted), "delete of the version")?;
    let replaced = world.store().replace(&key, b"new", LONG, version);
    expect_eq(replaced, Ok(WriteOutcome::Absent), "replace where nothing is")?;
    expect_eq(world.store().delete(&key, version), Ok(DeleteOutcome::Absent), "delete where nothing is")?;
    world.expect_nothing(&key, "after replace and delete of nothing")
}

pub(super) fn get_many_keeps_order(world: &World<'_>) -> Verdict {
    let [a, b, gap] = ["a", "b", "gap"].map(|name| world.key(name));
    world.add(&a, b"A", LONG)?;
    world.add(&b, b"B", LONG)?;
    let keys = [&b, &gap, &a, &b, &gap].map(String::clone);
    let entries = world.store().get_many(&keys).map_err(|error| format!("get_many: {error}"))?;
    let found: Vec<Option<&[u8]>> = entries.iter().map(|entry| entry.as_ref().map(|entry| &entry.value[..])).collect();
    let wanted: [Option<&[u8]>; 5] = [Some(b"B"), None, Some(b"A"), Some(b"B"), None];
    expect_eq(found, wanted.to_vec(), "get_many of b, gap, a, b, gap")?;
    for (key, entry) in keys.iter().zip(&entries) {
        let alone = world.get(key)?.map(|entry| entry.version);
        expect_eq(entry.as_ref().map(|entry| entry.version), alone, "the version that get_many tells")?;
    }
    expect_eq(world.store().get_many(&[]), Ok(vec![]), "get_many of no keys")
}

/// Versions near the present one that it is not.
fn others(old: Version, new: Version) -> [Version; 3] {
    let next = Version { number: new.number + 1, ..new };
    [old, next, Version { number: 0, ..new }]
}
