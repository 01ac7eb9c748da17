//! Several operations on one connection, as an async client drives them: their requests go out one behind the other, and
//! each is given the bytes that its frame takes.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kvlock_protocol::{Failure, Frame, Plain, Request, Talk, Transport, Ttl, Version, WriteOutcome};

/// What a fit memcached says to a new connection.
const GREETING: &str = "VA 58 c7\r\nkvlock epoch 2 started=1000 uptime=5 id=000000000000000f x\r\n\
    STAT version 1.6.18\r\nSTAT time 1100\r\nSTAT uptime 100\r\nSTAT pid 3\r\nEND\r\n";
/// The era that its epoch item begins: `started`, its CAS value and the last digits of its number.
const ERA: u64 = 1_000_000_007_015;

/// A connection that several operations share.
#[derive(Default)]
struct Line {
    sent: String,
    received: Vec<u8>,
    waiting: VecDeque<(usize, Frame)>,
    answers: HashMap<usize, Vec<u8>>,
    requests: usize,
}

impl Line {
    fn receive(&mut self, text: &str) {
        self.received.extend_from_slice(text.as_bytes());
        while let Some((id, frame)) = self.waiting.front_mut() {
            let Some(length) = frame.advance(&self.received) else { return };
            self.answers.insert(*id, self.received.drain(..length).collect());
            self.waiting.pop_front();
        }
    }
}

/// An operation's share of it.
struct Share {
    line: Arc<Mutex<Line>>,
    answer: Vec<u8>,
}

impl Transport for Share {
    type Codec = Plain;

    fn exchange(&mut self, request: &Request) -> impl Future<Output = Result<&[u8], Failure>> + Send {
        let id = {
            let mut line = self.line.lock().unwrap();
            line.sent.push_str(std::str::from_utf8(request.bytes()).unwrap());
            line.requests += 1;
            let id = line.requests;
            line.waiting.push_back((id, request.frame()));
            id
        };
        async move {
            let line = Arc::clone(&self.line);
            let answer = move || line.lock().unwrap().answers.remove(&id);
            self.answer = poll_fn(move |_| answer().map_or(Poll::Pending, Poll::Ready)).await;
            Ok(&self.answer[..])
        }
    }

    fn pause(&mut self, _: Duration) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }

    fn peer(&self) -> String {
        "peer".into()
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn age(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn random(&mut self) -> Result<u64, Failure> {
        Ok(4)
    }
}

fn poll<T>(operation: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match operation.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Makes acquaintance, and gives two shares of the connection, each with a talk of its own.
fn two() -> (Arc<Mutex<Line>>, [(Talk, Share); 2]) {
    let line = Arc::new(Mutex::new(Line::default()));
    let share = || Share { line: Arc::clone(&line), answer: Vec::new() };
    let mut first = share();
    let talk = {
        let mut beginning = pin!(Talk::begin(&mut first));
        assert!(poll(beginning.as_mut()).is_none());
        line.lock().unwrap().receive(GREETING);
        poll(beginning.as_mut()).unwrap().unwrap()
    };
    let epoch = *talk.epoch();
    assert_eq!(epoch.info(Duration::ZERO).id, ERA);
    line.lock().unwrap().sent.clear();
    (Arc::clone(&line), [(talk, first), (Talk::at(epoch), share())])
}

#[test]
fn operations_that_share_a_connection_each_get_their_own_replies() {
    let (line, [(mut one, mut first), (mut two, mut second)]) = two();
    let mut add = pin!(one.add(&mut first, "a", b"1", Ttl::Forever, 9));
    let mut get = pin!(two.get(&mut second, &["a", "b"]));
    assert!(poll(add.as_mut()).is_none() && poll(get.as_mut()).is_none());
    let sent = "add a 9 0 1\r\n1\r\nmg a c f\r\nmg kvlock:epoch c\r\nmg a v c t\r\nmg b v c t\r\nmg kvlock:epoch c\r\n";
    assert_eq!(line.lock().unwrap().sent, sent);
    line.lock().unwrap().receive("STORED\r\nHD c8 f9\r\nHD ");
    assert!(poll(add.as_mut()).is_none());
    line.lock().unwrap().receive("c7\r\nVA 1 c8 t-1\r\n1\r\nEN\r");
    let version = Version { era: ERA, number: 8 };
    assert!(matches!(poll(add.as_mut()), Some(Ok(WriteOutcome::Written(written))) if written == version));
    assert!(poll(get.as_mut()).is_none());
    line.lock().unwrap().receive("\nHD c7\r\n");
    let [Some(a), None] = &poll(get.as_mut()).unwrap().unwrap()[..] else { panic!("one entry") };
    assert_eq!((&a.value[..], a.version, a.time_left), (&b"1"[..], version, Some(Ttl::Forever)));
    assert!(line.lock().unwrap().received.is_empty());
}

#[test]
fn an_operation_that_is_dropped_leaves_no_reply_to_the_next_one() {
    let (line, [(mut one, mut first), (mut two, mut second)]) = two();
    {
        let mut dropped = pin!(one.era(&mut first));
        assert!(poll(dropped.as_mut()).is_none());
    }
    let mut delete = pin!(two.delete(&mut second, "a", Version { era: ERA, number: 8 }));
    assert!(poll(delete.as_mut()).is_none());
    line.lock().unwrap().receive("HD c7\r\nEX\r\n");
    assert_eq!(format!("{:?}", poll(delete.as_mut())), "Some(Ok(Conflict(None)))");
}

#[test]
fn an_era_that_ends_under_one_operation_is_noticed_by_each_that_shares_the_connection() {
    let (line, [(mut one, mut first), (mut two, mut second)]) = two();
    let old = Version { era: ERA, number: 8 };
    let mut add = pin!(one.add(&mut first, "a", b"1", Ttl::Forever, 9));
    let mut replace = pin!(two.replace(&mut second, "b", b"2", Ttl::Forever, old, 10));
    assert!(poll(add.as_mut()).is_none() && poll(replace.as_mut()).is_none());
    // It was flushed before both: the add is of the new era, and nothing is there to be replaced.
    line.lock().unwrap().receive("STORED\r\nHD c21 f9\r\nHD c20\r\nNOT_FOUND\r\nEN\r\nHD c20\r\n");
    assert!(poll(add.as_mut()).is_none() && poll(replace.as_mut()).is_none());
    let flushed = GREETING.replace("VA 58 c7", "VA 58 c20");
    line.lock().unwrap().receive(&flushed.repeat(2));
    assert!(poll(add.as_mut()).is_none() && poll(replace.as_mut()).is_none(), "each looks again what is there now");
    line.lock().unwrap().receive("HD c21 f9\r\nHD c20\r\nEN\r\nHD c20\r\n");
    let Some(Ok(WriteOutcome::Written(version))) = poll(add.as_mut()) else { panic!("written") };
    assert!(version.era > ERA && version.number == 21);
    assert!(matches!(poll(replace.as_mut()), Some(Ok(WriteOutcome::Conflict(None)))));
}
