"""Errors of the store reach whoever asked, each as itself, and the session goes on."""

import unittest

from component import SECOND, LockError
from support import HostTest, fails

CASES = ["unavailable", "unknown-outcome", "rejected", "invalid"]


class Errors(HostTest):
    def setUp(self):
        super().setUp()
        self.one = self.host.session("one")

    def case_of(self, action):
        """The error of the store that the action ends with."""
        with self.assertRaises(LockError) as caught:
            action()
        self.assertEqual(caught.exception.case, "store")
        return caught.exception.payload.tag

    def test_each_error_of_a_read_is_told_as_itself(self):
        for case in CASES:
            self.kv.script["get-many"] = [fails(case)]
            self.assertEqual(self.case_of(lambda: self.one.holder("k")), case)

    def test_each_error_of_a_write_is_told_as_itself(self):
        # An unknown outcome is read back, which fails as well.
        for function, act in [("delete", lambda grant: grant.release()), ("replace", lambda grant: grant.renew())]:
            for case in CASES:
                grant = self.one.lock(f"{function} {case}")
                self.kv.script[function] = [fails(case)]
                self.kv.script["get-many"] = [fails("unavailable")] * 999 if case == "unknown-outcome" else []
                self.assertEqual(self.case_of(lambda: act(grant)), case)
                grant.renew()
                grant.release()

    def test_an_add_of_unknown_outcome_is_read_back_and_the_lock_is_acquired(self):
        for executed in (False, True):
            key = f"executed: {executed}"

            def lost():
                if executed:
                    self.kv.add(*arguments)
                raise_unknown()

            raise_unknown = fails("unknown-outcome")
            arguments = None
            add = self.kv.add

            def remember(*given):
                nonlocal arguments
                arguments = given
                return add(*given)

            self.kv.add = remember
            self.kv.script["add"] = [lost]
            with self.one.lock(key):
                self.assertHeldBy("one", key)
            self.kv.add = add

    def test_the_era_that_cannot_be_read_is_an_outage(self):
        # Not for ever: a wait rides an outage out.
        self.kv.script["era"] = [fails("unavailable")] * 3
        with self.host.session("two", quarantine=60 * SECOND).lock("k"):
            self.assertHeldBy("two", "k")

    def test_an_exception_that_nobody_foresaw_reaches_the_caller_and_the_session_goes_on(self):
        def slip():
            raise ZeroDivisionError

        grant = self.one.lock("k")
        acts = [
            ("get-many", lambda: self.one.holder("k")),
            ("replace", grant.renew),
            ("delete", grant.release),
            ("add", lambda: self.one.lock("other")),
        ]
        for function, act in acts:
            self.kv.script[function] = [slip]
            with self.assertRaises(ZeroDivisionError):
                act()
        self.assertEqual(self.one.lock("third").release(), "freed")


if __name__ == "__main__":
    unittest.main()
