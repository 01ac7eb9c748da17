//! Keys and values at the edge of what is legal.

use super::super::{KvStore, StoreError, Version};
use super::world::{LONG, Verdict, World, expect, expect_eq};

/// What every store takes for a key, and no more.
const LONGEST: usize = 250;

/// Larger than any store takes.
const TOO_LARGE: usize = 2 << 20;

pub(super) fn odd_keys_are_distinct(world: &World<'_>) -> Verdict {
    let longest = |end: &str| format!("{}{end}", "x".repeat(LONGEST - world.prefix.len() - end.len()));
    let (one, two) = (longest("1"), longest("2"));
    let names = [
        "a", "A", "a:", "a/", "a/../a", "%61", "a%", "a?", "a#b", "a'b", "a\"b", "a\\b", "a\\0", "*", "a*", "[a]",
        "{a}", "$a", "-a", "0", "00", "é", "e\u{301}", "ключ", "鍵", "🔒", &one, &two,
    ];
    let mut versions = Vec::new();
    for name in names {
        versions.push(world.add(&world.key(name), name.as_bytes(), LONG).map_err(|why| format!("{name:?}: {why}"))?);
    }
    for (name, version) in names.into_iter().zip(versions) {
        let when = format!("with the others there, under {name:?},");
        world.expect_entry(&world.key(name), name.as_bytes(), version, &when)?;
    }
    Ok(())
}

pub(super) fn illegal_keys_are_invalid(world: &World<'_>) -> Verdict {
    let fine = world.key("fine");
    let version = world.add(&fine, b"value", LONG)?;
    let too_long = "x".repeat(LONGEST + 1);
    let tails = [" ", " b", "\n", "\r\nflush_all", "\t", "\0", "\x7f", "\x1b"].map(|tail| format!("{fine}{tail}"));
    for key in tails.iter().map(String::as_str).chain(["", &too_long]) {
        expect_invalid(world.store(), key, &fine, version)?;
    }
    world.expect_entry(&fine, b"value", version, "after calls with illegal keys")
}

fn expect_invalid(store: &dyn KvStore, key: &str, fine: &str, version: Version) -> Verdict {
    let answers = [
        ("get", store.get(key).err()),
        ("get_many", store.get_many(&[fine.to_owned(), key.to_owned()]).err()),
        ("add", store.add(key, b"value", LONG).err()),
        ("replace", store.replace(key, b"value", LONG, version).err()),
        ("delete", store.delete(key, version).err()),
        ("era", store.era(key).err()),
    ];
    for (call, error) in answers {
        expect(matches!(error, Some(StoreError::Invalid(_))), || {
            let found = error.map_or("an answer".into(), |error| format!("{error:?}"));
            format!("{call} with the key {key:?} should be invalid, but there is {found}")
        })?;
    }
    Ok(())
}

pub(super) fn keys_are_listed(world: &World<'_>) -> Verdict {
    let names = ["listed:a", "listed:é", "listed:*", "listed:%", "listed:x_y", "other:a"];
    let mut wanted = Vec::new();
    for name in names {
        world.add(&world.key(name), b"value", LONG)?;
        wanted.push(world.key(name));
    }
    let gone = world.key("listed:gone");
    let version = world.add(&gone, b"value", LONG)?;
    world.store().delete(&gone, version).map_err(|error| format!("delete: {error}"))?;
    wanted.retain(|key| key.starts_with(&world.key("listed:")));
    wanted.sort_unstable();
    let second = world.subject.second();
    for store in [world.store(), &*second] {
        let listed = match store.keys(&world.key("listed:")) {
            // It says that it cannot.
            Err(StoreError::Rejected(_)) => return Ok(()),
            listed => listed.map_err(|error| format!("keys: {error}"))?,
        };
        let mut keys = listed.keys;
        keys.sort_unstable();
        expect_eq(keys, wanted.clone(), "the keys that begin with `listed:`")?;
    }
    Ok(())
}

pub(super) fn too_large_a_value_is_refused(world: &World<'_>) -> Verdict {
    let (held, free) = (world.key("held"), world.key("free"));
    let version = world.add(&held, b"value", LONG)?;
    let large = vec![b'x'; TOO_LARGE];
    let answers = [
        ("add", world.store().add(&free, &large, LONG)),
        ("replace", world.store().replace(&held, &large, LONG, version)),
    ];
    for (call, answer) in answers {
        expect(matches!(answer, Err(StoreError::Rejected(_) | StoreError::Invalid(_))), || {
            format!("{call} of {TOO_LARGE} bytes should be refused, but is {answer:?}")
        })?;
    }
    world.expect_nothing(&free, "after an add of too large a value")?;
    world.expect_entry(&held, b"value", version, "after a replace with too large a value")
}
