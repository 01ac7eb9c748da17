//! Acquire and release of a lock that nobody else wants: a whole client against the bytes alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kvlock::store::{KvStore, Memcached};
use kvlock::{Client, Session};
use kvlock_testkit::RedisServer;
use memcache::exp::{Get, Meta, MetaClient, MutationResult, Set};

use crate::Effort;
use crate::cores::Server;
use crate::results::{Figure, Goal, Group, Results, Spread};
use crate::rivals::Redlock;
use crate::servers;
use crate::turns::{Contender, take_turns};

const ROUNDS: usize = 200;
/// Enough that a sample is longer than what disturbs it, short enough that turns are close together.
const PAIRS: usize = 100;

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let group = results.group(
        "Uncontended acquire + release",
        "One client takes a lock that nobody else wants and gives it back. The floor is a bare socket that sends the \
         bytes that kvlock sends, and does nothing else. Client and server are on one core.",
    );
    compare(group, effort, Server::Beside)?;
    let group = results.group(
        "Uncontended, on two cores",
        "The same with the server on another core, as servers usually are. Most of it is waiting for cores to wake; \
         kvlock stays awake for its replies where it has measured that this is faster, the others sleep.",
    );
    compare(group, effort, Server::Apart)
}

fn compare(group: &mut Group, effort: Effort, place: Server) -> Result<()> {
    let servers = place.start(|| Ok((servers::memcached(), RedisServer::start())))?;
    let Some(((server, redis), _here)) = servers else { return Ok(()) };
    let bytes = captured(&server.addr())?;
    let mut socket = Socket::connect(&server.addr(), bytes)?;
    let session = Client::connect(&server.url())?.session().quarantine(Duration::ZERO).open()?;
    let asleep = Client::with_store(Memcached::connect(&server.addr())?.with_spin_limit(Duration::ZERO));
    let asleep = asleep.session().quarantine(Duration::ZERO).open()?;
    let meta = MetaClient::connect(server.addr())?;
    let rslock = Redlock::connect(redis.port(), tokio::runtime::Builder::new_multi_thread())?;
    let rslock_alone = Redlock::connect(redis.port(), tokio::runtime::Builder::new_current_thread())?;
    let value = socket.value.clone();

    let contenders = &mut [
        Contender::new("bare socket, the same bytes", |times| socket.pairs(times)),
        Contender::new("kvlock", |times| pairs(&session, times)),
        Contender::new("kvlock, asleep", |times| pairs(&asleep, times)),
        Contender::new("MetaClient", |times| {
            (0..times).try_for_each(|_| {
                let add = Set::new("kvlock:lock:m", &value).add().ttl_raw(32).return_cas();
                let epoch = Get::new("kvlock:epoch").without_value().meta(Meta::default().cas());
                let replies = meta.run_batch([add.into(), epoch.into()])?;
                let [Ok(added), Ok(_)] = replies.as_slice() else { bail!("no two answers") };
                delete(&meta, added.as_mutation())
            })
        }),
        Contender::new("MetaClient, unprotected", |times| {
            (0..times).try_for_each(|_| {
                let added = meta.set("kvlock:lock:m", &value).add().ttl_raw(32).return_cas().send()?;
                delete(&meta, Some(&added))
            })
        }),
        Contender::new("rslock on Redis", |times| rslock.pairs(times)),
        Contender::new("rslock on Redis, one thread", |times| rslock_alone.pairs(times)),
    ];
    let samples = take_turns(contenders, effort.rounds(ROUNDS), PAIRS)?;
    let [socket, kvlock, asleep, meta, unprotected, rslock, rslock_alone] = samples.as_slice() else {
        bail!("seven contenders")
    };
    let figure = |name: &str, samples: &[f64]| Figure::new(name, Spread::of(samples).scaled(1e6), "µs");
    group.add(figure("bare socket, the same bytes", socket));
    group.add(
        figure("kvlock", kvlock).against("bare socket", Spread::of_ratios(kvlock, socket)).goal(Goal::AtMost(1.10)),
    );
    if place == Server::Apart {
        group.add(
            figure("kvlock, never staying awake", asleep).against("bare socket", Spread::of_ratios(asleep, socket)),
        );
    }
    group.add(
        figure("MetaClient of the crate memcache", meta)
            .against("kvlock", Spread::of_ratios(meta, kvlock))
            .goal(Goal::AtLeast(1.0)),
    );
    group.add(
        figure("MetaClient, not noticing a flush", unprotected)
            .against("kvlock", Spread::of_ratios(unprotected, kvlock))
            .aside(),
    );
    group.add(
        figure("rslock on Redis, on tokio's usual runtime", rslock)
            .against("kvlock", Spread::of_ratios(rslock, kvlock))
            .goal(Goal::AtLeast(1.5)),
    );
    group.add(
        figure("rslock on Redis, on tokio's runtime of one thread", rslock_alone)
            .against("kvlock", Spread::of_ratios(rslock_alone, kvlock)),
    );
    Ok(())
}

fn pairs(session: &Session, times: usize) -> Result<()> {
    (0..times).try_for_each(|_| {
        session.lock("k").acquire()?.release()?;
        Ok(())
    })
}

/// The value that kvlock writes.
fn captured(server: &str) -> Result<Vec<u8>> {
    let store = Memcached::connect(server)?;
    let session = Client::connect(&format!("memcached://{server}"))?.session().quarantine(Duration::ZERO).open()?;
    let grant = session.lock("k").acquire()?;
    let entry = store.get("kvlock:lock:k")?.context("the lock is not under the key that was expected")?;
    grant.release()?;
    Ok(entry.value)
}

/// What its release is.
fn delete(meta: &MetaClient, added: Option<&MutationResult>) -> Result<()> {
    let cas = added.filter(|added| added.applied()).and_then(|added| added.cas).context("not added")?;
    ensure!(meta.delete("kvlock:lock:m").compare_cas(cas).send()?.applied(), "not deleted");
    Ok(())
}

/// A socket, and the bytes that kvlock sends on it.
struct Socket {
    stream: TcpStream,
    value: Vec<u8>,
    add: Vec<u8>,
    reply: [u8; 4096],
}

impl Socket {
    fn connect(address: &str, value: Vec<u8>) -> Result<Socket> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut add = format!("add kvlock:lock:s 2949534642 32 {}\r\n", value.len()).into_bytes();
        add.extend_from_slice(&value);
        add.extend_from_slice(b"\r\nmg kvlock:lock:s c f\r\nmg kvlock:epoch c\r\n");
        Ok(Socket { stream, value, add, reply: [0; 4096] })
    }

    fn pairs(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.stream.write_all(&self.add)?;
            let reply = read(&mut self.stream, &mut self.reply, 3)?;
            let cas = reply.strip_prefix("STORED\r\nHD c").and_then(|rest| rest.split(' ').next());
            let delete = format!("md kvlock:lock:s C{}\r\n", cas.context("not stored")?);
            self.stream.write_all(delete.as_bytes())?;
            ensure!(read(&mut self.stream, &mut self.reply, 1)? == "HD\r\n", "not deleted");
        }
        Ok(())
    }
}

fn read<'a>(stream: &mut TcpStream, buffer: &'a mut [u8], lines: usize) -> Result<&'a str> {
    let mut length = 0;
    while buffer[..length].iter().filter(|byte| **byte == b'\n').count() < lines {
        match stream.read(&mut buffer[length..])? {
            0 => bail!("the server has closed the connection"),
            read => length += read,
        }
    }
    Ok(std::str::from_utf8(&buffer[..length])?)
}
