"""This host's store on memcached is the one that kvlock's own hosts use: grants go back and forth between the two."""

import os
import socket
import subprocess
import unittest

from component import SECOND, Host, LockError
from kv_store import Clock, StoreError
from memcached import Epoch, Memcached

if "KVLOCK_MEMCACHED" not in os.environ:
    raise unittest.SkipTest("needs the ports of two fresh servers in KVLOCK_MEMCACHED, and the command in KVLOCK_COMMAND")

# Two servers: on the first this host begins the era, on the second the command does.
PORTS = [int(port) for port in os.environ["KVLOCK_MEMCACHED"].split()]


class Shared:
    """What the command and this host do with each other's locks."""

    @classmethod
    def setUpClass(cls):
        cls.kv = Memcached(port=cls.port)
        cls.addClassCleanup(cls.kv.close)
        cls.host = Host(os.environ["KVLOCK_COMPONENT"], cls.kv, Clock())

    def setUp(self):
        self.session = self.host.session("python", quarantine=0)

    def command(self, *arguments):
        store = f"memcached://127.0.0.1:{self.port}"
        environment = {"KVLOCK_STORE": store, "KVLOCK_QUARANTINE": "0", "PATH": os.environ["PATH"]}
        program = os.environ["KVLOCK_COMMAND"]
        return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True)

    def acquired(self, key):
        done = self.command("acquire", key, "--owner", "command", "--lease", "10m")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_a_lock_of_the_command_is_busy_here(self):
        self.acquired("theirs")
        with self.assertRaises(LockError) as caught:
            self.session.lock("theirs", wait=0)
        self.assertEqual(getattr(caught.exception.payload, "waiting-for").payload.owner, "command")

    def test_a_lock_of_this_host_is_busy_to_the_command(self):
        with self.session.lock("ours"):
            done = self.command("acquire", "ours", "--wait", "0")
            self.assertEqual(done.returncode, 75)
            self.assertIn("python", done.stderr)
        self.acquired("ours")

    def test_a_grant_of_the_command_is_renewed_and_released_here(self):
        resumed = self.session.resume(self.acquired("taken up"))
        resumed.renew()
        self.assertEqual(resumed.release(), "freed")

    def test_a_grant_of_this_host_is_released_by_the_command(self):
        written = self.session.lock("given away").write_out()
        self.assertEqual(self.command("release", written).returncode, 0)
        self.assertIsNone(self.session.holder("given away"))

    def test_tokens_grow_from_one_to_the_other(self):
        tokens = []
        for _ in range(3):
            with self.session.lock("token") as grant:
                tokens.append(grant.token)
            done = self.command("run", "token", "--", "sh", "-c", "echo $KVLOCK_TOKEN")
            tokens.append(int(done.stdout))
        self.assertEqual(tokens, sorted(set(tokens)))

    def test_after_a_flush_both_find_the_same_new_era(self):
        lost = self.session.lock("flushed", lease=600 * SECOND)
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"flush_all\r\n")
            self.assertEqual(connection.recv(100), b"OK\r\n")
        self.assertRaises(LockError, lost.renew)
        resumed = self.session.resume(self.acquired("flushed"))
        resumed.renew()
        self.assertGreater(resumed.token, lost.token)
        self.assertEqual(resumed.release(), "freed")

    def test_where_another_server_was_before_tokens_grow_for_both_and_the_contents_count_from_now(self):
        self.kv.era("k")
        seen = self.kv.known
        larger = {**seen.mark, "id": 0, "above": seen.era + 10**15}
        self.kv.known = Epoch(seen.cas, larger, {**seen.stats, "pid": 0, "time": seen.stats["time"] + 100})
        self.kv.close()
        before = self.kv.known.era
        era, _ = self.kv.era("k")
        self.assertGreater(era, before)
        self.assertIsNotNone(self.kv.known.counts_from)
        resumed = self.session.resume(self.acquired("another"))
        resumed.renew()
        self.assertGreater(resumed.token, before)

    def test_a_user_key_of_any_kind_is_the_same_to_both(self):
        for key in ["white space", "é", "x" * 65_536 if self.port == PORTS[0] else "x" * 300, "a:b#c", "\n"]:
            with self.session.lock(key):
                if len(key) < 100_000 and "\n" not in key:
                    self.assertEqual(self.command("acquire", f"--key={key}", "--wait", "0").returncode, 75, key[:20])

    def test_a_long_lease_is_kept(self):
        with self.session.lock("long", lease=60 * 86_400 * SECOND):
            left = getattr(self.session.holder("long"), "time-left").payload
            self.assertGreater(left, 59 * 86_400 * SECOND)


