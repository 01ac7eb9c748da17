//! One HTTP request to one server, and whether any of it may have left.
//!
//! Names are looked up and connections made by code of our own, so that a failure of either is known to have sent
//! nothing. Whatever fails later may have sent the request. Nothing is sent twice.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};
use ureq::{Agent, Error};

use super::failure::{Failure, shown};
#[cfg(not(feature = "tls"))]
use super::insecure::Secure;
#[cfg(feature = "tls")]
use super::secure::Secure;
use super::settings::{Settings, Timeouts};
use super::unconnected::{Unconnected, unconnected};
use super::wire::unlike_etcd;

/// How many connections wait for the next request, to one server and to all of them.
const IDLE: [usize; 2] = [16, 48];

/// How long a connection waits for the next request. Balancers close them sooner or later.
const IDLE_TIME: Duration = Duration::from_secs(15);

/// The largest answer that is read. Of the keys that are asked for at once each has a value of 1 MiB at most, in base64.
const LONGEST_ANSWER: u64 = 40 << 20;

/// The longest line of a stream that is read: keys, without their values.
const LONGEST_LINE: u64 = 1 << 20;

/// Where requests are sent from, with the connections that wait for the next one.
#[derive(Debug)]
pub(super) struct Http {
    agent: Agent,
    timeouts: Timeouts,
    /// What to say of a server that ends the connection, until one has answered.
    hint: OnceLock<&'static str>,
}

/// What a server has answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Http {
        let timeouts = settings.timeouts;
        let config = Agent::config_builder()
            // The variables for proxies are for the web.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("kvlock/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_send_request(Some(timeouts.answer))
            .timeout_send_body(Some(timeouts.answer))
            .timeout_recv_response(Some(timeouts.answer))
            .timeout_global(Some(timeouts.connect + timeouts.answer))
            .max_idle_connections_per_host(IDLE[0])
            .max_idle_connections(IDLE[1])
            .max_idle_age(IDLE_TIME)
            .build();
        let dial = Dial { tcp: TcpConnector::default(), secure: settings.secure.clone() };
        let hint = match settings.secure {
            Some(_) => OnceLock::from(""),
            None => OnceLock::new(),
        };
        Http { agent: Agent::with_parts(config, dial, Names), timeouts, hint }
    }

    /// Posts JSON, and reads the whole answer.
    pub(super) fn post(&self, url: &str, token: Option<&str>, body: &[u8]) -> Result<Answer, Failure> {
        let mut request = self.agent.post(url).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let mut response = request.send(body).map_err(|error| self.failure(error))?;
        let status = response.status().as_u16();
        let read = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
        let body = read.map_err(|error| self.failure(error))?;
        self.hint.get_or_init(|| "");
        Ok(Answer { status, body })
    }

    /// Posts JSON, and reads a stream of lines as they come, for as long as it may last. Fails if it ends sooner: the
    /// next one would end as soon.
    pub(super) fn stream(
        &self,
        url: &str,
        token: Option<&str>,
        body: &[u8],
        length: Duration,
        mut on_line: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let request = self.agent.post(url).config().timeout_global(None).timeout_recv_body(Some(length)).build();
        let mut request = request.header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let response = request.send(body).map_err(|error| self.failure(error))?;
        if response.status() != 200 {
            return Err(Failure::Refused(format!("status {}", response.status().as_u16())));
        }
        let mut lines = BufReader::new(response.into_body().into_reader());
        loop {
            let mut line = Vec::new();
            match lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) => return Err(Failure::NoAnswer("the stream ended".to_string())),
                Ok(_) => on_line(&line),
                Err(error) if ends_in_time(&error) => return Ok(()),
                Err(error) => return Err(Failure::NoAnswer(shown(error.to_string().as_bytes()))),
            }
        }
    }

    fn failure(&self, error: Error) -> Failure {
        match error {
            Error::Other(error) => match error.downcast::<Unconnected>() {
                Ok(unconnected) => unconnected.0,
                Err(error) => Failure::NoAnswer(error.to_string()),
            },
            Error::Timeout(_) => Failure::NoAnswer(format!("no answer within {:?}", self.timeouts.answer)),
            Error::Io(error) => {
                let hint = self.hint.get().copied().unwrap_or("; if it speaks TLS, write etcds://");
                Failure::NoAnswer(format!("{}{hint}", shown(error.to_string().as_bytes())))
            }
            Error::Protocol(error) => unlike_etcd(shown(error.to_string().as_bytes())),
            Error::BodyExceedsLimit(limit) => unlike_etcd(format!("more than {limit} bytes")),
            Error::LargeResponseHeader(..) => unlike_etcd("a header without an end".to_string()),
            // Whatever else there is was found out after the connection was made.
            other => Failure::NoAnswer(shown(other.to_string().as_bytes())),
        }
    }
}

/// Returns true if a stream was read for as long as it may last.
fn ends_in_time(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    error.kind() == io::ErrorKind::TimedOut || matches!(inner, Some(Error::Timeout(_)))
}

/// Makes connections.
#[derive(Debug)]
struct Dial {
    tcp: TcpConnector,
    secure: Option<Secure>,
}

impl Connector<()> for Dial {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let dialed = self.tcp.connect(details, None::<()>).map_err(|error| match error {
            Error::Timeout(_) => unconnected(format_args!("no connection within {:?}", *details.timeout.after)),
            Error::Io(error) => unconnected(error),
            other => unconnected(other),
        })?;
        let Some(transport) = dialed else { return Err(unconnected("no connection")) };
        match &self.secure {
            Some(secure) => secure.wrap(details, Box::new(transport)).map(Some),
            None => Ok(Some(Box::new(transport))),
        }
    }
}

/// Looks names up. The system takes its time, so each look-up of a name has a thread of its own; an address needs none.
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or_default());
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = match bare.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => look_up(bare.to_string(), port, *timeout.after)?,
        };
        let mut addresses = self.empty();
        // It has room for 16, which is more than a member has.
        found.into_iter().take(16).for_each(|address| addresses.push(address));
        Ok(addresses)
    }
}

fn look_up(host: String, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, Error> {
    let (sender, receiver) = sync_channel(1);
    let name = host.clone();
    let look = move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody waits any more.
        let _ = sender.send(found);
    };
    let spawned = thread::Builder::new().name("kvlock-resolve".into()).spawn(look);
    spawned.map_err(|error| unconnected(format_args!("cannot start a thread to find the host: {error}")))?;
    let hint = format!("check how `{host}` is spelled");
    match receiver.recv_timeout(patience) {
        Ok(Ok(found)) if found.is_empty() => Err(unconnected(format_args!("the host has no address; {hint}"))),
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(unconnected(format_args!("cannot find the host: {error}; {hint}"))),
        Err(RecvTimeoutError::Timeout) => {
            Err(unconnected(format_args!("cannot find the host: the look-up takes more than {patience:?}")))
        }
        Err(RecvTimeoutError::Disconnected) => Err(unconnected("cannot find the host: the resolver panicked")),
    }
}
