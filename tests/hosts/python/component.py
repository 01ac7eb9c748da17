"""The lock component in wasmtime: links a store, a clock and random numbers, and gives its exports as Python objects.

How the PyPI package `wasmtime` shows the component's values:

- a record is an object whose attributes have the WIT's names, hyphens included;
- a variant is a `Variant(tag, payload)` where Python's types alone would not tell its cases apart, and else the payload
  itself: a `ttl` is a number for `after` and None for `forever`;
- the same rule makes a `result` the value or the error, or a `Variant` of `ok` or `err`: see `unwrap`.
"""

import secrets
import time

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker, Record, ResourceHost, ResourceType, Variant

POLLABLE = 1  # any number: it tells our one type of resource from others


class LockError(Exception):
    """The component answered with an error. `case` is its name in the WIT, `payload` what belongs to it."""

    def __init__(self, case, payload=None):
        super().__init__(case if payload is None else f"{case}: {payload}")
        self.case, self.payload = case, payload


class Host:
    """The component over one store and clock. Each session gets an instance of its own."""

    def __init__(self, path, kv, clock):
        self.kv, self.clock = kv, clock
        self.engine = Engine()
        self.component = Component.from_file(self.engine, path)
        self.linker = Linker(self.engine)
        self.due = {}  # when each pollable is ready, by its number
        with self.linker.root() as root:
            with root.add_instance("kvlock:lock/kv-store@0.1.0") as instance:
                self._add_kv_store(instance)
            with root.add_instance("wasi:io/poll@0.2.0") as instance:
                instance.add_resource("pollable", ResourceType.host(POLLABLE), self._drop_pollable)
                instance.add_func("[method]pollable.block", self._block)
            with root.add_instance("wasi:clocks/monotonic-clock@0.2.0") as instance:
                instance.add_func("now", lambda _: self.clock.now())
                instance.add_func("subscribe-duration", self._subscribe)
            with root.add_instance("wasi:random/random@0.2.0") as instance:
                instance.add_func("get-random-u64", lambda _: secrets.randbits(64))

    def session(self, owner):
        return Session(self, owner)

    def _add_kv_store(self, instance):
        kv = self.kv
        version = lambda number: record(era=kv.ERA, number=number)
        # The payload of `conflict` is the version that the entry has, if the store tells it.
        outcome = lambda tag, number: Variant("ok", Variant(tag, None if number is None else version(number)))

        def entry(found):
            if found is None:
                return None
            value, number, left = found
            return record(value=value, version=version(number), time_left=Variant("some", left))

        add = instance.add_func
        add("get", lambda _, key: entry(kv.get(key)))
        add("get-many", lambda _, keys: [entry(found) for found in kv.get_many(keys)])
        add("add", lambda _, key, value, ttl: outcome(*kv.add(key, value, ttl)))
        add("replace", lambda _, key, value, ttl, v: outcome(*kv.replace(key, value, ttl, v.era, v.number)))
        add("delete", lambda _, key, v: outcome(*kv.delete(key, v.era, v.number)))
        # A dictionary loses nothing while it is there: no quarantine.
        add("era", lambda _, key: record(id=kv.ERA, lossless_for=2**64 - 1))

    def _subscribe(self, _, pause):
        number = len(self.due) + 1
        self.due[number] = self.clock.now() + pause
        return ResourceHost.own(number, POLLABLE)

    def _block(self, store, pollable):
        left = self.due[pollable.to_host(store).rep] - self.clock.now()
        if left > 0:
            self.clock.sleep(left)

    def _drop_pollable(self, _, number):
        del self.due[number]


