//! From a server's name to its addresses.
//!
//! The system takes its time to look a name up, as many seconds as it is set to, and cannot be told to stop. So a
//! look-up has a thread of its own, one at a time for each name. A caller that needs an address waits as long as a
//! connection may take, and no longer. A later answer is kept for the next caller. If the name has led somewhere
//! before, those addresses serve while a look-up is under way, and while no name server answers.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kvlock_protocol::Address;

use crate::fork::PerProcess;

/// How long a look-up is waited for if there are addresses from an earlier one. A name server answers in less.
const GRACE: Duration = Duration::from_millis(100);

/// What became of a resolver that panicked.
const PANIC: &str = "the resolver panicked";

/// For how long an answer that came when nobody waited is news.
const FRESH: Duration = Duration::from_secs(5);

/// Looks a host name up, to be connected to at a port.
pub(in crate::store) type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A server's name, and where it leads.
pub(super) struct Names {
    address: Address,
    /// The one address, if there is no name to look up.
    literal: Option<SocketAddr>,
    resolve: Arc<Resolve>,
    /// A fork has none of the threads that look up for its parent.
    state: PerProcess<Arc<(Mutex<State>, Condvar)>>,
}

#[derive(Default)]
struct State {
    is_under_way: bool,
    waiting: usize,
    /// What the last look-up found out.
    answer: Option<Answer>,
    /// Where the name led when it led somewhere last.
    last: Vec<SocketAddr>,
}

struct Answer {
    at: Instant,
    /// Whether nobody waited for it any more.
    is_late: bool,
    found: Result<Vec<SocketAddr>, Trouble>,
}

/// Why a name leads nowhere.
#[derive(Clone)]
struct Trouble {
    text: String,
    /// Whether no name server could tell, rather than that there is no such name.
    is_temporary: bool,
}

impl Names {
    pub(super) fn new(address: Address) -> Names {
        let literal = address.host.parse().ok().map(|ip| SocketAddr::new(ip, address.port));
        let resolve = |host: &str, port: u16| Ok((host, port).to_socket_addrs()?.collect());
        Names { address, literal, resolve: Arc::new(resolve), state: PerProcess::new(Arc::default()) }
    }

    pub(super) fn resolve_with(&mut self, resolve: Arc<Resolve>) {
        self.resolve = resolve;
    }

    /// Returns where the name leads, sorted. `patience` is how long to wait at most.
    pub(super) fn addresses(&self, patience: Duration) -> Result<Vec<SocketAddr>, String> {
        if let Some(literal) = self.literal {
            return Ok(vec![literal]);
        }
        let shared = self.state.get_or_recreate(Arc::default);
        let mut state = lock(shared);
        let late = state.answer.as_mut().filter(|answer| answer.is_late && answer.at.elapsed() < FRESH);
        if let Some(late) = late {
            late.is_late = false;
        } else {
            if !state.is_under_way {
                self.look_up(shared)?;
                state.is_under_way = true;
                state.answer = None;
            }
            let patience = if state.last.is_empty() { patience } else { GRACE.min(patience) };
            state.waiting += 1;
            let waited = shared.1.wait_timeout_while(state, patience, |state| state.is_under_way);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        let answer = state.answer.as_ref().map(|answer| answer.found.clone());
        match answer {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(trouble)) if state.last.is_empty() || !trouble.is_temporary => Err(self.nowhere(&trouble)),
            None if state.last.is_empty() => {
                Err(format!("cannot find the host: the look-up of its name takes more than {patience:?}, and goes on"))
            }
            _ => Ok(state.last.clone()),
        }
    }

    fn nowhere(&self, trouble: &Trouble) -> String {
        let hint = match trouble.is_temporary {
            true => String::new(),
            false => format!("; check how `{}` is spelled", self.address.host),
        };
        format!("cannot find the host: {}{hint}", trouble.text)
    }

    fn look_up(&self, shared: &Arc<(Mutex<State>, Condvar)>) -> Result<(), String> {
        let (resolve, shared) = (Arc::clone(&self.resolve), Arc::clone(shared));
        let Address { host, port } = self.address.clone();
        let look = move || {
            // A resolver that panics has told so itself. Whoever waits is told at once, and the next look-up is another.
            let resolved = catch_unwind(AssertUnwindSafe(|| resolve(&host, port)));
            let found = match resolved.unwrap_or_else(|_| Err(io::Error::other(PANIC))) {
                Ok(addresses) if addresses.is_empty() => Err(Trouble::new("it has no address", false)),
                Ok(mut addresses) => {
                    addresses.sort_unstable();
                    addresses.dedup();
                    Ok(addresses)
                }
                Err(error) => Err(Trouble::new(&error.to_string(), is_temporary(&error))),
            };
            let mut state = lock(&shared);
            if let Ok(addresses) = &found {
                state.last.clone_from(addresses);
            }
            state.is_under_way = false;
            state.answer = Some(Answer { at: Instant::now(), is_late: state.waiting == 0, found });
            shared.1.notify_all();
        };
        let spawned = thread::Builder::new().name("kvlock-resolve".into()).spawn(look);
        spawned.map_err(|error| format!("cannot start a thread to find the host: {error}"))?;
        Ok(())
    }
}

