//! Several operations on one connection at once, for a thread: their requests leave in one piece, and each is given the
//! bytes that its frame takes. So they take the time of one exchange, and each is what it is alone.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kvlock_protocol::{Epoch, Failure, Frame, Request, Talk, Transport};

use super::super::{Write, WriteAnswer};
use super::codec::Memcache;
use super::connection::Connection;

type Answer = Result<WriteAnswer, Failure>;
type Operation<'w> = Pin<Box<dyn Future<Output = (Answer, Epoch)> + Send + 'w>>;

/// Requests that are to leave next, and the replies to those that have left.
#[derive(Default)]
struct Flight {
    requests: Vec<u8>,
    frames: Vec<(usize, Frame)>,
    replies: HashMap<usize, Result<Vec<u8>, Failure>>,
    /// How many requests there were.
    numbered: usize,
}

/// An operation's share of the connection.
struct Share {
    flight: Arc<Mutex<Flight>>,
    replies: Vec<u8>,
    peer: String,
    age: Duration,
}

/// Makes several writes on a server that showed this epoch last. `marks` has another number for each. Also returns the
/// epoch that it showed last.
pub(super) fn write_all(
    connection: &mut Connection,
    epoch: Epoch,
    writes: &[&Write],
    marks: impl Iterator<Item = u32>,
) -> (Vec<Answer>, Epoch) {
    let flight = Arc::new(Mutex::new(Flight::default()));
    let (peer, age) = (connection.peer.to_string(), connection.age());
    let share = || Share { flight: flight.clone(), replies: Vec::new(), peer: peer.clone(), age };
    let mut operations: Vec<Operation<'_>> = Vec::new();
    for (write, mark) in writes.iter().zip(marks) {
        operations.push(Box::pin(carry_out(write, mark, Talk::at(epoch), share())));
    }
    let mut ends: Vec<Option<(Answer, Epoch)>> = operations.iter().map(|_| None).collect();
    loop {
        for (operation, end) in operations.iter_mut().zip(&mut ends) {
            if end.is_none()
                && let Poll::Ready(done) = operation.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                *end = Some(done);
            }
        }
        if ends.iter().all(Option::is_some) {
            let seen = ends.iter().flatten().map(|(_, seen)| *seen).find(|seen| seen.identity != epoch.identity);
            return (ends.into_iter().flatten().map(|(answer, _)| answer).collect(), seen.unwrap_or(epoch));
        }
        exchange(connection, &flight);
    }
}

async fn carry_out(write: &Write, mark: u32, mut talk: Talk, mut share: Share) -> (Answer, Epoch) {
    let answer = match write {
        Write::Add { key, value, ttl } => talk.add(&mut share, key, value, *ttl, mark).await.map(WriteAnswer::Written),
        Write::Replace { key, value, ttl, if_version } => {
            talk.replace(&mut share, key, value, *ttl, *if_version, mark).await.map(WriteAnswer::Written)
        }
        Write::Delete { key, if_version } => talk.delete(&mut share, key, *if_version).await.map(WriteAnswer::Deleted),
    };
    (answer, *talk.epoch())
}

/// Sends what is to leave, and takes in the replies to all of it.
fn exchange(connection: &mut Connection, flight: &Mutex<Flight>) {
    let (requests, frames) = {
        let mut flight = lock(flight);
        (std::mem::take(&mut flight.requests), std::mem::take(&mut flight.frames))
    };
    let mut failed = connection.send(&requests).err();
    for (number, mut frame) in frames {
        let replies = loop {
            match &mut failed {
                Some(Failure::NotSent(why)) => break Err(Failure::NotSent(why.clone())),
                Some(Failure::NoAnswer(why) | Failure::Refused(why) | Failure::Foreign(why)) => {
                    break Err(Failure::NoAnswer(why.clone()));
                }
                None => {}
            }
            match frame.advance(connection.unread()) {
                Some(length) => break Ok(connection.take(length).to_vec()),
                None => failed = connection.fill().map_err(Failure::after_a_write).err(),
            }
        };
        lock(flight).replies.insert(number, replies);
    }
}

impl Transport for Share {
    type Codec = Memcache;

