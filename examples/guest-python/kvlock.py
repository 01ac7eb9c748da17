"""A lock as a scope, over the interface `kvlock:lock/mutex`. Copy this file into your component.

    lock = Session("report").lock
    with lock("nightly", wait=60) as grant:
        work(grant.token)

Times are in seconds. A wait of None is one without end. Nothing renews in the background: choose a lease that is longer
than the work, or call `grant.renew()` between two steps of it.
"""

from contextlib import contextmanager
from dataclasses import fields
from re import sub
from time import time_ns

from componentize_py_types import Err
from wit_world.imports import mutex, types


class LockError(Exception):
    """Why there is no lock, or why it could not be renewed or released."""


class Busy(LockError):
    """Somebody else has the lock, and the wait is over."""


class Lost(LockError):
    """The lock was lost: its lease ended, or it was broken. Stop the work that it guards."""


class Session:
    """An owner of locks. Two sessions exclude each other, whatever their names are."""

    def __init__(self, owner, *, label="", namespace="kvlock", quarantine=None):
        """`quarantine` is the longest lease in use: after a restart of the store nothing is granted for so long.
        None means 30 seconds, or the lease if that is longer."""
        options = _options(
            mutex.SessionOptions,
            owner=owner,
            label=label,
            namespace=namespace,
            quarantine=_nanos(quarantine),
            unix_time=time_ns(),
        )
        self._session = _told("the session", mutex.Session.open, options)

    @contextmanager
    def lock(self, key, *, lease=30, wait=None, interval=0.05, at_least=0, mode=mutex.Mode.PLAIN, note=None):
        """Holds the lock of a key for the length of a `with` block. `note` says what for, to people who look.

        If the block ends and the lock was lost meanwhile, this raises Lost. If the block raises, that goes on.
        """
        options = _options(
            mutex.LockOptions,
            mode=mode,
            lease=_lease(lease),
            wait=_nanos(wait),
            interval=_nanos(interval),
            adopt=False,
            at_least=_nanos(at_least),
            note=note,
        )
        acquisition = _told(key, self._session.lock, key, options)
        grant = Grant(key, _told(key, acquisition.block))
        try:
            yield grant
        except BaseException:
            grant.abandon()
            raise
        grant.release()


class Grant:
    """A lock that is held. `token` grows from grant to grant of a key: send it along with each change."""

    def __init__(self, key, grant):
        self.key, self._grant = key, grant
        self.token = grant.token()

    def renew(self, lease=None):
        """Begins the lease again, with another length if one is given."""
        _told(self.key, self._grant.renew, None if lease is None else _lease(lease))

    def release(self):
        """Gives the lock back."""
        _told(self.key, self._grant.release)

    def abandon(self):
        """Gives the lock back as far as that is possible; what fails is told nobody."""
        try:
            self.release()
        except LockError:
            pass


def _options(kind, **given):
    """Makes a record of the WIT. An option that is not given is none."""
    return kind(**{field.name: None for field in fields(kind)} | given)


def _nanos(seconds):
    return None if seconds is None else round(seconds * 1_000_000_000)


def _lease(seconds):
    return types.Ttl_After(_nanos(seconds))


def _told(key, call, *arguments):
    """Calls, and raises an error of the WIT as an exception that names the key."""
    try:
        return call(*arguments)
    except Err as error:
        why = error.value
    if isinstance(why, (mutex.AcquireError_Busy, mutex.AcquireError_Lost, mutex.GrantError_Lost)):
        kind = Busy if isinstance(why, mutex.AcquireError_Busy) else Lost
        raise kind(f"`{key}`: {_text(why)}")
    raise LockError(f"`{key}`: {_text(why)}")


def _text(why):
    """Returns what a case of the WIT says, for people: its name and what it has, down to the text of the store."""
    if isinstance(why, str):
        return why
    if isinstance(why, mutex.Holder):
        return why.owner
    if isinstance(why, mutex.Busy):
        return _text(why.waiting_for)
    words = sub("(?<!^)(?=[A-Z])", " ", type(why).__name__.rpartition("_")[2]).lower()
    value = getattr(why, "value", None)
    return words if value is None else f"{words}: {_text(value)}"
