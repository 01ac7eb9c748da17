//! Names that lead to several servers, by a hosts file of the test's own in a mount namespace of its own.

use kvlock_testkit::MemcachedServer;
use kvlock_tests::kvlock::{Output, Running};

use super::World;

/// Runs a script where `mc.test` is at 127.0.0.2 and 127.0.0.3. `memcached` there starts one on such an address, on the
/// port `$port`, and waits until it answers.
fn with_two_addresses(world: &World, script: &str) -> Output {
    std::fs::write(world.path("hosts"), "127.0.0.2 mc.test\n127.0.0.3 mc.test\n").unwrap();
    // Free on one loopback address a moment ago, and most likely on the others.
    let port = MemcachedServer::start().addr().rsplit_once(':').unwrap().1.to_owned();
    let script = format!(
        "mount --bind hosts /etc/hosts || exit 98
        memcached() {{
            command memcached -u root -U 0 -l $1 -p $port 2> /dev/null & server=$!; servers=\"$servers $server\"
            for n in $(seq 200); do
                \"$KVLOCK\" --store memcached://$1:$port status k > /dev/null 2>&1 && return; sleep 0.05
            done
            exit 97
        }}
        trap 'kill $servers' EXIT
        {script}"
    );
    // Whoever is root in a user namespace may mount there.
    let mut command = world.command_of("unshare".as_ref(), ["-Urm", "sh", "-c", &script]);
    command.env("port", &port).env("KVLOCK_STORE", format!("memcached://mc.test:{port}"));
    Running::start(command).wait()
}

#[test]
fn a_name_with_the_addresses_of_two_servers_gives_69_with_both_named() {
    let world = World::local();
    let script = "memcached 127.0.0.2; memcached 127.0.0.3; \"$KVLOCK\" run k -- echo ran";
    let output = with_two_addresses(&world, script);
    output.assert_refused(69, &["127.0.0.2:", "127.0.0.3:", "mc.test"]);
}

#[test]
fn a_job_whose_name_comes_to_lead_to_another_server_ends_with_its_lease() {
    let world = World::local();
    let script = "memcached 127.0.0.2; \"$KVLOCK\" run k --lease 4s -- sleep 60 & job=$!
        sleep 2; memcached 127.0.0.3; wait $job";
    let output = with_two_addresses(&world, script);
    assert_eq!(output.code, 74, "{output:?}");
    assert!(output.stderr.contains("127.0.0.2:") && output.stderr.contains("127.0.0.3:"), "{output:?}");
}

#[test]
fn a_name_one_of_whose_addresses_does_not_answer_serves() {
    let world = World::local();
    let output = with_two_addresses(&world, "memcached 127.0.0.3; \"$KVLOCK\" run k -- echo ran");
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "ran\n", ""), "{output:?}");
}
