"""The lock component in wasmtime: links a store, a clock and random numbers, and gives its exports as Python objects.

How the PyPI package `wasmtime` shows the component's values:

- a record is an object whose attributes have the WIT's names, hyphens included;
- a variant is a `Variant(tag, payload)` where Python's types alone would not tell its cases apart, and else the payload
  itself: a `ttl` is a number for `after` and None for `forever`;
- the same rule makes a `result` the value or the error, or a `Variant` of `ok` or `err`: see `unwrap`.

What else the package needs is in `crossing.py`.
"""

import collections
import contextlib
import itertools
import secrets
import threading
import time

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker, Record, ResourceHost, ResourceType, Variant

from crossing import answer, inside, outside

POLLABLE = 1  # any number: it tells our one type of resource from others
SECOND = 10**9


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
        self.numbers = itertools.count(1)  # gives each number once, to whatever thread asks
        self.due = {}  # when each pollable is ready, by its number
        with inside(threading.Lock()), self.linker.root() as root:
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

    def session(self, owner, **options):
        return Session(self, owner, **options)

    def _add_kv_store(self, instance):
        kv = self.kv
        version = lambda told: record(era=told[0], number=told[1])

        def entry(found):
            if found is None:
                return None
            value, told, left = found
            return record(value=value, version=version(told), time_left=Variant("some", left))

        def outcome(found):
            # The payload of `conflict` is the version that the entry has, if the store tells it.
            tag, told = found
            return Variant("ok", Variant(tag, told and version(told)))

        def entries(found):
            return [entry(each) for each in found]

        def era(found):
            return record(id=found[0], lossless_for=found[1])

        # Python's types tell the answer to a read from an error, and do not tell the answer to a write from one.
        error = lambda failure: Variant(failure.case, str(failure))
        err = lambda failure: Variant("err", error(failure))
        # A read that failed in an unknown way has changed nothing; a write may have been executed.
        read = lambda call, ok: answer(call, ok, error, "unavailable")
        write = lambda call: answer(call, outcome, err, "unknown-outcome")

        def one_write(write):
            each = write.payload
            if write.tag == "add":
                return "written", lambda: kv.add(each.key, each.value, each.ttl)
            version = getattr(each, "if-version")
            named = (version.era, version.number)
            if write.tag == "replace":
                return "written", lambda: kv.replace(each.key, each.value, each.ttl, named)
            return "deleted", lambda: kv.delete(each.key, named)

        def write_many(writes):
            # One by one: this store has no way to make several writes in the time of one.
            answers = [(case, write(call)) for case, call in map(one_write, writes)]
            return [Variant("ok", Variant(case, told.payload)) if told.tag == "ok" else told for case, told in answers]

        add = instance.add_func
        add("write-many", lambda _, writes: write_many(writes))
        add("get-many", lambda _, keys: read(lambda: kv.get_many(keys), entries))
        add("era", lambda _, key: read(lambda: kv.era(key), era))
        add("add", lambda _, key, value, ttl: write(lambda: kv.add(key, value, ttl)))
        add("replace", lambda _, key, value, ttl, v: write(lambda: kv.replace(key, value, ttl, (v.era, v.number))))
        add("delete", lambda _, key, v: write(lambda: kv.delete(key, (v.era, v.number))))

    # The component sleeps in its `block` functions, and nobody calls those here: a signal that comes meanwhile has to
    # wait (see `Session._until_done`). It sleeps in a release or renewal, too, whose outcome it has to find out.

    def _subscribe(self, _, pause):
        number = next(self.numbers)
        self.due[number] = self.clock.now() + pause
        return ResourceHost.own(number, POLLABLE)

    def _block(self, store, pollable):
        left = self.due[pollable.to_host(store).rep] - self.clock.now()
        if left > 0:
            with outside():
                self.clock.sleep(left)

    def _drop_pollable(self, _, number):
        del self.due[number]


