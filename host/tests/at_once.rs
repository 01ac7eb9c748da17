//! The only test of its process, which therefore has no component yet.

use std::sync::Barrier;

use kvlock::Client;

#[test]
fn the_first_sessions_of_a_process_may_be_opened_by_many_threads_at_once() {
    let (client, start) = (Client::connect("memory:").unwrap(), Barrier::new(8));
    let locks = |number: usize| {
        start.wait();
        let session = client.session().quarantine(std::time::Duration::ZERO).open().unwrap();
        session.lock(number.to_string()).acquire().unwrap().release().unwrap();
    };
    std::thread::scope(|scope| {
        (0..8).for_each(|number| {
            _ = scope.spawn({
                let locks = &locks;
                move || locks(number)
            })
        });
    });
}
