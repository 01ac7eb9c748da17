//! The races of kvlock's forerunners and peers that only a real memcached shows. The others are in
//! `component/peers`.

use std::time::{Duration, Instant};

use kvlock::{
    Client, Session,
    error::{AcquireError, GrantError},
};
use kvlock_testkit::MemcachedServer;

use crate::support::SECOND;

fn session(url: &str) -> Session {
    Client::connect(url).unwrap().session().quarantine(Duration::ZERO).open().unwrap()
}

/// unimr.memcachedlock 0.1rc2, bug 11: the client gives the keys of a dead server to another, and has two locks of one
/// name while somebody else sees the server alive.
#[test]
fn a_key_whose_server_is_down_is_locked_nowhere_else() {
    let mut servers = [MemcachedServer::start(), MemcachedServer::start()];
    let url = format!("memcached://{},{}", servers[0].addr(), servers[1].addr());
    let holder = session(&url);
    // So many that each server has some, whatever their ports make of it.
    let held: Vec<_> = (0..16).map(|key| holder.lock(key.to_string()).acquire().unwrap()).collect();
    servers[0].stop();
    let other = session(&url);
    let mut failed = 0;
    for grant in &held {
        match other.lock(grant.key()).wait(Duration::ZERO).acquire() {
            Err(AcquireError::Store { .. }) => failed += 1,
            Err(AcquireError::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("`{}` has two holders", grant.key()),
        }
    }
    assert!(failed > 0 && failed < held.len(), "{failed} of the keys live on the server that is stopped");
    servers[0].cont();
    servers[1].kill();
    let mut held_yet = 0;
    for mut grant in held {
        held_yet += usize::from(grant.renew().is_ok());
        grant.forget();
    }
    assert_eq!(held_yet, failed);
}

/// macgyver-lock 0.2.0, memcachelock 0.4: memcached's numbers begin anew after a restart, and the release of a lock
/// from before it deletes one from after it.
#[test]
fn a_release_from_before_a_restart_leaves_the_lock_from_after_it() {
    let mut server = MemcachedServer::start();
    let (one, two) = (session(&server.url()), session(&server.url()));
    let mut before = one.lock("k").acquire().unwrap();
    server.restart();
    let after = two.lock("k").acquire().unwrap();
    assert!(before.token() < after.token());
    assert!(matches!(before.renew(), Err(GrantError::Lost { .. })));
    assert!(matches!(before.release(), Err(GrantError::Lost { .. })));
    assert!(matches!(one.lock("k").wait(Duration::ZERO).acquire(), Err(AcquireError::Busy { .. })));
    after.release().unwrap();
}

/// memcached#307, "burned by this for over a month": a mutex whose lease ended up to a second too soon, because the
/// server's clock ticks in seconds.
#[test]
fn a_lease_of_one_second_lasts_for_a_second_wherever_in_the_servers_second_it_began() {
    let server = MemcachedServer::start();
    let (one, two) = (session(&server.url()), session(&server.url()));
    for tenths in [0, 4, 8] {
        std::thread::sleep(Duration::from_millis(100 * tenths));
        let began = Instant::now();
        one.lock("k").lease(SECOND).acquire().unwrap().forget();
        two.lock("k").lease(SECOND).acquire().unwrap().release().unwrap();
        assert!(began.elapsed() >= SECOND, "{:?}", began.elapsed());
    }
}

/// ShedLock's provider for memcached: a lease below a second is cut to zero, which never ends.
#[test]
fn a_lease_below_a_second_ends() {
    let server = MemcachedServer::start();
    session(&server.url()).lock("k").lease(Duration::from_millis(300)).acquire().unwrap().forget();
    session(&server.url()).lock("k").wait(10 * SECOND).acquire().unwrap().release().unwrap();
}

/// ShedLock's provider for memcached: a lease of more than 30 days is taken for a date in 1970, and ends at once.
#[test]
fn a_lease_of_more_than_thirty_days_is_held() {
    let server = MemcachedServer::start();
    let held = session(&server.url()).lock("k").lease(SECOND * 3600 * 24 * 31).acquire().unwrap();
    let other = session(&server.url()).lock("k").wait(2 * SECOND).acquire();
    assert!(matches!(other, Err(AcquireError::Busy { .. })));
    held.release().unwrap();
}
