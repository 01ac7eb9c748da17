"""Ctrl-C, and every other signal whose handler raises, ends a wait and nothing else: the interpreter lives, the session
is of use, and nothing is held."""

import os
import signal
import threading
import unittest

from support import HostTest


def interrupt():
    signal.raise_signal(signal.SIGINT)


class Signals(HostTest):
    def setUp(self):
        super().setUp()
        # Who started the tests may have ignored it.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        self.one, self.two = self.host.session("one"), self.host.session("two")

    def test_ctrl_c_ends_a_wait_and_the_session_goes_on(self):
        held = self.one.lock("k")
        self.clock.sleep = lambda nanos: interrupt()
        with self.assertRaises(KeyboardInterrupt):
            self.two.lock("k")
        held.release()
        with self.two.lock("k"):
            self.assertHeldBy("two", "k")

    def test_ctrl_c_while_the_store_is_asked_gives_back_what_was_acquired(self):
        self.kv.script["add"] = [interrupt]
        with self.assertRaises(KeyboardInterrupt):
            self.one.lock("k")
        self.assertFree("k")
        self.one.lock("k").release()

    def test_ctrl_c_during_a_release_is_raised_when_the_lock_is_free(self):
        held = self.one.lock("k")
        self.kv.script["delete"] = [interrupt]
        with self.assertRaises(KeyboardInterrupt):
            held.release()
        self.assertFree("k")

    def test_two_signals_at_once_are_both_handled(self):
        handled = []
        before = signal.signal(signal.SIGTERM, lambda *_: handled.append("term"))
        self.addCleanup(signal.signal, signal.SIGTERM, before)
        self.kv.script["add"] = [lambda: (signal.raise_signal(signal.SIGTERM), interrupt())]
        with self.assertRaises(KeyboardInterrupt):
            self.one.lock("k")
        self.one.lock("k").release()
        self.assertEqual(handled, ["term"])

    def test_handlers_are_as_they_were_afterwards(self):
        self.one.lock("k").release()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_an_exit_that_the_store_raises_reaches_the_caller_and_the_session_goes_on(self):
        def leave():
            raise SystemExit(3)

        for function, act in [("add", lambda: self.one.lock("k")), ("get-many", lambda: self.one.holder("k"))]:
            self.kv.script[function] = [leave]
            with self.assertRaises(SystemExit):
                act()
        self.one.lock("other").release()

    def test_a_storm_of_signals_kills_nobody(self):
        class Interrupt(BaseException):
            pass

        armed = False

        def handler(*_):
            nonlocal armed
            if armed:
                armed = False
                raise Interrupt

        signal.signal(signal.SIGINT, handler)

        def storm():
            for _ in range(500):
                os.kill(os.getpid(), signal.SIGINT)
                handled.wait(0.001)

        handled = threading.Event()  # never set: a pause that no signal ends
        sender = threading.Thread(target=storm)
        sender.start()
        interrupted = rounds = 0
        while sender.is_alive():
            rounds += 1
            try:
                armed = True
                with self.one.lock(f"k{rounds}"):
                    pass
                armed = False
            except Interrupt:
                interrupted += 1
        sender.join()
        self.assertGreater(interrupted, 0)
        self.one.lock("k").release()


if __name__ == "__main__":
    unittest.main()
