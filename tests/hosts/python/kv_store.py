"""A store for the lock component: a dictionary and a clock.

It implements `kvlock:lock/kv-store` (wit/kv-store.wit). What makes it fit for locks:

- there is no blind write: an entry is made only where there is none, and is changed or removed only by whoever names
  the version that it has;
- each write is decided as one step, whatever other threads do: here a mutex sees to that;
- a version's number grows with each write, and is never used twice for a key;
- an expired entry is absent.

A version is a tuple of era and number here, and an outcome (`written`, `conflict`, `absent`, ...) one of its name and a
version; `component.py` makes the component's types of them.
"""

import threading
import time


class StoreError(Exception):
    """Why a call has no answer; `case` is one of the WIT's: `unavailable`, `unknown-outcome`, `rejected`, `invalid`."""

    def __init__(self, case, text):
        super().__init__(text)
        self.case = case


class Clock:
    """Time that runs on while the machine is suspended, where the system has such a clock."""

    def now(self):
        return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def sleep(self, nanos):
        time.sleep(nanos / 10**9)


class VirtualClock:
    """Stands still until somebody sleeps: an hour of waiting takes no time."""

    def __init__(self):
        self.nanos = 3_600 * 10**9

    def now(self):
        return self.nanos

    def sleep(self, nanos):
        self.nanos += nanos


class KvStore:
    # The life of these contents; a store that can lose everything makes a larger one each time it does.
    ERA = 1_000_000_000_000

    def __init__(self, clock):
        self.clock = clock
        self.mutex = threading.Lock()
        self.entries = {}  # key: (value, version, the time at which it ends or None)
        self.number = 0
        self.calls = []  # the names of the functions called, for tests

    def get_many(self, keys):
        """Of each key the entry as (value, version, nanoseconds left or None for ever), or None."""
        with self._call("get-many"):
            return [self._live(key) for key in keys]

    def add(self, key, value, ttl):
        with self._call("add"):
            present = self._live(key)
            return ("conflict", present[1]) if present else ("written", self._put(key, value, ttl))

    def replace(self, key, value, ttl, version):
        with self._call("replace"):
            return self._refusal(key, version) or ("written", self._put(key, value, ttl))

    def delete(self, key, version):
        with self._call("delete"):
            refusal = self._refusal(key, version)
            if not refusal:
                del self.entries[key]
            return refusal or ("deleted", None)

    def era(self, key):
        """The era and for how long nothing was lost. A dictionary loses nothing while it is there: no quarantine."""
        return (self.ERA, 2**64 - 1)

    def _call(self, name):
        self.calls.append(name)
        return self.mutex

    def _live(self, key):
        value, version, ends = self.entries.get(key, (None, None, 0))
        if ends is None:
            return (value, version, None)
        left = ends - self.clock.now()
        return (value, version, left) if left > 0 else None

    def _put(self, key, value, ttl):
        self.number += 1
        version = (self.ERA, self.number)
        self.entries[key] = (value, version, None if ttl is None else self.clock.now() + ttl)
        return version

    def _refusal(self, key, version):
        if version[0] != self.ERA:
            return ("conflict", None)
        present = self._live(key)
        if not present:
            return ("absent", None)
        return None if present[1] == version else ("conflict", present[1])
