//! A TCP proxy that does to connections what networks do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What happens to what the client sends next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is forwarded, and so is the reply.
    Pass,
    /// The connection is cut; the server never sees it.
    CutBeforeRequest,
    /// The same for one request; then [`Mode::Pass`] again.
    CutNextRequest,
    /// It is forwarded; when the server replies, the reply is dropped and the connection cut.
    DropReply,
    /// The same for one reply; then [`Mode::Pass`] again.
    DropNextReply,
    /// It is forwarded this much later, even if the client has gone.
    Delay(Duration),
    /// The same for one request; then [`Mode::Pass`] again: what is sent after it overtakes it.
    DelayNext(Duration),
    /// It disappears, and so does whatever the server still says. Connections stay open.
    Blackhole,
    /// It is held until the mode changes, and is forwarded then, even if the client has gone.
    Hold,
}

/// A proxy in front of one server, or a balancer in front of several. What it does can be changed while connections are open.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: Arc<Control>,
}

#[derive(Debug)]
struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Where connections lead, one after the other.
    upstreams: Vec<SocketAddr>,
    /// How many connections have been led somewhere.
    connections: usize,
    /// The clients' ends of those that are open.
    open: Vec<Weak<TcpStream>>,
    mode: Mode,
    closed: bool,
    /// How many requests have been through our hands.
    requests: usize,
}

impl Proxy {
    /// Listens on a free loopback port, in [`Mode::Pass`]. `upstream` is `IP:PORT`.
    pub fn start(upstream: &str) -> Proxy {
        Proxy::balance(&[upstream])
    }

    /// Like [`start`](Self::start), with connections that lead to each of the upstreams in turn.
    pub fn balance(upstreams: &[&str]) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface");
        let address = listener.local_addr().expect("a bound listener has an address");
        let upstreams = parse(upstreams);
        let (open, mode) = (Vec::new(), Mode::Pass);
        let state = Mutex::new(State { upstreams, connections: 0, open, mode, closed: false, requests: 0 });
        let control = Arc::new(Control { state, changed: Condvar::new() });
        let shared = Arc::clone(&control);
        std::thread::spawn(move || accept(&listener, &shared));
        Proxy { address, control }
    }

    /// `127.0.0.1:PORT`.
    pub fn addr(&self) -> String {
        self.address.to_string()
    }

    /// Changes what happens from now on, to open connections too.
    pub fn set(&self, mode: Mode) {
        self.control.state().mode = mode;
        self.control.changed.notify_all();
    }

    /// Leads the next connections elsewhere. Those that are open stay.
    pub fn lead_to(&self, upstreams: &[&str]) {
        self.control.state().upstreams = parse(upstreams);
    }

    /// Cuts all connections. Those that come afterwards are served.
    pub fn hang_up(&self) {
        let open = std::mem::take(&mut self.control.state().open);
        for client in open.iter().filter_map(Weak::upgrade) {
            // One that has ended meanwhile needs no cut.
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// How many requests have arrived, whatever became of them.
    pub fn requests(&self) -> usize {
        self.control.state().requests
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.control.state().closed = true;
        self.control.changed.notify_all();
        // Wakes the thread that accepts, so that it sees the end.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_upstream(&self) -> SocketAddr {
        let mut state = self.state();
        state.connections += 1;
        state.upstreams[state.connections % state.upstreams.len()]
    }

    /// The mode for a request that has arrived, once it is another one than [`Mode::Hold`]; none at the end.
    fn decide(&self) -> Option<Mode> {
        let mut state = self.state();
        state.requests += 1;
        while state.mode == Mode::Hold && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mode = state.mode;
        if matches!(mode, Mode::CutNextRequest | Mode::DelayNext(_)) {
            state.mode = Mode::Pass;
        }
        (!state.closed).then_some(mode)
    }

    /// The mode for a reply that has arrived.
    fn decide_reply(&self) -> Mode {
        let mut state = self.state();
        let mode = state.mode;
        if mode == Mode::DropNextReply {
            state.mode = Mode::Pass;
        }
        mode
    }
}

fn parse(upstreams: &[&str]) -> Vec<SocketAddr> {
    upstreams.iter().map(|upstream| upstream.parse().expect("an upstream is IP:PORT")).collect()
}

fn accept(listener: &TcpListener, control: &Arc<Control>) {
    for client in listener.incoming() {
        let Ok(client) = client else { return };
        if control.state().closed {
            return;
        }
        // No server: the client sees its connection closed.
        let Ok(server) = TcpStream::connect(control.next_upstream()) else { continue };
        let (client, server) = (Arc::new(client), Arc::new(server));
        let mut state = control.state();
        state.open.retain(|open| open.strong_count() > 0);
        state.open.push(Arc::downgrade(&client));
        drop(state);
        let (client_too, server_too) = (Arc::clone(&client), Arc::clone(&server));
        let (requests, replies) = (Arc::clone(control), Arc::clone(control));
        std::thread::spawn(move || forward_requests(&client, &server, &requests));
        std::thread::spawn(move || forward_replies(&server_too, &client_too, &replies));
    }
}

fn forward_requests(mut client: &TcpStream, mut server: &TcpStream, control: &Control) {
    let mut chunk = vec![0; 1 << 16];
    while let Ok(length @ 1..) = client.read(&mut chunk) {
        let mode = control.decide();
        if let Some(Mode::Delay(pause) | Mode::DelayNext(pause)) = mode {
            std::thread::sleep(pause);
        }
        match mode {
            Some(
                Mode::Pass | Mode::DropReply | Mode::DropNextReply | Mode::Hold | Mode::Delay(_) | Mode::DelayNext(_),
            ) => {
                if server.write_all(&chunk[..length]).is_err() {
                    break;
                }
            }
            Some(Mode::Blackhole) => {}
            Some(Mode::CutBeforeRequest | Mode::CutNextRequest) | None => break,
        }
    }
    // A client that has gone leaves what it sent to the server; only a cut ends both at once.
    let _ = server.shutdown(Shutdown::Write);
    let _ = client.shutdown(Shutdown::Both);
}

fn forward_replies(mut server: &TcpStream, mut client: &TcpStream, control: &Control) {
    let mut chunk = vec![0; 1 << 16];
    while let Ok(length @ 1..) = server.read(&mut chunk) {
        match control.decide_reply() {
            Mode::Blackhole => {}
            Mode::DropReply | Mode::DropNextReply => break,
            Mode::Pass
            | Mode::Hold
            | Mode::Delay(_)
            | Mode::DelayNext(_)
            | Mode::CutBeforeRequest
            | Mode::CutNextRequest => {
                if client.write_all(&chunk[..length]).is_err() {
                    break;
                }
            }
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
