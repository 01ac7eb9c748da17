"""The composed component on the PyPI package `wasmtime`, over sockets: what the command and guests do with each other's
locks, and what a guest is told when the server is frozen, restarted or flushed.

The tests of the Python host run here on another host: this one has no store, the component has.
"""

import os
import pathlib
import signal
import time
import unittest

from component import SECOND, Host, LockError
from kv_store import Clock
from platform_host import Platform
from test_memcached import PORTS, Shared


class Guests(Host):
    """Sessions of the composed component. Each has an instance of its own, and so a connection of its own."""

    def __init__(self, port):
        platform = Platform(os.environ["KVLOCK_COMPONENT"], [("KVLOCK_STORE", f"memcached://127.0.0.1:{port}")])
        # A session instantiates by the linker.
        self.engine, self.component, self.linker, self.clock = platform.engine, platform.component, platform, Clock()


class GuestTest(unittest.TestCase):
    port = PORTS[0]

    @classmethod
    def setUpClass(cls):
        cls.host = Guests(cls.port)

    def setUp(self):
        self.session = self.host.session("guest", quarantine=0)


class WithTheCommand(GuestTest):
    command, acquired = Shared.command, Shared.acquired

    test_a_lock_of_the_command_is_busy_here = Shared.test_a_lock_of_the_command_is_busy_here
    test_a_grant_of_the_command_is_renewed_and_released_here = Shared.test_a_grant_of_the_command_is_renewed_and_released_here
    test_a_grant_of_a_guest_is_released_by_the_command = Shared.test_a_grant_of_this_host_is_released_by_the_command
    test_tokens_grow_from_one_to_the_other = Shared.test_tokens_grow_from_one_to_the_other
    test_after_a_flush_both_find_the_same_new_era = Shared.test_after_a_flush_both_find_the_same_new_era
    test_a_long_lease_is_kept = Shared.test_a_long_lease_is_kept


class Between(GuestTest):
    def test_sessions_exclude_each_other_and_a_permit_is_one_of_two(self):
        other = self.host.session("other", quarantine=0)
        with self.session.lock("between"):
            with self.assertRaises(LockError) as caught:
                other.lock("between", wait=0)
            self.assertEqual(caught.exception.case, "busy")
        other.lock("between", wait=0).release()
        self.session.make("pool", 2)
        permits = [self.session.permit("pool", wait=0), other.permit("pool", wait=0)]
        self.assertEqual({permit.permit() for permit in permits}, {0, 1})
        with self.assertRaises(LockError):
            other.permit("pool", wait=0)

    def test_work_that_conflicts_is_tried_again(self):
        outcomes = iter(["conflict", "conflict", "committed"])
        self.assertEqual(self.session.conflict_retry("retried", lambda: next(outcomes)), "finished")
        self.assertIsNone(self.session.holder("retried"))


class Failures(GuestTest):
    port = PORTS[1]

    def freeze(self):
        """Stops the server. The signal alone does not say that none of its threads runs on for a moment."""
        process = os.environ["KVLOCK_MEMCACHED_PROCESS"]
        os.kill(int(process), signal.SIGSTOP)
        threads = pathlib.Path("/proc", process, "task")
        while not all(self.state(thread) == "T" for thread in threads.iterdir()):
            time.sleep(0.01)
        self.addCleanup(self.thaw)

    def thaw(self):
        os.kill(int(os.environ["KVLOCK_MEMCACHED_PROCESS"]), signal.SIGCONT)

    @staticmethod
    def state(thread):
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]

    def test_a_frozen_server_is_an_outage_and_the_grant_stands_when_it_is_over(self):
        grant = self.session.lock("frozen", lease=600 * SECOND)
        self.freeze()
        with self.assertRaises(LockError) as caught:
            grant.renew()
        self.assertEqual(caught.exception.case, "store")
        with self.assertRaises(LockError) as caught:
            self.host.session("other", quarantine=0).lock("frozen", wait=0)
        self.assertEqual(caught.exception.case, "store")
        self.thaw()
        grant.renew()
        self.assertEqual(grant.release(), "freed")

    def test_a_quarantine_keeps_a_young_memory_from_granting(self):
        cautious = self.host.session("cautious", quarantine=3_600 * SECOND)
        with self.assertRaises(LockError) as caught:
            cautious.lock("young", wait=0)
        self.assertEqual(getattr(caught.exception.payload, "waiting-for").tag, "quarantine")


if __name__ == "__main__":
    unittest.main()
