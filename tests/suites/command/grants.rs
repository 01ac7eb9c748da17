//! Grants in the hands of scripts: acquire, renew, release.

use serde_json::Value;

use super::{SECOND, World, in_both};

#[test]
fn what_one_process_acquires_another_renews_and_a_third_releases() {
    in_both(|world| {
        let first = world.ok(["acquire", "k", "--lease", "20s"]);
        assert!(!first.contains(char::is_whitespace), "{first:?}");
        assert_eq!(world.run(["run", "k", "--wait", "0", "--", "true"]).code, 75);
        let second = world.ok(["renew", &first, "--lease", "40s"]);
        assert_ne!(first, second);
        assert_eq!(world.run(["run", "k", "--wait", "0", "--", "true"]).code, 75);
        assert_eq!(world.ok(["release", &second]), "");
        assert!(world.is_free("k"));
    });
}

#[test]
fn a_grant_that_was_renewed_is_of_no_use_any_more() {
    in_both(|world| {
        let old = world.ok(["acquire", "k"]);
        let new = world.ok(["renew", &old]);
        for subcommand in ["release", "renew"] {
            let output = world.run([subcommand, &old]);
            output.assert_says(77, &[]);
        }
        assert!(!world.is_free("k"));
        assert_eq!(world.run(["release", &new]).code, 0);
        let again = world.run(["release", &new]);
        assert_eq!(again.code, 77, "{again:?}");
    });
}

#[test]
fn an_expired_grant_does_nothing_to_the_next_holder() {
    in_both(|world| {
        let old = world.ok(["acquire", "k", "--lease", "1s", "--owner", "early"]);
        let new = world.ok(["acquire", "k", "--owner", "late", "--wait", "10s"]);
        for subcommand in ["release", "renew"] {
            let output = world.run([subcommand, &old]);
            output.assert_says(77, &["`k`", "late"]);
        }
        assert!(world.ok(["status", "k"]).contains("held by late"));
        assert_eq!(world.run(["release", &new]).code, 0);
    });
}

#[test]
fn a_grant_may_come_on_stdin() {
    let world = World::local();
    let grant = world.ok(["acquire", "k"]);
    let mut command = world.command(["release", "-"]);
    command.stdin(std::process::Stdio::piped());
    let mut running = kvlock_tests::kvlock::Running::start(command);
    std::io::Write::write_all(&mut running.stdin(), format!("{grant}\n").as_bytes()).unwrap();
    assert_eq!(running.wait().code, 0);
    assert!(world.is_free("k"));
}

#[test]
fn grants_are_told_as_json_on_request() {
    in_both(|world| {
        let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|_| panic!("{text:?}")) };
        let acquired = parse(&world.ok(["acquire", "k", "--json", "--owner", "me", "--lease", "20s"]));
        assert_eq!((&acquired["key"], &acquired["owner"]), (&"k".into(), &"me".into()), "{acquired}");
        let token: u64 = acquired["token"].as_str().unwrap().parse().unwrap();
        assert!(token > 1_000_000_000_000_000_000, "{acquired}");
        let deadline = humantime(&acquired["deadline"]);
        let left = deadline.duration_since(std::time::SystemTime::now()).unwrap();
        assert!(left > 15 * SECOND && left <= 20 * SECOND, "{acquired}");
        let renewed = parse(&world.ok(["--json", "renew", acquired["grant"].as_str().unwrap()]));
        assert_ne!(acquired["grant"], renewed["grant"]);
        let released = parse(&world.ok(["release", "--json", renewed["grant"].as_str().unwrap()]));
        assert_eq!((&released["key"], &released["released"]), (&"k".into(), &"freed".into()), "{released}");
    });
}

/// What a word is told that is of no use any more.
#[track_caller]
fn assert_useless(world: &World, word: &str, part: &str) {
    for subcommand in ["release", "renew"] {
        let output = world.run([subcommand, word]);
        output.assert_refused(77, &[]);
        assert!(output.stderr.contains(part) && output.stderr.contains('`'), "`{part}`: {output:?}");
        assert!(!output.stderr.contains("what it guarded"), "nobody knows whether it guarded anything: {output:?}");
    }
}

#[test]
fn why_a_word_is_of_no_use_is_told_for_each_reason_in_words_of_its_own() {
    in_both(|world| {
        let word = world.ok(["acquire", "k"]);
        world.ok(["release", &word]);
        assert_useless(world, &word, "nor by another: it was released already or broken");

        let old = world.ok(["acquire", "k"]);
        let new = world.ok(["renew", &old]);
        assert_useless(world, &old, "this word is an old one: the grant was renewed since");
        world.ok(["break", "k"]);
        assert_useless(world, &new, "nor by another: it was released already or broken");

        let late = world.ok(["acquire", "k", "--owner", "late"]);
        assert_useless(world, &new, "is held by late");
        world.ok(["release", &late]);

        let kept = world.ok(["acquire", "kept", "--at-least", "60s"]);
        world.ok(["release", &kept]);
        assert_useless(world, &kept, "released already, and is kept");

        world.ok(["semaphore", "make", "pool", "1"]);
        let permit = world.ok(["semaphore", "acquire", "pool"]);
        world.ok(["release", &permit]);
        assert_useless(world, &permit, "permit 0 of `pool` is not held by this grant");
    });
}

#[test]
fn a_word_of_another_store_is_told_so() {
    let one = World::memcached();
    // What tells two servers apart is the second in which they were started.
    std::thread::sleep(2 * SECOND);
    let two = World::memcached();
    let (three, four) = (World::local(), World::local());
    for (made, asked) in [(&one, &two), (&two, &one), (&three, &four), (&four, &three), (&one, &three), (&three, &one)]
    {
        let word = made.ok(["acquire", "k"]);
        assert_useless(asked, &word, "it is not the store that the grant was made on");
        assert_eq!(made.run(["release", &word]).code, 0);
    }
}

fn humantime(moment: &Value) -> std::time::SystemTime {
    let text = moment.as_str().unwrap_or_else(|| panic!("no moment: {moment}"));
    humantime::parse_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
