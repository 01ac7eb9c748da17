//! The playground: what it is made of, its store against the conformance suite, and its page in real browsers.
//!
//! `cargo xtask test` runs these tests where Node 20 or newer is installed, and says so where it is not.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use kvlock::store::{
    DeleteOutcome, Entry, EraInfo, Finding, KvStore, StoreError, Ttl, Version, WriteOutcome, conformance,
};
use kvlock_testkit::process;
use kvlock_tests::tree::workspace;
use serde_json::{Value, json};

/// All of it, in bytes: a megabyte.
const LARGEST: u64 = 1_000_000;

/// The built page. It is built once, by whichever test comes first.
static PAGE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = installed();
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("playground");
    run(node(&folder).arg("build.mjs").arg(&page));
    page
});

#[test]
#[ignore = "needs Node 20 and npm"]
fn the_page_is_under_a_megabyte_and_has_the_shipped_component_byte_for_byte() {
    let files: Vec<_> = fs::read_dir(&*PAGE).unwrap().map(|file| file.unwrap()).collect();
    let size: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(size < LARGEST, "{size} bytes in {files:?}");
    let component = PAGE.join("kvlock.wasm");
    assert!(fs::read(&component).unwrap() == kvlock::COMPONENT, "another component than the shipped one");
    // So is what the script carries, and what runs of it.
    run(node(&folder()).arg(script("component")).arg(component).arg(folder().join("generated")));
}

#[test]
#[ignore = "needs Node 20 and npm"]
fn its_code_is_typed_linted_and_formatted() {
    // What the build generates has types too.
    let _ = &*PAGE;
    run(process::tool("npm").args(["run", "--silent", "check"]).current_dir(folder()));
}

#[test]
#[ignore = "needs Node 20, npm and Chromium; Firefox and WebKit where they are"]
fn in_each_browser_each_story_comes_out_as_told_and_each_fault_and_link_works() {
    let flags = ["--experimental-websocket", "--test", "test/stories.test.mjs"];
    run(node(&folder()).args(flags).env("PLAYGROUND", &*PAGE));
}

#[test]
#[ignore = "needs Node 20 and npm"]
fn in_random_runs_kvlock_has_one_holder_at_a_time_and_each_classic_lock_loses() {
    run(node(&installed()).arg(script("random")));
}

#[test]
#[ignore = "needs Node 20 and npm"]
fn its_store_passes_the_conformance_suite() {
    let script = script("store");
    conformance::run(|| Simulated(Arc::new(Mutex::new(Talk::start(&script)))));
}

/// The store of the playground, in a process of its own. A clone is another client of the same contents.
#[derive(Clone)]
struct Simulated(Arc<Mutex<Talk>>);

/// A conversation in lines of JSON; see `playground/test/store.ts`.
struct Talk {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    now: Duration,
}

impl Talk {
    fn start(script: &Path) -> Talk {
        let mut child = process::tool("node").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Talk { child, requests, answers, now: Duration::ZERO }
    }

    fn ask(&mut self, mut request: Value) -> Result<Value, StoreError> {
        request["now"] = json!(self.now.as_nanos().to_string());
        writeln!(self.requests, "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        match answer["error"]["tag"].as_str() {
            None => Ok(answer["ok"].take()),
            Some(tag) => {
                let why = answer["error"]["val"].as_str().unwrap().to_string();
                Err(if tag == "invalid" { StoreError::Invalid(why) } else { StoreError::Rejected(why) })
            }
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // Killing what has ended by itself fails, and need not succeed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Simulated {
    fn ask(&self, op: &str, keys: &[String], more: &Value) -> Result<Value, StoreError> {
        let mut request = json!({ "op": op, "keys": keys, "value": "", "ttl": null, "era": "0", "number": "0" });
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        self.0.lock().unwrap().ask(request)
    }
}

impl KvStore for Simulated {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.get_many(&[key.to_string()])?.remove(0))
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        let answer = self.ask("get-many", keys, &json!({}))?;
        Ok(answer.as_array().unwrap().iter().map(entry).collect())
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        let more = json!({ "value": hex(value), "ttl": nanos(ttl) });
        self.ask("add", &[key.to_string()], &more).map(|answer| written(&answer))
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        let mut more = named(if_version);
        more["value"] = json!(hex(value));
        more["ttl"] = json!(nanos(ttl));
        self.ask("replace", &[key.to_string()], &more).map(|answer| written(&answer))
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        let answer = self.ask("delete", &[key.to_string()], &named(if_version))?;
        Ok(match answer["tag"].as_str().unwrap() {
            "deleted" => DeleteOutcome::Deleted,
            "absent" => DeleteOutcome::Absent,
            _ => DeleteOutcome::Conflict(answer.get("val").map(version)),
        })
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        let answer = self.ask("era", &[key.to_string()], &json!({}))?;
        Ok(EraInfo { id: number(&answer["id"]), lossless_for: Duration::from_nanos(number(&answer["losslessFor"])) })
    }

    fn diagnose(&self) -> Vec<Finding> {
        Vec::new()
    }
}

impl conformance::Subject for Simulated {
    fn store(&self) -> &dyn KvStore {
        self
    }

    fn second(&self) -> Box<dyn KvStore> {
        Box::new(self.clone())
    }

    fn pass(&self, time: Duration) {
        self.0.lock().unwrap().now += time;
    }

    fn lose_everything(&self) -> bool {
        self.ask("lose everything", &[], &json!({})).unwrap();
        true
    }
}

fn entry(answer: &Value) -> Option<Entry> {
    let time_left = answer.get("timeLeft").map(|left| match left["tag"].as_str() {
        Some("after") => Ttl::After(Duration::from_nanos(number(&left["val"]))),
        _ => Ttl::Forever,
    });
    let value = bytes(answer.get("value")?.as_str().unwrap());
    Some(Entry { value, version: version(&answer["version"]), time_left })
}

fn written(answer: &Value) -> WriteOutcome {
    match answer["tag"].as_str().unwrap() {
        "written" => WriteOutcome::Written(version(&answer["val"])),
        "absent" => WriteOutcome::Absent,
        _ => WriteOutcome::Conflict(answer.get("val").map(version)),
    }
}

fn version(answer: &Value) -> Version {
    Version { era: number(&answer["era"]), number: number(&answer["number"]) }
}

fn named(version: Version) -> Value {
    json!({ "era": version.era.to_string(), "number": version.number.to_string() })
}

fn number(text: &Value) -> u64 {
    text.as_str().unwrap().parse().unwrap()
}

fn nanos(ttl: Ttl) -> Option<String> {
    match ttl {
        Ttl::After(ttl) => Some(ttl.as_nanos().to_string()),
        Ttl::Forever => None,
    }
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn folder() -> PathBuf {
    workspace().join("playground")
}

/// The folder, with what the build needs beside it.
fn installed() -> PathBuf {
    static INSTALLED: LazyLock<()> = LazyLock::new(|| {
        run(process::tool("node").args(["install.mjs"]).current_dir(folder()));
    });
    LazyLock::force(&INSTALLED);
    folder()
}

/// Builds a module of `playground/test` for Node.
fn script(name: &str) -> PathBuf {
    // It generates what this needs.
    let _ = &*PAGE;
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("playground-{name}.mjs"));
    run(node(&folder()).args(["build.mjs", "--for-node", &format!("test/{name}.ts")]).arg(&script));
    script
}

fn node(folder: &Path) -> Command {
    let mut node = process::tool("node");
    node.current_dir(folder);
    node
}

/// Runs a command, and shows what it says if it fails.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
}