class Session:
    """An owner of locks and permits: `mutex.session`. All durations are nanoseconds; None is for ever.

    It is meant for one thread: what it holds already it does not get once more, whoever asks. Other threads may use its
    grants all the same, to renew them for example; a call waits while another thread is in one.
    """

    def __init__(self, host, owner, namespace="kvlock", quarantine=None):
        self.host = host
        self.busy = threading.Lock()
        self.unused = collections.deque()  # resources to be dropped by whoever calls next
        options = record(
            owner=owner, label="python", namespace=namespace, quarantine=quarantine, unix_time=time.time_ns()
        )
        with inside(self.busy):
            self.store = Store(host.engine)
            self.instance = host.linker.instantiate(self.store, host.component)
        self.session = self._resource(self.call("[static]session.open", options))

    def lock(self, key, lease=30 * SECOND, wait=None, reentrant=False, note=None):
        """Acquires the lock, waiting as long as `wait` allows: `with session.lock("key"):` holds it in its block."""
        options = record(
            mode="reentrant" if reentrant else "plain",
            lease=lease,
            wait=wait,
            interval=50_000_000,
            adopt=False,
            at_least=0,
            note=note,
        )
        return self._acquired(self.call("[method]session.lock", self.session, key, options))

    def lock_all(self, keys, lease=30 * SECOND, wait=None, note=None):
        """Acquires several keys at once, all or none, as one grant: whatever their order, nobody waits in a circle."""
        options = record(
            mode="plain", lease=lease, wait=wait, interval=50_000_000, adopt=False, at_least=0, note=note
        )
        return self._acquired(self.call("[method]session.lock-all", self.session, keys, options))

    def make(self, name, permits, wait=None):
        """Makes a semaphore, or gives it another size; the size before, or None."""
        options = record(wait=wait, interval=50_000_000)
        resizing = self._resource(self.call("make", self.session, name, permits, options, of="semaphore"))
        try:
            return self._until_done("[method]resizing.poll", resizing, of="semaphore")
        finally:
            self.unused.append(resizing)

    def permit(self, name, lease=30 * SECOND, wait=None):
        """Acquires a permit of a semaphore, waiting as long as `wait` allows."""
        options = record(lease=lease, wait=wait, interval=50_000_000, note=None)
        return self._acquired(self._resource(self.call("acquire", self.session, name, options, of="semaphore")))

    def semaphores(self):
        """All semaphores, with name, size and holders."""
        return self.call("list", self.session, of="semaphore")

    def retry(self, key, name=None, tries=4, reserve=SECOND, lease=30 * SECOND, wait=None):
        """Begins work that is tried under the lock until it commits. `name`: see `reservation` in the WIT."""
        options = record(
            lease=lease,
            wait=wait,
            interval=50_000_000,
            tries=tries,
            reserve=reserve,
            reservation=name,
            note=None,
        )
        return Retry(self, self._resource(self.call("begin", self.session, key, options, of="conflict-retry")))

    def conflict_retry(self, key, work, tries=3):
        """Runs `work` until it answers `committed` or `failed`; a `conflict` is tried again, before other waiters."""
        retry = self.retry(key, tries=tries)
        pause = 0
        while pause is not None:
            self.host.clock.sleep(pause)
            retry.begin()
            outcome = "failed"
            try:
                outcome = work()
            finally:
                pause = getattr(retry, outcome)()
            if outcome != "conflict":
                return "finished"
        return "exhausted"

    def resume(self, written):
        """Takes up a grant that was written out by another instance."""
        return Grant(self, self._resource(self.call("[method]session.resume", self.session, written)))

    def holder(self, key):
        """Who has the key, or None."""
        state = self.call("[method]session.status", self.session, [key])[0].state
        return state.payload if state.tag in ("held", "kept") else None

    def call(self, name, *arguments, of="mutex"):
        """Calls a function of the component, and gives its value; an error is raised."""
        with inside(self.busy):
            return unwrap(self._enter(name, *arguments, of=of))

    def _acquired(self, acquisition):
        try:
            release = lambda grant: self.call("[method]grant.release", grant)
            granted = self._until_done("[method]acquisition.poll", acquisition, give_back=release)
            return Grant(self, granted.grant)
        except BaseException:
            with inside(self.busy):
                acquisition.drop(self.store)  # now: somebody else may be next in line
            raise

    def _until_done(self, poll, resource, of="mutex", give_back=None, soft=False):
        """Polls until that is no longer pending. Sleeps out here: a signal's handler may end the wait.

        `soft`: gives None as soon as there is no store to ask, or one that may have forgotten its locks.
        """
        progress = None
        try:
            while True:
                with inside(self.busy):
                    progress = tagged(self._enter(poll, resource, of=of))
                if soft and is_store_away(progress):
                    return None
                if progress.tag == "failed":
                    raise LockError(progress.payload.tag, progress.payload.payload)
                if progress.tag != "pending":
                    return progress.payload
                self.host.clock.sleep(progress.payload.pause)
        except BaseException:
            if progress is not None and progress.tag == "granted":
                give_back(progress.payload.grant)
            raise

    def _enter(self, name, *arguments, of="mutex"):
        while self.unused:
            self.unused.pop().drop(self.store)
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
    """A held lock or permit: `mutex.grant`. A block `with grant:` gives it back at its end.

    A block that ends well raises the error of the release, which may be that the lock had been lost. A grant that is
    forgotten is given back at the session's next call, unless it was written out, or resumed and never renewed.
    """

    def __init__(self, session, grant):
        self.session, self.grant = session, grant
        self.lost = None  # the error of a renewal in the background: see `kept`

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self.release()
        except LockError:
            if kind is None:
                raise

    def __del__(self):
        self.session.unused.append(self.grant)

    @property
    def token(self):
        """The fencing token."""
        return self._call("token")

    def tokens(self):
        """The fencing token of each key, by key."""
        return {each.key: each.token for each in self._call("keys")}

    def permit(self):
        """Which permit it is, if it is one of a semaphore."""
        return self._call("permit")

    def depth(self):
        return self._call("depth")

    def renew(self, *lease):
        """Begins the lease again; with another length, if one is given."""
        self._call("renew", Variant("some", *lease) if lease else Variant("none"))

    @contextlib.contextmanager
    def kept(self, every=10 * SECOND):
        """Renews the lease in a thread while the block runs: let `every` be a third of it.

        Once the lock is lost, `lost` is that error: look at it before each step that cannot be undone.
        """
        over = threading.Event()

        def renew():
            while not over.wait(every / SECOND):
                try:
                    self.renew()
                except LockError as error:
                    if error.case == "lost":
                        self.lost = error
                        return

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()

    def release(self):
        """`freed`, `nested` or `kept`."""
        return self._call("release").tag

    def write_out(self):
        return self._call("write-out")

    def _call(self, name, *arguments):
        return self.session.call(f"[method]grant.{name}", self.grant, *arguments)


