//! What is printed with `--json`: for programs, whose numbers are doubles.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{World, in_both};

/// Every object that a text has, one a line.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))).collect()
}

/// The error that a command told on stderr.
fn error(world: &World, arguments: &[&str]) -> Value {
    let output = world.run(arguments.iter().chain(&["--json"]));
    assert_eq!(output.stdout, "", "{output:?}");
    let [told] = objects(&output.stderr).try_into().unwrap_or_else(|_| panic!("{output:?}"));
    let error = &told["error"];
    assert_eq!(error["exit_code"], output.code, "{told}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty() && !message.contains('\n')), "{told}");
    error.clone()
}

/// What every subcommand prints, and what it says when it fails.
fn everything(world: &World) -> Vec<Value> {
    let mut told = Vec::new();
    let mut run = |arguments: &[&str]| {
        let output = world.run(["--json"].iter().chain(arguments));
        let objects = [objects(&output.stdout), objects(&output.stderr)].concat();
        told.extend(objects.clone());
        objects.into_iter().next_back().unwrap_or_default()
    };
    let grant = run(&["acquire", "k", "--owner", "me"])["grant"].as_str().unwrap().to_owned();
    run(&["status", "k", "other"]);
    run(&["run", "k", "--wait", "0", "--", "true"]);
    let renewed = run(&["renew", &grant])["grant"].as_str().unwrap().to_owned();
    run(&["release", &grant]);
    run(&["release", &renewed]);
    run(&["release", &renewed]);
    let kept = run(&["acquire", "kept", "--at-least", "60s"])["grant"].as_str().unwrap().to_owned();
    run(&["release", &kept]);
    run(&["status", "kept"]);
    run(&["acquire", "noted", "--note", "why"]);
    run(&["list"]);
    run(&["ask", "noted", "--wait", "0", "--note", "why not"]);
    run(&["ask", "kept"]);
    let asked = run(&["acquire", "asked"])["grant"].as_str().unwrap().to_owned();
    run(&["ask", "asked", "--wait", "0"]);
    run(&["renew", &asked]);
    run(&["acquire", "k"]);
    run(&["break", "k"]);
    run(&["break", "k"]);
    let several = run(&["acquire", "one", "--also", "other"])["grant"].as_str().unwrap().to_owned();
    run(&["release", &several]);
    run(&["acquire", "eternal", "--lease", "forever"]);
    run(&["status", "eternal"]);
    run(&["semaphore", "make", "pool", "2"]);
    run(&["semaphore", "acquire", "pool"]);
    run(&["semaphore", "acquire", "pool"]);
    run(&["semaphore", "acquire", "pool", "--wait", "0"]);
    run(&["semaphore", "status", "pool"]);
    run(&["semaphore", "ask", "pool", "0", "--wait", "0"]);
    run(&["semaphore", "list"]);
    run(&["list", "--prefix", "po"]);
    run(&["semaphore", "make", "pool", "1", "--wait", "0"]);
    run(&["semaphore", "break", "pool", "0"]);
    run(&["semaphore", "break", "pool", "1"]);
    run(&["semaphore", "destroy", "pool"]);
    run(&["semaphore", "status", "pool"]);
    run(&["doctor"]);
    run(&["frobnicate"]);
    run(&["run", "k", "--", "no-such-program"]);
    run(&["run", "k", "--retry-on", "1", "--retries", "0", "--", "false"]);
    told
}

fn numbers(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Number(number) => found.push(number.as_f64().unwrap()),
        Value::Array(values) => values.iter().for_each(|value| numbers(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| numbers(value, found)),
        _ => {}
    }
}

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        Value::Object(of) => of.iter().for_each(|(name, value)| {
            found.insert(name.clone());
            // What is in there are keys of the user's.
            if name != "tokens" {
                fields(value, found);
            }
        }),
        _ => {}
    }
}

#[test]
fn no_number_loses_digits_in_a_double_and_every_field_is_documented() {
    let page = kvlock_tests::tree::page("docs/json.md");
    in_both(|world| {
        let told = everything(world);
        assert!(told.len() > 30, "{}", told.len());
        let (mut seen, mut names) = (Vec::new(), BTreeSet::new());
        for object in &told {
            numbers(object, &mut seen);
            fields(object, &mut names);
        }
        assert!(!seen.is_empty() && seen.iter().all(|number| number.abs() < 9e15), "{seen:?}");
        assert!(names.contains("token") && names.contains("holder") && names.contains("waiting_for"), "{names:?}");
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "`{name}` is documented nowhere");
        }
    });
}