impl Trouble {
    fn new(text: &str, is_temporary: bool) -> Trouble {
        Trouble { text: text.into(), is_temporary }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

fn lock(shared: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    // Nothing here panics: a resolver that does is caught.
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns true if a name could not be looked up, rather than that there is none such. The standard library keeps the
/// codes of `getaddrinfo` (EAI_AGAIN, EAI_FAIL) to itself; these are the words of glibc and of musl for them.
fn is_temporary(error: &io::Error) -> bool {
    let text = error.to_string();
    error.raw_os_error().is_some()
        || ["Temporary failure", "Try again", "Non-recoverable", PANIC].iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Longer than any of these tests should take.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    /// Returns a name whose look-ups each wait for an answer from the test.
    fn asked() -> (Names, mpsc::Sender<io::Result<Vec<SocketAddr>>>) {
        let (sender, answers) = mpsc::channel();
        let answers = Mutex::new(answers);
        let mut names = Names::new(Address { host: "cache".into(), port: 1 });
        names.resolve_with(Arc::new(move |_, _| answers.lock().unwrap().recv().map_err(io::Error::other)?));
        (names, sender)
    }

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 1))
    }

    #[track_caller]
    fn failure(answer: Result<Vec<SocketAddr>, String>) -> String {
        answer.unwrap_err()
    }

    #[test]
    fn a_resolver_that_is_down_is_no_slip_of_the_pen() {
        let failed = |why: &str| io::Error::other(format!("failed to lookup address information: {why}"));
        for why in ["Temporary failure in name resolution", "Try again", "Non-recoverable failure in name resolution"] {
            assert!(is_temporary(&failed(why)), "{why}");
        }
        assert!(!is_temporary(&failed("Name or service not known")));
        // A label must not be empty: that is known without asking anybody.
        let error = ("no-such-host..invalid", 1).to_socket_addrs().unwrap_err();
        assert!(!is_temporary(&error), "{error}");
    }

    #[test]
    fn a_name_is_looked_up_for_no_longer_than_a_connection_may_take() {
        let (names, _sender) = asked();
        let began = Instant::now();
        assert!(failure(names.addresses(SHORT)).contains("more than 20ms"));
        assert!(began.elapsed() < LONG / 2);
    }

    #[test]
    fn an_answer_that_comes_late_serves_the_next_caller() {
        let (names, sender) = asked();
        failure(names.addresses(SHORT));
        // One look-up at a time: the second try waits for the first one's.
        failure(names.addresses(SHORT));
        sender.send(Ok(vec![at(2), at(1), at(2)])).unwrap();
        assert_eq!(names.addresses(LONG).unwrap(), [at(1), at(2)]);
        // The next look-up is under way, and has no answer.
        assert_eq!(names.addresses(LONG).unwrap(), [at(1), at(2)]);
        sender.send(Ok(vec![at(3)])).unwrap();
        while names.addresses(LONG).unwrap() != [at(3)] {}
    }

    #[test]
    fn a_late_refusal_is_told_to_the_next_caller() {
        let (names, sender) = asked();
        failure(names.addresses(SHORT));
        sender.send(Err(io::Error::other("Name or service not known"))).unwrap();
        let shared = names.state.get_or_recreate(Arc::default);
        while lock(shared).is_under_way {
            thread::yield_now();
        }
        assert!(failure(names.addresses(LONG)).contains("check how `cache` is spelled"));
        failure(names.addresses(SHORT));
    }

    #[test]
    fn the_last_addresses_serve_while_no_name_server_answers_but_not_where_the_name_is_gone() {
        let (names, sender) = asked();
        sender.send(Ok(vec![at(1)])).unwrap();
        assert_eq!(names.addresses(LONG).unwrap(), [at(1)]);
        sender.send(Err(io::Error::other("Temporary failure in name resolution"))).unwrap();
        assert_eq!(names.addresses(LONG).unwrap(), [at(1)]);
        sender.send(Err(io::Error::other("Name or service not known"))).unwrap();
        loop {
            // Answers that come within the grace are told at once, later ones to the next who asks.
            if names.addresses(LONG).is_err() {
                break;
            }
        }
    }

    #[test]
    fn a_resolver_that_panics_is_asked_again() {
        let mut names = Names::new(Address { host: "cache".into(), port: 1 });
        let asked = AtomicU32::new(0);
        names.resolve_with(Arc::new(move |_, _| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("as is wanted"),
            _ => Ok(vec![at(1)]),
        }));
        assert!(failure(names.addresses(LONG)).ends_with(PANIC), "it is an outage, and told at once");
        assert_eq!(names.addresses(LONG).unwrap(), [at(1)]);
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let mut names = Names::new(Address { host: "::1".into(), port: 7 });
        names.resolve_with(Arc::new(|_, _| panic!("looked up")));
        assert_eq!(names.addresses(SHORT).unwrap(), [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7))]);
    }
}
