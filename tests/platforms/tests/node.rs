//! The example web service on Node, by `jco serve` with an instance for each request: an acquire, a renewal and a release
//! in three instances that share nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use kvlock::Client;
use kvlock::error::AcquireError;
use kvlock_platforms::{JOB, WEB, composed_with};
use kvlock_testkit::{MemcachedServer, free_port, process};
use kvlock_tests::npm;
use tempfile::TempDir;

const PACKAGE: &str = r#"{ "private": true, "dependencies": { "@bytecodealliance/jco": "1.35.0" } }"#;

/// Returns the tool.
fn jco() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jco");
    npm::install(PACKAGE, &folder);
    folder.join("node_modules/.bin/jco")
}

/// A web server that ends with this value.
struct Served {
    child: Child,
    address: SocketAddr,
    /// Where it leaves what it has transpiled.
    _folder: TempDir,
}

impl Served {
    fn start(component: &Path, store: &str) -> Served {
        let address = free_port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = process::tool("node");
        // It serves in a process that it starts.
        command.process_group(0).env("TMPDIR", folder.path());
        command.arg(jco()).arg("serve").arg(component).args(["--host", "127.0.0.1"]);
        command.args(["--port", &address.port().to_string(), "--isolate-requests", "instance"]);
        let child = command.env("KVLOCK_STORE", store).stdin(Stdio::null()).spawn().expect("Node is there");
        let mut served = Served { child, address, _folder: folder };
        while TcpStream::connect(address).is_err() {
            assert!(served.child.try_wait().unwrap().is_none(), "jco serve ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        served
    }

    /// Returns the status code and the body.
    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        (status, if is_chunked { unchunked(body) } else { body.to_string() })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        process::kill_group(&mut self.child);
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).expect("the length of a chunk");
        whole.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}

/// `cargo xtask test` runs it where Node 20 or newer is installed, and says so where it is not.
#[test]
#[ignore = "needs Node 20 and npm"]
fn a_lock_outlives_the_instances_of_a_web_service_on_node() {
    let server = MemcachedServer::start();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("web-with-lock.wasm");
    fs::write(&file, composed_with(WEB).unwrap()).unwrap();
    let web = Served::start(&file, &server.url());
    let client = Client::connect(&server.url()).unwrap();
    let native = client.session().namespace("example").quarantine(Duration::ZERO).open().unwrap();

    let (status, grant) = web.post("/acquire", "basket");
    assert_eq!(status, 200, "{grant}");
    let busy = native.lock("basket").wait(Duration::ZERO).acquire();
    assert!(matches!(&busy, Err(AcquireError::Busy { .. })), "{busy:?}");
    let (status, renewed) = web.post("/renew", &grant);
    assert!(status == 200 && renewed != grant, "{status} {renewed}");
    assert_eq!(web.post("/release", &grant).0, 410, "the grant of before the renewal");
    assert_eq!(web.post("/release", &renewed), (200, "released".to_string()));
    let after = native.lock("basket").acquire().unwrap();
    assert_eq!(web.post("/renew", &renewed).0, 410);
    after.release().unwrap();
    assert_eq!(web.post("/renew", "no grant").0, 400);
    assert_eq!(web.post("/else", "").0, 404);
}

/// The same binary as on wasmtime.
#[test]
#[ignore = "needs Node 20 and npm"]
fn a_job_on_node_waits_for_a_native_holder() {
    let server = MemcachedServer::start();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("job-with-lock.wasm");
    fs::write(&file, composed_with(JOB).unwrap()).unwrap();
    let client = Client::connect(&server.url()).unwrap();
    let native = client.session().namespace("example").quarantine(Duration::ZERO).open().unwrap();
    let held = native.lock("report").lease(Duration::from_secs(120)).acquire().unwrap();
    let token = held.token();
    let mut command = process::tool("node");
    command.arg(jco()).arg("run").arg(&file).env("KVLOCK_STORE", server.url()).stdout(Stdio::piped());
    let mut job = command.spawn().expect("Node is there");
    while native.status("report").unwrap().waiters == 0 {
        assert!(job.try_wait().unwrap().is_none(), "the job has ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    held.release().unwrap();
    let output = job.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let later = said.trim().strip_prefix("done under token ").and_then(|token| token.parse::<u64>().ok());
    assert!(output.status.success() && later.is_some_and(|later| later > token), "{said}");
}
