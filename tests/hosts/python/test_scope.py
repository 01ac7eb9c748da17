"""A block `with session.lock(…)` holds the lock, and nothing after it does."""

import threading
import unittest

from component import SECOND, LockError
from support import HostTest


class Scope(HostTest):
    def setUp(self):
        super().setUp()
        self.one, self.two = self.host.session("one"), self.host.session("two")

    def test_the_lock_is_held_in_the_block_and_free_after_it(self):
        with self.one.lock("k") as grant:
            self.assertHeldBy("one", "k")
            self.assertGreater(grant.token, 0)
        self.assertFree("k")

    def test_an_exception_frees_it_too_and_is_what_the_caller_gets(self):
        for lose in (False, True):
            with self.assertRaises(ZeroDivisionError):
                with self.one.lock("k"):
                    if lose:
                        self.clock.sleep(60 * SECOND)
                    raise ZeroDivisionError
            self.assertFree("k")

    def test_a_block_under_a_lock_that_was_lost_does_not_end_in_silence(self):
        with self.assertRaises(LockError) as caught:
            with self.one.lock("k", lease=SECOND):
                self.clock.sleep(60 * SECOND)
                self.two.lock("k")
        self.assertEqual(caught.exception.case, "lost")

    def test_a_permit_is_a_scope_as_well(self):
        self.one.make("pool", 1)
        with self.one.permit("pool"):
            with self.assertRaises(LockError) as caught:
                self.two.permit("pool", wait=0)
            self.assertEqual(caught.exception.case, "busy")
        self.two.permit("pool", wait=0).release()

    def test_a_lock_that_is_kept_is_renewed_while_the_block_computes(self):
        renewed = threading.Event()
        with self.one.lock("k") as grant:
            self.kv.script["replace"] = [lambda: None, renewed.set]
            with grant.kept(every=SECOND // 100):
                self.assertTrue(renewed.wait(60))
            self.assertIsNone(grant.lost)
        self.assertFree("k")

    def test_a_lock_that_is_kept_and_lost_says_so_while_the_block_computes(self):
        looked = threading.Event()
        with self.assertRaises(LockError):
            with self.one.lock("k") as grant:
                del self.kv.entries["kvlock:lock:k"]
                self.kv.script["replace"] = [looked.set]
                with grant.kept(every=SECOND // 100):
                    self.assertTrue(looked.wait(60))
                self.assertEqual(grant.lost.case, "lost")


if __name__ == "__main__":
    unittest.main()
