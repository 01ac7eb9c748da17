"""Sessions of one process, each on a thread of its own, do not disturb each other."""

import os
import sys
import threading
import unittest

from component import Host
from kv_store import Clock, KvStore


class Threads(unittest.TestCase):
    def setUp(self):
        # Threads change as often as Python lets them: what is not safe shows.
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)
        clock = Clock()
        self.host = Host(os.environ["KVLOCK_COMPONENT"], KvStore(clock), clock)
        self.failures = []

    def run_threads(self, work, count=4):
        def run(number):
            try:
                work(number)
            except BaseException as error:
                self.failures.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.failures, [])

    def test_of_eight_hundred_operations_on_four_threads_none_fails_and_no_two_are_inside_at_once(self):
        inside, counted = [], 0

        def work(number):
            nonlocal counted
            session = self.host.session(f"thread {number}")
            for _ in range(200):
                with session.lock("k"):
                    inside.append(number)
                    before = counted
                    session.holder("k")  # whoever is beside us has time to show
                    counted = before + 1
                    if inside.pop() != number or inside:
                        raise AssertionError("somebody else was inside")

        self.run_threads(work)
        self.assertEqual(counted, 800)

    def test_permits_of_four_threads_are_never_more_than_there_are(self):
        self.host.session("maker").make("pool", 2)
        inside = []

        def work(number):
            session = self.host.session(f"thread {number}")
            for _ in range(50):
                with session.permit("pool"):
                    inside.append(number)
                    session.holder("k")
                    if len(inside) > 2:
                        raise AssertionError("too many inside")
                    inside.remove(number)

        self.run_threads(work)

    def test_one_session_may_be_called_by_several_threads(self):
        session = self.host.session("shared")

        def work(number):
            for _ in range(100):
                with session.lock(f"key {number}") as grant:
                    grant.renew()

        self.run_threads(work)


if __name__ == "__main__":
    unittest.main()