class PythonIsFirst(Shared, unittest.TestCase):
    port = PORTS[0]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kv.era("first")


class TheCommandIsFirst(Shared, unittest.TestCase):
    port = PORTS[1]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.command(cls, "status", "first")


class Failures(unittest.TestCase):
    def store(self, *address, **options):
        kv = Memcached(*address, **options)
        self.addCleanup(kv.close)
        return kv

    def case_of(self, action):
        with self.assertRaises(StoreError) as caught:
            action()
        return caught.exception.case

    def test_a_server_that_is_not_there_is_unavailable(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = taken.getsockname()
        kv = self.store(*address)
        self.assertEqual(self.case_of(lambda: kv.get_many(["k"])), "unavailable")
        self.assertEqual(self.case_of(lambda: kv.add("k", b"v", SECOND)), "unavailable")

    def test_an_answer_that_is_lost_leaves_a_write_unknown_and_belongs_to_nobody_when_it_comes(self):
        kv = self.store(port=PORTS[0], timeout=60)
        kv.era("k")
        (link,) = kv.idle
        ours, theirs = socket.socketpair()
        real, link.socket, link.timeout = link.socket, ours, 0.1  # nobody answers at the other end
        self.addCleanup(real.close)
        self.addCleanup(theirs.close)
        self.assertEqual(self.case_of(lambda: kv.add("lost", b"v", 60 * SECOND)), "unknown-outcome")
        self.assertTrue(theirs.recv(100).startswith(b"add lost "))
        self.assertEqual(kv.idle, [])
        self.assertEqual(kv.get_many(["lost"]), [None])

    def test_what_is_no_key_or_too_large_is_refused_and_changes_nothing(self):
        kv = self.store(port=PORTS[0])
        for key in ["", "a b", "x" * 251, "kvlock:epoch"]:
            self.assertEqual(self.case_of(lambda: kv.add(key, b"v", SECOND)), "invalid")
        outcome, version = kv.add("large", b"v", 60 * SECOND)
        self.assertEqual(outcome, "written")
        self.assertEqual(self.case_of(lambda: kv.replace("large", b"v" * 2**21, SECOND, version)), "rejected")
        self.assertEqual(kv.get_many(["large"])[0][:2], (b"v", version))

    def test_versions_decide(self):
        kv = self.store(port=PORTS[0])
        _, first = kv.add("versions", b"1", None)
        self.assertEqual(kv.add("versions", b"2", None), ("conflict", first))
        _, second = kv.replace("versions", b"2", None, first)
        self.assertEqual(kv.replace("versions", b"3", None, first), ("conflict", second))
        self.assertEqual(kv.replace("versions", b"3", None, (first[0] - 1, second[1])), ("conflict", None))
        self.assertEqual(kv.delete("versions", first), ("conflict", None))
        self.assertEqual(kv.get_many(["versions"]), [(b"2", second, None)])
        self.assertEqual(kv.delete("versions", second), ("deleted", None))
        self.assertEqual(kv.delete("versions", second), ("absent", None))
        self.assertEqual(kv.replace("versions", b"3", None, second), ("absent", None))


if __name__ == "__main__":
    unittest.main()
