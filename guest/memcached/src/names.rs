//! Where a server's name leads. A literal address is not looked up: many platforms allow addresses and no names.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use kvlock_protocol::{Address, Failure};

use crate::bindings::wasi::sockets::ip_name_lookup::{ResolveAddressStream, resolve_addresses};
use crate::bindings::wasi::sockets::network::{ErrorCode, IpAddress, Network};
use crate::convert::millis;
use crate::socket::{Deadline, wait};

/// Returns the addresses of a server, each once.
pub(crate) fn addresses(network: &Network, server: &Address, timeout: Duration) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(literal) = server.host.parse() {
        return Ok(vec![SocketAddr::new(literal, server.port)]);
    }
    let found = resolve_addresses(network, &server.host).and_then(|names| all(&names, Deadline::after(timeout)));
    let found = found.map_err(|code| failure(code, timeout))?;
    if found.is_empty() {
        return Err(Failure::NotSent(String::from("cannot find the host: it has no address")));
    }
    Ok(found.into_iter().map(|address| SocketAddr::new(address, server.port)).collect())
}

fn all(names: &ResolveAddressStream, deadline: Deadline) -> Result<Vec<IpAddr>, ErrorCode> {
    let mut found = Vec::new();
    loop {
        match names.resolve_next_address() {
            Ok(Some(address)) => {
                let address = convert(address);
                if !found.contains(&address) {
                    found.push(address);
                }
            }
            Ok(None) => return Ok(found),
            Err(ErrorCode::WouldBlock) if wait(&names.subscribe(), deadline) => {}
            Err(ErrorCode::WouldBlock) => return Err(ErrorCode::Timeout),
            Err(code) => return Err(code),
        }
    }
}

fn convert(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}

fn failure(code: ErrorCode, timeout: Duration) -> Failure {
    match code {
        // wasmtime says the latter where names are not allowed.
        ErrorCode::AccessDenied | ErrorCode::PermanentResolverFailure => Failure::Refused(format!(
            "the platform does not look the name up ({}): write the server's IP address in KVLOCK_STORE, or allow names \
             (wasmtime: -S allow-ip-name-lookup; wasmCloud: allowedIpNameLookups)",
            code.name()
        )),
        ErrorCode::Timeout => Failure::NotSent(format!(
            "cannot find the host: the look-up of its name takes more than {} ms",
            millis(timeout)
        )),
        ErrorCode::NameUnresolvable => {
            Failure::NotSent(String::from("cannot find the host: check how its name is spelled"))
        }
        code => Failure::NotSent(format!("cannot find the host: {}", code.name())),
    }
}
