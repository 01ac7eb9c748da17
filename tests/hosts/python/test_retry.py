"""Work that is tried again goes first, and nobody waits for a try that never comes."""

import unittest

from component import SECOND, LockError
from support import HostTest, fails


class Retries(HostTest):
    def setUp(self):
        super().setUp()
        self.one, self.two = self.host.session("one"), self.host.session("two")

    def assertBusy(self, session, key):
        with self.assertRaises(LockError) as caught:
            session.lock(key, wait=0)
        self.assertEqual(caught.exception.case, "busy")

    def test_after_a_conflict_the_lock_is_reserved_for_the_next_try(self):
        retry = self.one.retry("k")
        retry.begin()
        self.assertIsNotNone(retry.conflict())
        self.assertBusy(self.two, "k")
        retry.begin()
        self.assertFalse(retry.overtaken())
        retry.committed()
        self.two.lock("k", wait=0).release()

    def test_whoever_had_to_wait_was_overtaken(self):
        held = self.two.lock("k", lease=SECOND)
        retry = self.one.retry("k")
        retry.begin()
        self.assertTrue(retry.overtaken())
        retry.committed()
        self.assertRaises(LockError, held.release)

    def test_a_named_reservation_is_taken_up_in_another_session_and_only_by_its_name(self):
        retry = self.one.retry("k", name="request 7")
        retry.begin()
        retry.conflict()
        with self.assertRaises(LockError):
            self.two.retry("k", name="request 8", wait=0).begin()
        taken_up = self.two.retry("k", name="request 7", wait=0)
        taken_up.begin()
        taken_up.committed()

    def test_a_caller_who_is_back_too_late_is_not_waited_for(self):
        retry = self.one.retry("k")
        retry.begin()
        retry.conflict(back_in=60 * SECOND)
        self.two.lock("k", wait=0).release()
        retry.begin()
        retry.committed()

    def test_a_last_conflict_that_is_told_as_a_failure_reserves_nothing(self):
        retry = self.one.retry("k")
        retry.begin()
        retry.failed()
        self.two.lock("k", wait=0).release()

    def test_a_reservation_is_given_up(self):
        retry = self.one.retry("k")
        retry.begin()
        retry.conflict()
        retry.give_up()
        self.two.lock("k", wait=0).release()

    def test_soft_work_runs_without_the_lock_while_the_store_is_away_and_with_it_afterwards(self):
        self.one.lock("before").release()
        self.kv.script["add"] = [fails("unavailable")]
        retry = self.one.retry("k")
        self.assertIsNone(retry.begin(soft=True))
        self.assertEqual(retry.conflict(), 0)
        self.clock.sleep(SECOND)
        self.assertIsNotNone(retry.begin(soft=True))
        self.assertBusy(self.two, "k")
        retry.committed()
        self.two.lock("k", wait=0).release()

    def test_soft_work_waits_for_a_lock_that_somebody_holds(self):
        held = self.two.lock("k", lease=SECOND)
        retry = self.one.retry("k")
        self.assertIsNotNone(retry.begin(soft=True))
        retry.committed()
        self.assertRaises(LockError, held.release)

    def test_an_exception_that_ends_the_wait_leaves_nothing_behind(self):
        held = self.two.lock("k")

        def interrupt(_):
            raise KeyboardInterrupt

        sleep, self.clock.sleep = self.clock.sleep, interrupt
        retry = self.one.retry("k")
        self.assertRaises(KeyboardInterrupt, retry.begin)
        self.clock.sleep = sleep
        held.release()
        retry.begin()
        retry.committed()


if __name__ == "__main__":
    unittest.main()
