//! Any string is a key.

use super::{World, in_both};

fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> =
        ["with space", " ", "a\nb", "\t", "schlüssel 🔑", "a:b", "a/b", "-x", "--x", "%", "#", "\u{7f}"]
            .map(String::from)
            .into();
    keys.extend(["a".repeat(300), "é".repeat(150), "k".repeat(65536)]);
    keys
}

#[test]
fn odd_keys_are_keys_and_each_is_another() {
    in_both(|world| {
        let _holders: Vec<_> = odd_keys().iter().map(|key| world.ok(["acquire", key, "--owner", "me"])).collect();
        for key in odd_keys() {
            assert_eq!(world.run(["run", &key, "--wait", "0", "--", "true"]).code, 75, "{key:?}");
            let status = world.ok(["status", "--json", "--", &key]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            assert_eq!((&status["key"], &status["holder"]["owner"]), (&key.as_str().into(), &"me".into()));
            assert_eq!(world.run(["break", &key]).code, 0, "{key:?}");
            assert!(world.is_free(&key), "{key:?}");
            let name = ["run", &key, "--wait", "0", "--", "sh", "-c", "printf %s. \"$KVLOCK_KEY\""];
            assert_eq!(world.ok(name), format!("{key}."));
        }
    });
}

#[test]
fn a_key_that_is_too_long_is_refused_on_one_line() {
    let world = World::local();
    let output = world.run(["run", &"k".repeat(65537), "--", "true"]);
    assert_eq!(output.code, 64);
    super::assert_one_line(&output.stderr);
    assert!(output.stderr.len() < 300 && output.stderr.contains("65537"), "{output:?}");
}