#[test]
fn a_token_is_the_same_text_everywhere() {
    in_both(|world| {
        let script = "echo $KVLOCK_TOKEN; \"$KVLOCK\" status k --json";
        let output = world.script("k", &[], script);
        let (token, status) = output.stdout.split_once('\n').unwrap();
        assert_eq!(objects(status)[0]["holder"]["token"], token);
        let acquired = &objects(&world.ok(["acquire", "k", "--json"]))[0];
        assert_eq!(objects(&world.ok(["status", "k", "--json"]))[0]["holder"]["token"], acquired["token"]);
        assert!(world.ok(["status", "k"]).contains(acquired["token"].as_str().unwrap()));
    });
}

#[test]
fn an_error_is_one_object_on_stderr_with_its_kind() {
    in_both(|world| {
        let grant = world.ok(["acquire", "k", "--owner", "somebody"]);
        world.ok(["semaphore", "make", "pool", "1"]);
        world.ok(["semaphore", "acquire", "pool"]);
        let busy = error(world, &["acquire", "k", "--wait", "0"]);
        assert_eq!((&busy["kind"], &busy["key"]), (&"busy".into(), &"k".into()), "{busy}");
        assert_eq!((&busy["holder"]["owner"], &busy["waiting_for"]["kind"]), (&"somebody".into(), &"holder".into()));
        let code = error(world, &["acquire", "k", "--wait", "0", "--conflict-exit-code", "9"]);
        assert_eq!((&code["kind"], &code["exit_code"]), (&"busy".into(), &9.into()), "{code}");
        let exhausted = error(world, &["semaphore", "acquire", "pool", "--wait", "0"]);
        assert_eq!((&exhausted["kind"], &exhausted["waiting_for"]["size"]), (&"busy".into(), &1.into()), "{exhausted}");
        world.ok(["release", &grant]);
        let refused = "memcached://127.0.0.1:1";
        for (kind, code, arguments) in [
            ("usage", 64, &["acquire", "k", "--laese"][..]),
            ("usage", 64, &["acquire", "k", "--store", "nonsense"]),
            ("invalid", 64, &["acquire", ""]),
            ("invalid", 64, &["release", "nonsense"]),
            ("unknown-semaphore", 64, &["semaphore", "acquire", "pond"]),
            ("unknown-semaphore", 64, &["semaphore", "destroy", "pond"]),
            ("unknown-semaphore", 64, &["semaphore", "status", "pond"]),
            ("unavailable", 69, &["status", "k", "--store", refused]),
            ("busy", 75, &["semaphore", "destroy", "pool", "--wait", "0"]),
            ("not-holder", 77, &["release", &grant]),
        ] {
            let error = error(world, arguments);
            assert_eq!((&error["kind"], &error["exit_code"]), (&kind.into(), &code.into()), "{arguments:?}: {error}");
            let is_about_one = ["unknown-semaphore", "unavailable", "busy", "not-holder"].contains(&kind);
            assert_eq!(error["key"].is_string(), is_about_one, "{arguments:?}: {error}");
        }
        let tips = error(world, &["acquire", "--laese"])["tips"].clone();
        assert!(tips[0].as_str().unwrap().contains("--lease"), "{tips}");
    });
}

#[test]
fn what_a_run_command_writes_is_not_mixed_with_errors() {
    let world = World::local();
    for (arguments, code, kind) in [
        (&["run", "k", "--json", "--", "no-such-program"][..], 127, "not-found"),
        (&["run", "k", "--json", "--", "/"], 126, "cannot-run"),
    ] {
        let output = world.run(arguments);
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{output:?}");
        assert_eq!(objects(&output.stderr)[0]["error"]["kind"], kind);
    }
    let output = world.script("k", &["--json"], "echo '{'; echo '}' >&2; exit 3");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (3, "{\n", "}\n"));
}

#[test]
fn what_is_said_besides_is_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let output = kvlock_tests::Kvlock::at_home(folder.path()).run(["status", "k", "--json"]);
    let [note] = objects(&output.stderr).try_into().unwrap();
    assert!(note["note"]["message"].as_str().is_some_and(|text| text.contains("this machine only")), "{note}");
}
