"""Crossing between Python and the component, as the package `wasmtime` needs it.

Four traits of the package (48.0.0) decide how:

- An exception that is no `Exception` must not leave a host function: KeyboardInterrupt, SystemExit,
  asyncio.CancelledError. The package does not catch it, gives the component a result that nobody has filled in, and
  the interpreter dies of SIGSEGV. It does not suffice to catch it in the host function: Python runs the handlers of
  signals between any two instructions of the main thread, those of the package among them. So a signal that arrives
  while the component runs is handled when it has returned.
- Any other exception in a host function ends the component's instance, and all that its session holds is out of reach.
  So none crosses: `answer` makes an error of the WIT of it.
- A `Store` is used by one thread at a time, and is not entered again while a host function runs in it. Each session has
  a lock of its own for that.
- The package keeps what it converts, and the last exception, in variables of its module: two threads that convert at
  once disturb each other, even if each has a Store of its own. So one thread of the process at a time is inside; while
  it asks the store or sleeps, another one may be.
"""

import contextlib
import signal
import threading

from kv_store import StoreError

_package = threading.Lock()
_signals = tuple(signal.valid_signals())
_unforeseen = threading.local()


@contextlib.contextmanager
def inside(lock):
    """Whoever calls the component, or touches its `Store` otherwise, does it in here. `lock` is the session's."""
    with lock, _signals_wait(), _package:
        try:
            yield
        finally:
            error, _unforeseen.error = getattr(_unforeseen, "error", None), None
            if error is not None:
                raise error


def answer(ask, ok, err, otherwise):
    """The answer of a host function that asks the store: `ok` of what `ask` gives, or `err` of a StoreError.

    Any other exception is told to the component as the error `otherwise`, and raised when the component has returned.
    """
    try:
        with outside():
            value = ask()
    except StoreError as error:
        return err(error)
    except BaseException as error:
        _unforeseen.error = error
        return err(StoreError(otherwise, repr(error)))
    return ok(value)


@contextlib.contextmanager
def outside():
    """Host functions that take their time do so in here."""
    _package.release()
    try:
        yield
    finally:
        _package.acquire()


class _StandIn:
    """Stands in for a signal's handler: while the component runs it only notes that the signal came."""

    inside = False  # whether the main thread is; no other thread runs handlers

    def __init__(self, handler):
        self.handler, self.noted = handler, False

    def __call__(self, number, frame):
        if _StandIn.inside:
            self.noted = True
        else:
            self.handler(number, frame)


@contextlib.contextmanager
def _signals_wait():
    if threading.current_thread() is not threading.main_thread() or _StandIn.inside:
        yield
        return
    stand_ins = {}
    try:
        for number in _signals:
            handler = signal.getsignal(number)
            if callable(handler):
                stand_ins[number] = _StandIn(handler.handler if isinstance(handler, _StandIn) else handler)
                signal.signal(number, stand_ins[number])
        _StandIn.inside = True
        yield
    finally:
        # From here on a stand-in calls its handler. If that raises, the rest are left in place until the next time.
        _StandIn.inside = False
        for number, stand_in in stand_ins.items():
            signal.signal(number, stand_in.handler)
        _raise_all([number for number, stand_in in stand_ins.items() if stand_in.noted])


def _raise_all(numbers):
    """Each handler runs, whatever those before it raise."""
    if numbers:
        try:
            signal.raise_signal(numbers[0])
        finally:
            _raise_all(numbers[1:])
