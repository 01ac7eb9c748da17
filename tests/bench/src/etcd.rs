//! Acquire and release on etcd, against the requests alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kvlock::Client;
use kvlock_testkit::EtcdCluster;

use crate::Effort;
use crate::contended;
use crate::results::{Figure, Goal, Results, Spread};
use crate::turns::{Contender, take_turns};

const ROUNDS: usize = 40;
const PAIRS: usize = 20;

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let group = results.group(
        "Uncontended, on etcd",
        "One client takes a lock on a cluster of one member, which flushes nothing, and gives it back. The floor is a bare \
         socket that grants a lease, puts under it if nothing is there, and deletes, by the same gateway.",
    );
    let cluster = EtcdCluster::start(1);
    let session = Client::connect(&cluster.url())?.session().quarantine(Duration::ZERO).open()?;
    let mut floor = Floor::connect(&cluster.addr(0))?;
    let contenders = &mut [
        Contender::new("lease and two transactions", |times| (0..times).try_for_each(|_| floor.pair())),
        Contender::new("kvlock", |times| {
            (0..times).try_for_each(|_| {
                session.lock("k").acquire()?.release()?;
                Ok(())
            })
        }),
    ];
    let samples = take_turns(contenders, effort.rounds(ROUNDS), PAIRS)?;
    let [floor, kvlock] = samples.as_slice() else { bail!("two contenders") };
    let figure = |name: &str, samples: &[f64]| Figure::new(name, Spread::of(samples).scaled(1e3), "ms");
    group.add(figure("lease and two transactions, bare socket", floor));
    group.add(
        figure("kvlock on etcd", kvlock)
            .against("bare socket", Spread::of_ratios(kvlock, floor))
            .goal(Goal::AtMost(1.5)),
    );
    contended::between_processes(results, effort, "etcd", cluster.url())
}

/// A socket that asks the gateway for what a lock needs.
struct Floor {
    stream: BufReader<TcpStream>,
}

impl Floor {
    fn connect(address: &str) -> Result<Floor> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Floor { stream: BufReader::new(stream) })
    }

    fn pair(&mut self) -> Result<()> {
        let granted = self.post("lease/grant", r#"{"TTL":"32"}"#)?;
        let lease = granted.split_once(r#""ID":""#).and_then(|(_, rest)| rest.split('"').next()).context("no lease")?;
        let added = self.post(
            "kv/txn",
            &format!(
                r#"{{"compare":[{{"target":"CREATE","key":"Zmxvb3I=","create_revision":"0"}}],
                "success":[{{"request_put":{{"key":"Zmxvb3I=","value":"Zmxvb3I=","lease":"{lease}"}}}}]}}"#
            ),
        )?;
        ensure!(added.contains(r#""succeeded":true"#), "not added: {added}");
        let deleted = self.post(
            "kv/txn",
            r#"{"compare":[{"target":"VALUE","key":"Zmxvb3I=","value":"Zmxvb3I="}],
            "success":[{"request_delete_range":{"key":"Zmxvb3I="}}]}"#,
        )?;
        ensure!(deleted.contains(r#""deleted":"1""#), "not deleted: {deleted}");
        Ok(())
    }

    fn post(&mut self, path: &str, body: &str) -> Result<String> {
        let request = format!("POST /v3/{path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            if let Some(told) = line.strip_prefix("Content-Length: ") {
                length = told.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut reply = vec![0; length];
        self.stream.read_exact(&mut reply)?;
        Ok(String::from_utf8(reply)?)
    }
}
