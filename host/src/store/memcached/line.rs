//! A connection that many tasks share: their requests go out one behind the other, and each gets its own replies.
//!
//! A request is written at once if none waits for replies. Otherwise it is written with all others that have come by the
//! time at which replies arrive. So one task alone waits for nothing, and a thousand need a system call for many.
//!
//! **Replies come in the order of the requests, and each request takes its own, wanted or not.** A task that has gone
//! leaves its place behind. Where a request has no reply in time, or what comes is not understood, the connection ends:
//! what had been sent on it has no answer, and what had not was not sent.

use std::collections::VecDeque;
use std::hint;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, UNIX_EPOCH};

use async_io::{Async, Timer};
use event_listener::Event;
use futures_lite::{StreamExt, future};
use kvlock_protocol::{Epoch, Failure, Frame, Request, Transport};

use super::super::socket::stream::Peer;
use super::super::socket::wire::Timeouts;
use super::codec::Memcache;
use super::connection::now;

/// How much is read at once.
const READ: usize = 16 * 1024;

/// Into how many parts the time is divided that a request may take, to look if one has taken longer. A timer for each
/// would cost more than the request.
const LOOKS_PER_TIMEOUT: u32 = 8;

/// How often to spin between two looks: about a microsecond.
const SPINS_PER_LOOK: u32 = 20;

/// After how many looks in vain none is made for a while, and for how many requests. A far server is not looked for, nor
/// is one that has no core beside ours.
const MISSES: u32 = 4;
const PATIENT: u32 = 1000;

/// Whether to look for replies at once is worth it.
#[derive(Default)]
struct Luck {
    misses: u32,
    /// For how many requests it is not tried.
    patient: u32,
}

/// A shared connection.
pub(super) struct Line {
    /// A UNIX socket is in it as well: to send and to receive is the same.
    socket: Async<TcpStream>,
    peer: Peer,
    opened: Instant,
    /// How long a request may take.
    timeout: Duration,
    /// How long to look for replies at once.
    spin: Duration,
    state: Mutex<State>,
    /// Tells the one who reads that there is something to wait for.
    begun: Event,
}

struct State {
    /// What is to be sent yet.
    out: Vec<u8>,
    /// How many bytes have been sent in all.
    sent: u64,
    waiting: VecDeque<Exchange>,
    unread: Vec<u8>,
    /// What is read goes through it.
    scratch: Vec<u8>,
    luck: Luck,
    /// The socket takes no more at the moment.
    is_full: bool,
    /// Something was asked since the last look at the deadlines.
    is_used: bool,
    /// The one who reads waits to be told that something is asked.
    is_asleep: bool,
    /// Why it is of no more use.
    broken: Option<String>,
    /// The server's era as this connection last saw it.
    epoch: Epoch,
}

/// A request whose replies have not come.
struct Exchange {
    frame: Frame,
    /// Where its bytes begin, counted like `sent`.
    begins: u64,
    deadline: Instant,
    answer: Arc<Answer>,
}

/// Where a request's replies are put.
#[derive(Default)]
struct Answer(Mutex<Option<Answered>>);

enum Answered {
    No(Waker),
    Yes(Result<Vec<u8>, Failure>),
}

/// A task's share of a connection.
pub(super) struct Share {
    line: Arc<Line>,
    replies: Vec<u8>,
}

impl Line {
    /// Takes over a connection on which nothing is under way.
    pub(super) fn new(socket: OwnedFd, peer: Peer, timeouts: Timeouts, epoch: Epoch) -> Result<Arc<Line>, Failure> {
        let socket = Async::new(TcpStream::from(socket));
        let socket = socket.map_err(|error| Failure::NotSent(format!("cannot set up the socket: {error}")))?;
        let (out, unread, scratch, waiting) = (Vec::new(), Vec::new(), vec![0; READ], VecDeque::new());
        let (timeout, spin, luck) = (timeouts.operation, timeouts.spin, Luck::default());
        let (is_full, is_used, is_asleep) = (false, false, false);
        let state =
            State { out, sent: 0, waiting, unread, scratch, luck, is_full, is_used, is_asleep, broken: None, epoch };
        let (state, opened, begun) = (Mutex::new(state), Instant::now(), Event::new());
        Ok(Arc::new(Line { socket, peer, opened, timeout, spin, state, begun }))
    }

