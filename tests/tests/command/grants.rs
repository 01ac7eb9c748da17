//! Grants in the hands of scripts: acquire, renew, release.

use serde_json::Value;

use super::{SECOND, World, assert_one_line, in_both};

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
            assert_eq!(output.code, 77, "{output:?}");
            assert_one_line(&output.stderr);
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
            assert_eq!(output.code, 77, "{output:?}");
            assert_one_line(&output.stderr);
            assert!(output.stderr.contains("`k`") && output.stderr.contains("late"), "{output:?}");
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
        assert!(acquired["token"].as_u64().unwrap() > 1_000_000_000_000_000_000, "{acquired}");
        let deadline = humantime(&acquired["deadline"]);
        let left = deadline.duration_since(std::time::SystemTime::now()).unwrap();
        assert!(left > 15 * SECOND && left <= 20 * SECOND, "{acquired}");
        let renewed = parse(&world.ok(["--json", "renew", acquired["grant"].as_str().unwrap()]));
        assert_ne!(acquired["grant"], renewed["grant"]);
        let released = parse(&world.ok(["release", "--json", renewed["grant"].as_str().unwrap()]));
        assert_eq!((&released["key"], &released["released"]), (&"k".into(), &"freed".into()), "{released}");
    });
}

fn humantime(moment: &Value) -> std::time::SystemTime {
    let text = moment.as_str().unwrap_or_else(|| panic!("no moment: {moment}"));
    humantime::parse_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
