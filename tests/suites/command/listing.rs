//! `kvlock list`: who holds what, on a terminal, in a pipe and for programs.

use kvlock_testkit::MemcachedServer;
use kvlock_tests::kvlock::eventually;
use kvlock_tests::{Kvlock, Terminal};
use serde_json::Value;

use super::{World, in_both};

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))).collect()
}

/// The keys and names that a list has.
fn names(listed: &[Value]) -> Vec<&str> {
    listed.iter().filter_map(|object| object["key"].as_str().or(object["semaphore"].as_str())).collect()
}

#[test]
fn all_kinds_are_listed_with_all_that_is_known_of_them() {
    in_both(|world| {
        let quiet = world.run(["list", "--quiet"]);
        assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
        assert!(world.run(["list"]).stderr.contains("nothing is held in the namespace `kvlock`"));
        let _held = world.hold("report", &["--owner", "nightly", "--note", "the yearly one", "--lease", "20s"]);
        let _waits = world.start(["run", "report", "--", "true"]);
        world.await_waiters("report", 1);
        world.ok(["acquire", "with a space", "--lease", "forever"]);
        let kept = world.ok(["acquire", "hourly", "--at-least", "1h"]);
        world.ok(["release", &kept]);
        let _reader = world.hold("data", &["--shared"]);
        world.ok(["semaphore", "make", "pool", "2"]);
        world.ok(["semaphore", "make", "pond", "1"]);
        world.ok(["semaphore", "acquire", "pool", "--owner", "encoder", "--note", "encodes"]);
        world.ok(["acquire", "elsewhere", "--namespace", "other"]);
        let listed = objects(&world.ok(["list", "--json", "--quiet"]));
        assert_eq!(names(&listed), ["data", "hourly", "report", "with a space", "pond", "pool"]);
        let [data, hourly, report, spaced, pond, pool] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((&data["state"], &data["holder"]["readers"]), (&"held".into(), &1.into()));
        assert_eq!((&hourly["state"], &spaced["holder"]["until"]), (&"kept".into(), &Value::Null));
        let holder = &report["holder"];
        assert_eq!((&holder["owner"], &holder["note"]), (&"nightly".into(), &"the yearly one".into()));
        assert_eq!((&report["waiters"], &holder["lease"]), (&1.into(), &20.0.into()));
        for field in ["token", "host", "since", "until"] {
            assert!(holder[field].is_string(), "{field}: {report}");
        }
        assert!(holder["age"].as_f64().is_some_and(|age| (0.0..600.0).contains(&age)), "{report}");
        assert_eq!((&pond["size"], &pond["held"]), (&1.into(), &0.into()));
        assert_eq!((&pool["held"], &pool["holders"][0]["owner"]), (&1.into(), &"encoder".into()));
        let text = world.ok(["list", "--quiet"]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("KEY ") && lines.len() == 8, "{text}");
        for part in ["held ", "kept ", "shared 1 ", "1 of 2 held", "permit ", "the yearly one", "encodes", "released"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // The columns stand in line.
        let at = lines[0].find("OWNER").unwrap();
        assert!(lines[3][at..].starts_with("nightly ") && lines[3].starts_with("report "), "{text}");
        assert!(lines[3].contains(holder["token"].as_str().unwrap()), "{text}");
    });
}

#[test]
fn filters_choose_by_beginning_owner_and_age() {
    in_both(|world| {
        for (key, owner) in [("report/a", "one"), ("report/b", "two"), ("other", "one"), ("report with a space", "two")]
        {
            world.ok(["acquire", key, "--owner", owner]);
        }
        world.ok(["semaphore", "make", "report-pool", "2"]);
        world.ok(["semaphore", "acquire", "report-pool", "--owner", "one"]);
        world.ok(["semaphore", "make", "report-pond", "2"]);
        let listed = |options: &[&str]| {
            let told = objects(&world.ok(["list", "--json", "--quiet"].iter().chain(options)));
            names(&told).into_iter().map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(listed(&["--prefix", "report/"]), ["report/a", "report/b"]);
        assert_eq!(
            listed(&["--prefix", "report"]),
            ["report with a space", "report/a", "report/b", "report-pond", "report-pool"]
        );
        assert_eq!(listed(&["--owner", "one"]), ["other", "report/a", "report-pool"]);
        assert_eq!(listed(&["--owner", "one", "--prefix", "report/"]), ["report/a"]);
        assert_eq!(listed(&["--older-than", "1h"]), [""; 0]);
        assert_eq!(listed(&["--older-than", "0", "--prefix", "other"]), ["other"]);
        let nothing = world.run(["list", "--owner", "nobody"]);
        assert!(nothing.code == 0 && nothing.stderr.contains("nothing of that kind is held"), "{nothing:?}");
    });
}

#[test]
fn every_lock_that_is_held_all_the_while_is_listed_beside_others_that_come_and_go() {
    const HELD: usize = 500;
    in_both(|world| {
        let session = kvlock::Client::connect(&world.url()).unwrap().session().quarantine(std::time::Duration::ZERO);
        let session = session.open().unwrap();
        let held: Vec<_> = (0..HELD)
            .map(|n| session.lock(format!("held/{n:03}")).lease(std::time::Duration::from_secs(600)).acquire().unwrap())
            .collect();
        let busy = world.start(["run", "going", "--", "sleep", "60"]);
        let mut rounds = 0;
        for _ in 0..3 {
            // Others come and go while it looks.
            let comes_and_goes = std::thread::scope(|scope| {
                let (stop, stopped) = std::sync::mpsc::channel::<()>();
                let url = world.url();
                let others = scope.spawn(move || {
                    let others = kvlock::Client::connect(&url).unwrap().session().quarantine(std::time::Duration::ZERO);
                    let others = others.open().unwrap();
                    let mut rounds = 0;
                    while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                        others.lock(format!("passing/{}", rounds % 7)).acquire().unwrap().release().unwrap();
                        rounds += 1;
                    }
                    rounds
                });
                let listed = objects(&world.ok(["list", "--json", "--quiet", "--prefix", "held/"]));
                let keys: Vec<_> = (0..HELD).map(|n| format!("held/{n:03}")).collect();
                assert_eq!(names(&listed), keys);
                assert!(listed.iter().all(|object| object["state"] == "held" && object["waiters"] == 0));
                let text = world.ok(["list", "--quiet"]);
                assert!(text.lines().filter(|line| line.starts_with("held/")).count() == HELD, "{text}");
                drop(stop);
                others.join().unwrap()
            });
            rounds += comes_and_goes;
        }
        assert!(rounds > 0);
        drop((held, busy));
    });
}

#[test]
fn what_is_not_kvlocks_is_named_and_the_rest_is_listed() {
    let mut world = World::memcached();
    world.ok(["acquire", "k"]);
    assert_eq!(world.server().command("set kvlock:lock:foreign 0 0 2\r\n42"), "STORED\r\n");
    let listed = objects(&world.ok(["list", "--json", "--quiet"]));
    assert_eq!(names(&listed), ["k"]);
    let corrupt = &listed[1];
    assert_eq!((&corrupt["entry"], &corrupt["state"]), (&"kvlock:lock:foreign".into(), &"corrupt".into()), "{corrupt}");
    assert!(world.ok(["list", "--quiet"]).contains("not a kvlock record: \"42\""));
}

#[test]
fn a_memcached_that_does_not_list_says_why_and_what_to_do() {
    for (options, told) in [
        (["-X"].as_slice(), "it may not list its keys (`ERROR metadump not allowed`): ask about each key by name"),
        (&["-o", "no_lru_crawler"], "it does not list its keys (`CLIENT_ERROR lru crawler disabled`): ask about each"),
    ] {
        let (server, folder) = (MemcachedServer::start_with(options), tempfile::tempdir().unwrap());
        let kvlock = Kvlock::on(&server.url(), folder.path());
        let output = kvlock.run(["list"]);
        assert_eq!((output.code, output.stdout.as_str()), (69, ""), "{output:?}");
        assert!(output.stderr.contains(told) && output.stderr.lines().count() == 1, "{output:?}");
        assert!(output.stderr.contains(&server.addr()), "it names the server: {output:?}");
        kvlock.ok(["run", "k", "--", "true"]);
    }
}

#[test]
fn several_servers_are_listed_together() {
    let (one, other) = (MemcachedServer::start(), MemcachedServer::start());
    let folder = tempfile::tempdir().unwrap();
    let kvlock = Kvlock::on(&format!("memcached://{},{}", one.addr(), other.addr()), folder.path());
    let keys: Vec<_> = (0..16).map(|n| format!("k{n:02}")).collect();
    keys.iter().for_each(|key| drop(kvlock.ok(["acquire", key])));
    assert_eq!(names(&objects(&kvlock.ok(["list", "--json", "--quiet"]))), keys);
    for server in [&one, &other] {
        assert!(server.stat("curr_items") > 1, "each has some beside its epoch item");
    }
}

#[test]
fn that_memcached_lists_no_snapshot_is_said() {
    let world = World::memcached();
    world.ok(["acquire", "k"]);
    assert!(world.run(["list"]).stderr.contains("lists no snapshot"));
    let local = World::local();
    local.ok(["acquire", "k"]);
    assert_eq!(local.run(["list"]).stderr, "");
}

#[test]
fn on_a_terminal_no_line_is_wider_than_it_and_a_note_cannot_control_it() {
    let world = World::local();
    let long = "x".repeat(200);
    world.ok([
        "acquire",
        &format!("key-{long}"),
        "--owner",
        &format!("owner-{long}"),
        "--note",
        &format!("note-{long}"),
    ]);
    world.ok(["acquire", "evil\u{1b}[2J", "--owner", "o\u{1b}]0;title\u{7}", "--note", "turned \u{202e}round"]);
    let mut terminal = Terminal::start(&world.command(["list"]));
    assert_eq!(terminal.program.exit(), 0);
    eventually("the last column's heading or the note", || terminal.screen().contains("note-"));
    let screen = terminal.screen();
    for line in screen.lines() {
        // A terminal that does not tell its width counts as 80 columns wide.
        assert!(line.trim_end_matches('\r').chars().count() <= 80, "{line:?}");
    }
    assert!(!screen.contains('\u{1b}') && !screen.contains('\u{202e}') && !screen.contains('\u{7}'), "{screen:?}");
    assert!(screen.contains("…") && screen.contains("evil\\u{1b}[2J"), "{screen:?}");
    let piped = world.ok(["list"]);
    assert!(piped.contains(&format!("key-{long}")) && piped.contains(&format!("note-{long}")), "{piped}");
}

#[test]
fn a_watch_is_redrawn_in_place_on_a_terminal_until_ctrl_c() {
    let world = World::local();
    let held = world.hold("report", &["--owner", "nightly"]);
    let mut terminal = Terminal::start(&world.command(["list", "--watch", "--every", "100ms"]));
    terminal.await_text("nightly");
    assert!(terminal.screen().starts_with("\u{1b}[2J\u{1b}[H"), "{:?}", terminal.screen());
    drop(held);
    world.ok(["acquire", "other", "--owner", "somebody"]);
    terminal.await_text("somebody");
    terminal.type_in("\x03");
    assert_eq!(terminal.program.exit(), 130);
    let screen = terminal.screen();
    assert!(screen.matches("\u{1b}[H").count() > 1 && screen.matches("\u{1b}[2J").count() == 1, "{screen:?}");
    let last = screen.rsplit("\u{1b}[H").next().unwrap();
    assert!(last.contains("somebody") && last.contains("\u{1b}[J"), "{last:?}");
}

#[test]
fn a_watch_in_a_pipe_is_appended_and_ends_by_a_signal() {
    let world = World::local();
    let _held = world.hold("report", &["--owner", "nightly"]);
    for json in [&["--json"][..], &[]] {
        let out = format!("watched{}", json.len());
        let file = std::fs::File::create(world.path(&out)).unwrap();
        let mut command = world.command(["list", "--watch", "--every", "100ms"].iter().chain(json));
        command.stdout(file);
        let mut watch = kvlock_tests::kvlock::Running::start(command);
        eventually("three lists", || world.read(&out).matches("nightly").count() >= 3);
        watch.signal(rustix::process::Signal::INT);
        assert_eq!(watch.exit(), 130);
        let text = world.read(&out);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        if !json.is_empty() {
            let ends: Vec<_> = objects(&text).into_iter().filter(|object| object["listed"].is_u64()).collect();
            assert!(ends.len() >= 3 && ends.iter().all(|end| end["listed"] == 1 && end["exact"] == true), "{text}");
        }
    }
}

#[test]
fn a_note_is_shown_where_people_look_and_is_refused_if_it_is_no_line() {
    in_both(|world| {
        let note = "the yearly one: 7\\8";
        let _held = world.hold("k", &["--owner", "nightly", "--note", note]);
        assert!(
            world.ok(["status", "k"]).contains(" for \"the yearly one: 7\\8\", until "),
            "{}",
            world.ok(["status", "k"])
        );
        assert_eq!(objects(&world.ok(["status", "k", "--json"]))[0]["holder"]["note"], note);
        let busy = world.run(["run", "k", "--wait", "0", "--", "true"]);
        assert!(busy.code == 75 && busy.stderr.contains(note), "{busy:?}");
        let word = world.kvlock.clone().with("KVLOCK_NOTE", "by the variable").ok(["acquire", "other"]);
        let word = world.ok(["renew", &word]);
        assert!(world.ok(["status", "other"]).contains("by the variable"));
        world.ok(["release", &word]);
        for (bad, told) in [
            ("", "the note has 0 bytes; 1 to 255 are possible"),
            ("one\ntwo", "the note has the control character `\\n`; give one line of text"),
        ] {
            let refused = world.run(["acquire", "third", "--note", bad]);
            assert!(refused.code == 64 && refused.stderr.contains(told), "{refused:?}");
            let refused = world.run(["semaphore", "acquire", "pool", "--note", bad]);
            assert!(refused.code == 64 && refused.stderr.contains(told), "{refused:?}");
        }
        world.ok(["run", "retried", "--retry-on", "1", "--note", "tries", "--", "true"]);
    });
}
