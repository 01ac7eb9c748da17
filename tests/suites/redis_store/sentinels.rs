//! Masters that sentinels watch.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use kvlock::store::{KvStore, Redis};
use kvlock_testkit::{RedisServer, free_port, process};
use kvlock_tests::kvlock::eventually;

use crate::support::{TTL, add, assert_unavailable, store, token};

/// A redis-sentinel that ends with this value.
struct Sentinel {
    address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    fn watch(master: &RedisServer, quorum: usize) -> Sentinel {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_port());
        let port = master.addr().rsplit_once(':').unwrap().1.to_string();
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "bind 127.0.0.1\nport {}\ndir {}\nsentinel monitor main 127.0.0.1 {port} {quorum}\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            address.port(),
            folder.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = process::command("redis-server");
        command.arg(&file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        let sentinel = Sentinel { address, child: command.spawn().unwrap(), _folder: folder };
        eventually("the sentinel", || sentinel.ask("SENTINEL masters").is_some());
        sentinel
    }

    fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        // A sentinel does not know QUIT: an answer that is known marks the end.
        stream.write_all(format!("{command}\r\nPING\r\n").as_bytes()).ok()?;
        let (mut reply, mut buffer) = (String::new(), [0; 4096]);
        while !reply.ends_with("+PONG\r\n") {
            let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
            reply.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        Some(reply)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Killing what has ended by itself fails, and need not succeed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(sentinels: &[Sentinel]) -> String {
    let list: Vec<_> = sentinels.iter().map(|sentinel| sentinel.address.to_string()).collect();
    format!("redis+sentinel://{}/main", list.join(","))
}

#[test]
fn the_master_that_sentinels_name_is_found_and_a_failover_is_followed() {
    let (mut master, replica) = (RedisServer::start(), RedisServer::start());
    replica.replicate(&master);
    let sentinels: Vec<_> = (0..3).map(|_| Sentinel::watch(&master, 2)).collect();
    let know = |part: &str| {
        sentinels.iter().all(|sentinel| sentinel.ask("SENTINEL master main").is_some_and(|told| told.contains(part)))
    };
    eventually("the sentinels know the replica", || know("num-slaves\r\n$1\r\n1\r\n"));
    eventually("the sentinels know each other", || know("num-other-sentinels\r\n$1\r\n2\r\n"));
    let client = Redis::connect(&url(&sentinels)).unwrap();
    let held = add(&client, "k", "v");
    assert_eq!(store(&master).get("k").unwrap().unwrap().version, held);
    let findings = client.diagnose();
    assert_eq!(findings.iter().filter(|f| f.check == "sentinel").count(), 3, "{findings:#?}");
    master.kill();
    assert!(client.add("other", b"v", TTL).is_err());
    eventually("a master again", || client.era("k").is_ok());
    let era = client.era("k").unwrap();
    assert!(era.id > held.era && era.lossless_for < Duration::from_secs(60), "{era:?}");
    let new = add(&client, "new", "v");
    assert!(token(new) > token(held));
    assert_eq!(store(&replica).get("new").unwrap().unwrap().version, new);
}

#[test]
fn sentinels_that_do_not_know_the_master_or_are_none_are_named() {
    let master = RedisServer::start();
    let sentinel = Sentinel::watch(&master, 1);
    let text =
        assert_unavailable(Redis::connect(&format!("redis+sentinel://{}/nobody", sentinel.address)).unwrap().get("k"));
    assert!(text.contains("`nobody`") && text.contains(&sentinel.address.to_string()), "{text}");
    let text =
        assert_unavailable(Redis::connect(&format!("redis+sentinel://{}/main", master.addr())).unwrap().get("k"));
    assert!(text.contains(&master.addr()), "{text}");
    // A sentinel is no server to lock on.
    let text = Redis::connect(&format!("redis://{}", sentinel.address)).unwrap().get("k").unwrap_err().to_string();
    assert!(text.contains("sentinel") || text.contains("unknown command"), "{text}");
    // One of several is enough.
    let list = format!("redis+sentinel://{},{}/main", free_port(), sentinel.address);
    add(&Redis::connect(&list).unwrap(), "k", "v");
}