class Retry:
    """Work that is tried under a lock until it commits: `conflict-retry.retry`.

    `begin` each try before its transaction begins, and say what it came to when that has ended: `committed`, `conflict`
    or `failed`. `grant` is the lock of the try that runs; None if none does, or it runs without the lock.
    """

    def __init__(self, session, retry):
        self.session, self.retry, self.grant = session, retry, None

    def __del__(self):
        self.session.unused.append(self.retry)

    def begin(self, soft=False):
        """Waits for the lock, or takes the reservation up. Raises a LockError if there is none.

        `soft`: gives None while the store is away, and the work is to run without the lock.
        """
        failed = lambda _: self._report(Variant("failed"))
        granted = self.session._until_done(
            "[method]retry.poll", self.retry, of="conflict-retry", give_back=failed, soft=soft
        )
        self.grant = granted and Grant(self.session, granted.grant)
        return self.grant

    def overtaken(self):
        """Whether what was read before the grant may be stale."""
        return self._call("overtaken")

    def committed(self):
        if self.grant is not None:
            self._report(Variant("committed"))

    def failed(self):
        """Not to be tried again: another error, or the last conflict."""
        if self.grant is not None:
            self._report(Variant("failed"))

    def conflict(self, back_in=None):
        """To be tried again: gives the pause before `begin`, or None if that was the last try.

        `back_in` is the caller's own pause, if it makes one whatever this says.
        """
        if self.grant is None:
            return 0
        next_try = self._report(Variant("conflict", back_in))
        return next_try.payload if next_try.tag == "retry-after" else None

    def give_up(self):
        """Gives up the reservation. The work may be tried again all the same."""
        self._call("give-up")

    def _report(self, outcome):
        next_try = self._call("report", outcome)
        self.grant = None
        return next_try

    def _call(self, name, *arguments):
        return self.session.call(f"[method]retry.{name}", self.retry, *arguments, of="conflict-retry")


def record(**fields):
    """A record of the WIT, with `_` for `-` in its names."""
    value = Record()
    for name, field in fields.items():
        setattr(value, name.replace("_", "-"), field)
    return value


def tagged(progress):
    """How a wait stands, as a variant: the cases of `resize-progress` are told apart by Python's types."""
    if isinstance(progress, Record):
        return Variant("pending", progress)
    if isinstance(progress, Variant):
        return progress if progress.tag in ("pending", "granted", "failed") else Variant("failed", progress)
    return Variant("done", progress)


def is_store_away(progress):
    """Whether there is no store to ask, or one that may have forgotten its locks: soft work goes on without them."""
    if progress.tag == "granted":
        return False
    why = progress.payload
    if progress.tag == "failed" and why.tag == "store":
        return why.payload.tag in ("unavailable", "unknown-outcome")
    if progress.tag == "failed" and why.tag != "busy":
        return False
    why = why if progress.tag == "pending" else why.payload
    return getattr(why, "waiting-for").tag in ("outage", "quarantine")


def unwrap(answer):
    """The value of a `result`, or its error as an exception; every error of the component is a variant."""
    if not isinstance(answer, Variant):
        return answer
    if answer.tag == "ok":
        return answer.payload
    error = answer.payload if answer.tag == "err" else answer
    raise LockError(error.tag, error.payload)