class Session:
    """An owner of locks and permits: `mutex.session`. All durations are nanoseconds; None is for ever."""

    def __init__(self, host, owner):
        self.host, self.store = host, Store(host.engine)
        self.instance = host.linker.instantiate(self.store, host.component)
        options = record(owner=owner, label="python", namespace="kvlock", quarantine=None, unix_time=time.time_ns())
        self.session = self._resource(self.call("[static]session.open", options))

    def lock(self, key, lease=30 * 10**9, wait=None, reentrant=False):
        """Acquires the lock, waiting as long as `wait` allows."""
        options = record(
            mode="reentrant" if reentrant else "plain",
            lease=lease,
            wait=wait,
            interval=50_000_000,
            adopt=False,
            at_least=0,
        )
        acquisition = self.call("[method]session.lock", self.session, key, options)
        answer = self.ask("[method]acquisition.block", acquisition)
        acquisition.drop(self.store)
        return Grant(self, unwrap(answer))

    def make(self, name, permits, wait=None):
        """Makes a semaphore, or gives it another size; the size before, or None."""
        options = record(wait=wait, interval=50_000_000)
        resizing = self._resource(self.call("make", self.session, name, permits, options, of="semaphore"))
        answer = self.ask("[method]resizing.block", resizing, of="semaphore")
        resizing.drop(self.store)
        return unwrap(answer)

    def permit(self, name, lease=30 * 10**9, wait=None):
        """Acquires a permit of a semaphore, waiting as long as `wait` allows."""
        options = record(lease=lease, wait=wait, interval=50_000_000)
        acquisition = self._resource(self.call("acquire", self.session, name, options, of="semaphore"))
        answer = self.ask("[method]acquisition.block", acquisition)
        acquisition.drop(self.store)
        return Grant(self, unwrap(answer))

    def semaphores(self):
        """All semaphores, with name, size and holders."""
        return self.call("list", self.session, of="semaphore")

    def conflict_retry(self, key, work, tries=3):
        """Runs `work` until it answers `committed` or `failed`; a `conflict` is tried again, first in line."""
        options = record(lease=30 * 10**9, wait=None, interval=50_000_000, tries=tries, reserve=10**9, adopt=False)
        retry = self._resource(self.call("begin", self.session, key, options, of="conflict-retry"))
        while True:
            grant = self.call("[method]retry.block", retry, of="conflict-retry")
            outcome = work()
            verdict = self.call("[method]retry.report", retry, outcome, of="conflict-retry")
            grant.drop(self.store)
            if verdict.tag != "retry-after":
                return verdict.tag
            self.host.clock.sleep(verdict.payload)

    def resume(self, written):
        """Takes up a grant that was written out by another instance."""
        return Grant(self, self._resource(self.call("[method]session.resume", self.session, written)))

    def holder(self, key):
        """Who has the key, or None."""
        return self.call("[method]session.status", self.session, [key])[0]

    def call(self, name, *arguments, of="mutex"):
        return unwrap(self.ask(name, *arguments, of=of))

    def ask(self, name, *arguments, of="mutex"):
        interface = self.instance.get_export_index(self.store, f"kvlock:lock/{of}@0.1.0")
        function = self.instance.get_func(self.store, self.instance.get_export_index(self.store, name, interface))
        return function(self.store, *arguments)

    @staticmethod
    def _resource(answer):
        """`result<resource, string>`: the string is an error."""
        if isinstance(answer, str):
            raise LockError("invalid", answer)
        return answer


class Grant:
    """A held lock or permit: `mutex.grant`."""

    def __init__(self, session, grant):
        self.session, self.grant = session, grant
        self.token = self._call("token")

    def permit(self):
        """Which permit it is, if it is one of a semaphore."""
        return self._call("permit")

    def depth(self):
        return self._call("depth")

    def renew(self, *lease):
        """Begins the lease anew; with another length, if one is given."""
        self._call("renew", Variant("some", *lease) if lease else Variant("none"))

    def release(self):
        """`freed`, `nested` or `kept`."""
        return self._call("release").tag

    def write_out(self):
        return self._call("write-out")

    def _call(self, name, *arguments):
        return self.session.call(f"[method]grant.{name}", self.grant, *arguments)


def record(**fields):
    """A record of the WIT, with `_` for `-` in its names."""
    value = Record()
    for name, field in fields.items():
        setattr(value, name.replace("_", "-"), field)
    return value


def unwrap(answer):
    """The value of a `result`, or its error as an exception; every error of the component is a variant."""
    if not isinstance(answer, Variant):
        return answer
    if answer.tag == "ok":
        return answer.payload
    error = answer.payload if answer.tag == "err" else answer
    raise LockError(error.tag, error.payload)
