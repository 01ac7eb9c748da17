"""A store for the lock component: a dictionary and a clock.

It implements `kvlock:lock/kv-store` (wit/kv-store.wit). What makes it fit for locks:

- there is no blind write: an entry is made only where there is none, and is changed or removed only by whoever names
  the version that it has;
- a version's number grows with each write, and is never used twice for a key;
- an expired entry is absent.

Outcomes (`written`, `conflict`, `absent`, ...) are plain tuples here; `host.py` makes the component's types of them.
"""


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
        self.entries = {}  # key: (value, number, the time at which it ends or None)
        self.number = 0
        self.calls = []  # the names of the functions called, for tests

    def get(self, key):
        """The entry as (value, number, nanoseconds left or None for ever), or None."""
        self.calls.append("get")
        return self._live(key)

    def get_many(self, keys):
        self.calls.append("get-many")
        return [self._live(key) for key in keys]

    def add(self, key, value, ttl):
        self.calls.append("add")
        present = self._live(key)
        if present:
            return ("conflict", present[1])
        return ("written", self._put(key, value, ttl))

    def replace(self, key, value, ttl, era, number):
        self.calls.append("replace")
        refusal = self._refusal(key, era, number)
        return refusal or ("written", self._put(key, value, ttl))

    def delete(self, key, era, number):
        self.calls.append("delete")
        refusal = self._refusal(key, era, number)
        if not refusal:
            del self.entries[key]
        return refusal or ("deleted", None)

    def _live(self, key):
        value, number, ends = self.entries.get(key, (None, None, 0))
        if ends is None:
            return (value, number, None)
        left = ends - self.clock.now()
        return (value, number, left) if left > 0 else None

    def _put(self, key, value, ttl):
        self.number += 1
        self.entries[key] = (value, self.number, None if ttl is None else self.clock.now() + ttl)
        return self.number

    def _refusal(self, key, era, number):
        if era != self.ERA:
            return ("conflict", None)
        present = self._live(key)
        if not present:
            return ("absent", None)
        return None if present[1] == number else ("conflict", present[1])
