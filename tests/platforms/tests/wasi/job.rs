//! The example for `wasmtime run`: an app, the lock and the store as one component, and no host code.

use std::thread;
use std::time::Duration;

use kvlock::Client;
use kvlock_platforms::{JOB, Platform, composed_with};
use kvlock_testkit::MemcachedServer;

#[test]
fn a_job_waits_for_a_native_holder_and_works_under_a_later_token() {
    let server = MemcachedServer::start();
    let client = Client::connect(&server.url()).unwrap();
    let session = client.session().namespace("example").quarantine(Duration::ZERO).open().unwrap();
    let held = session.lock("report").lease(Duration::from_secs(120)).acquire().unwrap();
    let token = held.token();
    let job = composed_with(JOB).unwrap();
    let platform = Platform::with_store(&server.url());
    let mut outputs = thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| platform.run(&job).unwrap().unwrap()));
        // They wait in line; the lock is still ours.
        while session.status("report").unwrap().waiters == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(runs.iter().all(|run| !run.is_finished()));
        held.release().unwrap();
        runs.map(|run| run.join().unwrap())
    });
    outputs.sort();
    let tokens = outputs.map(|output| output.trim().strip_prefix("done under token ").unwrap().parse::<u64>().unwrap());
    assert!(token < tokens[0] && tokens[0] < tokens[1], "{token} {tokens:?}");
}

#[test]
fn a_job_whose_platform_allows_no_network_says_the_switch_and_fails() {
    let server = MemcachedServer::start();
    let platform = Platform { network: false, ..Platform::with_store(&server.url()) };
    let said = platform.run(&composed_with(JOB).unwrap()).unwrap().unwrap_err();
    assert!(said.contains("-S inherit-network"), "{said}");
}
