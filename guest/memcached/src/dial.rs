//! Connections to all addresses of a name at once, so that one which does not answer costs no time.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use kvlock_protocol::Failure;

use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::bindings::wasi::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, Network,
};
use crate::bindings::wasi::sockets::tcp::TcpSocket;
use crate::bindings::wasi::sockets::tcp_create_socket::create_tcp_socket;
use crate::convert::millis;
use crate::socket::{Deadline, Socket};

/// How long after the first connection the others are waited for, to be compared with it.
const GRACE: Duration = Duration::from_millis(200);

/// Dials under way.
pub(crate) struct Dialing {
    pending: Vec<(SocketAddr, TcpSocket)>,
    timeout: Duration,
    deadline: Deadline,
    /// What was said by those that cannot be connected to.
    failed: Vec<String>,
    is_denied: bool,
}

impl Dialing {
    pub(crate) fn begin(network: &Network, addresses: &[SocketAddr], timeout: Duration) -> Dialing {
        let deadline = Deadline::after(timeout);
        let mut dialing = Dialing { pending: Vec::new(), timeout, deadline, failed: Vec::new(), is_denied: false };
        for address in addresses {
            match start(network, *address) {
                Ok(socket) => dialing.pending.push((*address, socket)),
                Err(code) => dialing.fail(code),
            }
        }
        dialing
    }

    /// Returns the next connection that is there; none once all have been given, or the time is over. `timeout` is for
    /// each answer on it.
    pub(crate) fn next(&mut self, timeout: Duration) -> Option<Socket> {
        loop {
            let mut pending = core::mem::take(&mut self.pending).into_iter();
            while let Some((address, socket)) = pending.next() {
                match socket.finish_connect() {
                    Ok((input, output)) => {
                        self.pending.extend(pending);
                        return Some(Socket::new(address, socket, input, output, timeout));
                    }
                    Err(ErrorCode::WouldBlock) => self.pending.push((address, socket)),
                    Err(code) => self.fail(code),
                }
            }
            let left = self.deadline.left()?;
            if self.pending.is_empty() {
                return None;
            }
            let timer = subscribe_duration(left);
            let ready: Vec<Pollable> = self.pending.iter().map(|(_, socket)| socket.subscribe()).collect();
            let waited: Vec<&Pollable> = ready.iter().chain([&timer]).collect();
            poll(&waited);
        }
    }

    /// Waits no longer than a moment from now on.
    pub(crate) fn hurry(&mut self) {
        self.deadline = self.deadline.min(Deadline::after(GRACE));
    }

    /// Notes that a connection was of no use.
    pub(crate) fn note(&mut self, why: String) {
        self.failed.push(why);
    }

    fn fail(&mut self, code: ErrorCode) {
        self.is_denied |= code == ErrorCode::AccessDenied;
        self.failed.push(format!("cannot connect: {}", code.name()));
    }

    /// Returns why there is no connection.
    pub(crate) fn failure(self) -> Failure {
        if self.is_denied {
            return Failure::Refused(String::from(
                "the platform does not let the component connect: allow it (wasmtime: -S inherit-network; wasmtime-wasi: \
                 inherit_network and allow_tcp; Spin: allowed_outbound_hosts; wasmCloud: allowedHosts)",
            ));
        }
        Failure::NotSent(match self.failed.is_empty() {
            true => format!("cannot connect: no answer within {} ms", millis(self.timeout)),
            false => self.failed.join("; "),
        })
    }
}

fn start(network: &Network, address: SocketAddr) -> Result<TcpSocket, ErrorCode> {
    let (family, remote) = match address {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            let remote = Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) };
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(remote))
        }
        SocketAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.ip().segments();
            let address = (a, b, c, d, e, f, g, h);
            let remote = Ipv6SocketAddress { port: v6.port(), flow_info: 0, address, scope_id: v6.scope_id() };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(remote))
        }
    };
    let socket = create_tcp_socket(family)?;
    socket.start_connect(network, remote)?;
    Ok(socket)
}