    fn exchange(&mut self, request: &Request) -> impl Future<Output = Result<&[u8], Failure>> + Send {
        let number = {
            let mut flight = lock(&self.flight);
            flight.numbered += 1;
            let number = flight.numbered;
            flight.requests.extend_from_slice(request.bytes());
            flight.frames.push((number, request.frame()));
            number
        };
        async move {
            let flight = self.flight.clone();
            let replies = move || lock(&flight).replies.remove(&number);
            self.replies = poll_fn(move |_| replies().map_or(Poll::Pending, Poll::Ready)).await?;
            Ok(&self.replies[..])
        }
    }

    fn pause(&mut self, length: Duration) -> impl Future<Output = Result<(), Failure>> + Send {
        std::thread::sleep(length);
        std::future::ready(Ok(()))
    }

    fn peer(&self) -> String {
        self.peer.clone()
    }

    fn now(&self) -> Duration {
        super::connection::now()
    }

    fn age(&self) -> Duration {
        self.age
    }

    fn random(&mut self) -> Result<u64, Failure> {
        getrandom::u64().map_err(|error| Failure::NotSent(format!("no randomness: {error}")))
    }
}

fn lock(flight: &Mutex<Flight>) -> MutexGuard<'_, Flight> {
    // A panic elsewhere leaves nothing half done in it.
    flight.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kvlock_testkit::MemcachedServer;

    use super::super::super::{KvStore, Memcached, StoreError, Ttl, Version, Write, WriteAnswer, WriteOutcome};

    fn add(key: &str) -> Write {
        Write::Add { key: key.into(), value: b"mine".to_vec(), ttl: Ttl::After(std::time::Duration::from_secs(30)) }
    }

    fn version(answer: &Result<WriteAnswer, StoreError>) -> Version {
        match answer {
            Ok(WriteAnswer::Written(WriteOutcome::Written(version))) => *version,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn several_writes_are_answered_each_for_itself_and_in_their_order() {
        let server = MemcachedServer::start();
        let store = Memcached::connect(&server.addr()).unwrap();
        store.add("b", b"somebody's", Ttl::Forever).unwrap();
        let keys = ["a", "b", "c"];
        let added = store.write_many(&keys.map(add));
        let [a, _, c] = &added[..] else { panic!("{added:?}") };
        assert!(matches!(added[1], Ok(WriteAnswer::Written(WriteOutcome::Conflict(_)))), "{added:?}");
        let (a, c) = (version(a), version(c));
        let value = b"again".to_vec();
        let ttl = Ttl::Forever;
        let mixed = store.write_many(&[
            Write::Replace { key: "a".into(), value: value.clone(), ttl, if_version: a },
            Write::Delete { key: "c".into(), if_version: c },
            Write::Replace { key: "d".into(), value: value.clone(), ttl, if_version: c },
            add("bad key"),
        ]);
        assert!(version(&mixed[0]).number > a.number);
        assert_eq!(mixed[1], Ok(WriteAnswer::Deleted(super::super::super::DeleteOutcome::Deleted)));
        assert_eq!(mixed[2], Ok(WriteAnswer::Written(WriteOutcome::Absent)));
        assert!(matches!(mixed[3], Err(StoreError::Invalid(_))), "{mixed:?}");
        assert_eq!(store.get("a").unwrap().unwrap().value, value);
        assert_eq!(store.get("c").unwrap(), None);
    }

    #[test]
    fn a_server_that_is_gone_fails_each_write_and_a_flush_makes_each_version_match_nothing() {
        let mut server = MemcachedServer::start();
        let store = Memcached::connect(&server.addr()).unwrap();
        let before = store.write_many(&["a", "b"].map(add));
        server.flush();
        let replace = |key: &str, answer| Write::Replace {
            key: key.into(),
            value: b"again".to_vec(),
            ttl: Ttl::Forever,
            if_version: version(answer),
        };
        let after = store.write_many(&[replace("a", &before[0]), replace("b", &before[1]), add("c")]);
        assert_eq!(after[0], Ok(WriteAnswer::Written(WriteOutcome::Conflict(None))));
        assert_eq!(after[1], Ok(WriteAnswer::Written(WriteOutcome::Conflict(None))));
        assert!(version(&after[2]).era > version(&before[0]).era);
        server.kill();
        let gone = store.write_many(&["a", "b"].map(add));
        assert!(gone.iter().all(|answer| answer.as_ref().is_err_and(StoreError::is_outage)), "{gone:?}");
    }
}
