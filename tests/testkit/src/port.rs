//! Ports for servers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Returns an address of the loopback interface on which nobody listens now.
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface");
    listener.local_addr().expect("a bound listener has an address")
}