    /// Returns a share of it.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { line: self.clone(), replies: Vec::new() }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.state().epoch
    }

    /// Notes the era that an operation saw.
    pub(super) fn note_epoch(&self, epoch: &Epoch) {
        self.state().epoch = *epoch;
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state().broken.is_some()
    }

    /// Ends it.
    pub(super) fn end(&self, why: &str) {
        self.state().end(why);
        self.begun.notify(usize::MAX);
    }

    /// Reads replies until the connection ends.
    pub(super) async fn run(self: Arc<Self>) {
        let mut looks = Timer::interval(self.timeout / LOOKS_PER_TIMEOUT);
        loop {
            let begun = self.begun.listen();
            let (is_asleep, is_full) = {
                let mut state = self.state();
                state.check_deadline(self.timeout);
                if state.broken.is_some() {
                    return;
                }
                state.is_asleep = state.waiting.is_empty() && !std::mem::take(&mut state.is_used);
                (state.is_asleep, state.is_full)
            };
            let ready = async {
                // What ends the connection is found by reading.
                let _ = if is_full {
                    future::or(self.socket.readable(), self.socket.writable()).await
                } else {
                    self.socket.readable().await
                };
                true
            };
            let woken = async {
                if is_asleep {
                    begun.await;
                } else {
                    future::or(begun, async { _ = looks.next().await }).await;
                }
                false
            };
            if future::or(ready, woken).await {
                self.read();
            }
        }
    }

    /// Takes what has come, gives it to those who wait for it, and sends what has gathered meanwhile.
    fn read(&self) {
        let mut state = self.state();
        loop {
            if state.broken.is_some() {
                return;
            }
            match self.socket.get_ref().read(&mut state.scratch) {
                Ok(0) => return state.end("it closed the connection"),
                Ok(read) => {
                    let State { unread, scratch, .. } = &mut *state;
                    unread.extend_from_slice(&scratch[..read]);
                    if read < READ {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return state.end(&format!("no answer: {error}")),
            }
        }
        state.answer();
        self.send(&mut state);
    }

    /// Sends what is to be sent, as far as the socket takes it.
    fn send(&self, state: &mut State) {
        let mut done = 0;
        state.is_full = false;
        while done < state.out.len() && state.broken.is_none() {
            match self.socket.get_ref().write(&state.out[done..]) {
                Ok(0) => state.end("the connection takes no more data"),
                Ok(written) => {
                    done += written;
                    state.sent += written as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    state.is_full = true;
                    break;
                }
                Err(error) => state.end(&format!("sending failed: {error}")),
            }
        }
        state.out.drain(..done.min(state.out.len()));
    }

    /// Sends a request, and waits for its replies.
    async fn exchange(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        let answer = Arc::<Answer>::default();
        let (is_first, wakes) = {
            let mut state = self.state();
            if let Some(why) = &state.broken {
                return Err(Failure::NotSent(why.clone()));
            }
            let is_first = state.waiting.is_empty();
            let begins = state.sent + state.out.len() as u64;
            let deadline = Instant::now() + self.timeout;
            state.waiting.push_back(Exchange { frame: request.frame(), begins, deadline, answer: answer.clone() });
            state.out.extend_from_slice(request.bytes());
            if is_first {
                self.send(&mut state);
            }
            state.is_used = true;
            // One who waits for replies may have to wait for the socket as well.
            (is_first, std::mem::take(&mut state.is_asleep) || state.is_full)
        };
        if wakes {
            self.begun.notify(1);
        }
        if is_first {
            self.look_at_once(&answer);
        }
        answer.wait().await
    }

    /// Looks for the replies of the only request for a moment, if that was worth it lately: two threads less have to wake.
    fn look_at_once(&self, answer: &Answer) {
        if self.spin.is_zero() || !self.state().luck.is_worth_it() {
            return;
        }
        let began = Instant::now();
        while began.elapsed() < self.spin {
            (0..SPINS_PER_LOOK).for_each(|_| hint::spin_loop());
            self.read();
            if answer.is_told() {
                return self.state().luck.won();
            }
        }
        self.state().luck.lost();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives each request its replies, as far as they have come.
    fn answer(&mut self) {
        let mut taken = 0;
        while let Some(first) = self.waiting.front_mut()
            && let Some(length) = first.frame.advance(&self.unread[taken..])
        {
            let replies = self.unread[taken..taken + length].to_vec();
            taken += length;
            if let Some(exchange) = self.waiting.pop_front() {
                exchange.answer.tell(Ok(replies));
            }
        }
        self.unread.drain(..taken);
        if self.waiting.is_empty() && !self.unread.is_empty() {
            self.end("it says what nobody asked for");
        }
    }

    fn check_deadline(&mut self, timeout: Duration) {
        if self.waiting.front().is_some_and(|first| first.deadline <= Instant::now()) {
            self.end(&format!("no full answer within {timeout:?}"));
        }
    }

    /// Ends the connection, and tells all who wait.
    fn end(&mut self, why: &str) {
        if self.broken.is_some() {
            return;
        }
        self.broken = Some(why.to_string());
        self.out.clear();
        for exchange in self.waiting.drain(..) {
            let sent = exchange.begins < self.sent;
            let why = why.to_string();
            exchange.answer.tell(Err(if sent { Failure::NoAnswer(why) } else { Failure::NotSent(why) }));
        }
    }
}

impl Luck {
    fn is_worth_it(&mut self) -> bool {
        let is_worth_it = self.patient == 0;
        self.patient = self.patient.saturating_sub(1);
        is_worth_it
    }

    fn won(&mut self) {
        self.misses = 0;
    }

    fn lost(&mut self) {
        self.misses += 1;
        if self.misses == MISSES {
            *self = Luck { misses: 0, patient: PATIENT };
        }
    }
}

impl Answer {
    fn is_told(&self) -> bool {
        matches!(*self.lock(), Some(Answered::Yes(_)))
    }

    fn tell(&self, answer: Result<Vec<u8>, Failure>) {
        let before = self.lock().replace(Answered::Yes(answer));
        if let Some(Answered::No(waker)) = before {
            waker.wake();
        }
    }

    async fn wait(&self) -> Result<Vec<u8>, Failure> {
        future::poll_fn(|context| {
            let mut state = self.lock();
            match state.take() {
                Some(Answered::Yes(answer)) => Poll::Ready(answer),
                Some(Answered::No(_)) | None => {
                    *state = Some(Answered::No(context.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Option<Answered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Share {
    type Codec = Memcache;

    async fn exchange(&mut self, request: &Request) -> Result<&[u8], Failure> {
        self.replies = self.line.exchange(request).await?;
        Ok(&self.replies)
    }

    async fn pause(&mut self, length: Duration) -> Result<(), Failure> {
        Timer::after(length).await;
        match &self.line.state().broken {
            Some(why) => Err(Failure::NotSent(why.clone())),
            None => Ok(()),
        }
    }

    fn peer(&self) -> String {
        self.line.peer.to_string()
    }

    fn now(&self) -> Duration {
        now()
    }

    fn age(&self) -> Duration {
        self.line.opened.elapsed()
    }

    fn random(&mut self) -> Result<u64, Failure> {
        getrandom::u64().map_err(|error| Failure::NotSent(format!("no randomness: {error}")))
    }

    fn date(unix_seconds: u64) -> String {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_seconds)).to_string()
    }
}
