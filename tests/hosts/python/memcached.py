"""A store on one memcached, shared with kvlock's own hosts: see docs/implementing-a-host.md for the reasons."""

import contextlib
import itertools
import secrets
import socket
import time

from kv_store import StoreError

EPOCH = "kvlock:epoch"
LOSSES = ("cmd_flush", "evictions", "slab_reassign_busy_deletes", "slab_reassign_evictions_nomem")
LONGEST_RELATIVE = 30 * 86_400
SLACK = 2  # seconds by which memcached's clock may be wrong
ATTEMPTS = 3
MAX_LINE = 8 * 1024
SECOND = 10**9
SETTLED = 1.05  # seconds after which a server's successor starts in a later second
ROOM = 500_000_000  # between the eras of two processes


class NotSent(Exception):
    """Nothing was executed."""


class NoAnswer(Exception):
    """Something was sent, and may have been executed."""


class Memcached:
    """Calls may come from several threads: each has a connection to itself while it lasts.

    `host` is the address of one server. (A name may lead to several, which is to be found out.)
    """

    def __init__(self, host="127.0.0.1", port=11211, timeout=1.0):
        self.address, self.timeout = (host, port), timeout
        self.idle = []
        self.known = None  # the epoch seen last
        self.marks = itertools.count(secrets.randbits(31))

    def get_many(self, keys):
        return self._read(lambda link: link.get_many([checked(key) for key in keys]))

    def era(self, key):
        return self._read(lambda link: link.current_era())

    def add(self, key, value, ttl):
        return self._write(lambda link: link.add(checked(key), value, ttl, self._mark()))

    def replace(self, key, value, ttl, version):
        return self._write(lambda link: link.replace(checked(key), value, ttl, version, self._mark()))

    def delete(self, key, version):
        return self._write(lambda link: link.delete(checked(key), version))

    def close(self):
        """Closes the connections that are idle; a call opens one again."""
        while self.idle:
            self.idle.pop().close()

    def _mark(self):
        return next(self.marks) % 2**32

    def _read(self, call):
        try:
            try:
                return self._on_link(call)
            except (NotSent, NoAnswer):
                self.close()  # what was idle is likely to be broken as well
                return self._on_link(call)
        except (NotSent, NoAnswer) as error:
            raise StoreError("unavailable", self._told(error)) from error

    def _write(self, call):
        try:
            try:
                return self._on_link(call)
            except NotSent:
                self.close()
                return self._on_link(call)
        except NotSent as error:
            raise StoreError("unavailable", self._told(error)) from error
        except NoAnswer as error:
            raise StoreError("unknown-outcome", self._told(error)) from error

    def _on_link(self, call):
        link = self._pooled() or Link(self)
        try:
            answer = call(link)
        except BaseException:
            link.close()  # what arrives on it later belongs to nobody
            raise
        self.idle.append(link)
        return answer

    def _pooled(self):
        while self.idle:
            with contextlib.suppress(IndexError):  # another thread may be faster
                link = self.idle.pop()
                if link.is_quiet():
                    return link
                link.close()
        return None

    def _told(self, error):
        return f"memcached {self.address[0]}:{self.address[1]}: {error}"


def checked(key):
    raw = key.encode()
    if not 1 <= len(raw) <= 250 or any(byte <= 0x20 or byte == 0x7F for byte in raw) or key == EPOCH:
        raise StoreError("invalid", f"not a key of this store: {key!r}")
    return key


class Epoch:
    """An era of a server, as its epoch item and its `stats` show it."""

    def __init__(self, cas, mark, stats):
        self.cas, self.mark, self.stats, self.seen = cas, mark, stats, time.monotonic()
        count = cas if mark["id"] is None else 1000 * cas + mark["id"] % 1000
        self.era = max(mark["started"] * SECOND, mark.get("above", 0)) + count
        self.has_losses = any(stats.get(name, 0) for name in LOSSES)
        since = mark["uptime"] if self.has_losses else 0
        self.lossless = max(0, stats["uptime"] - since - 3)
        self.counts_from = None  # if it has taken another server's place for this client

    def lossless_for(self):
        now = time.monotonic()
        seconds = self.lossless + now - self.seen
        return int(SECOND * (seconds if self.counts_from is None else min(seconds, now - self.counts_from)))

    def is_process_of(self, other):
        return (self.mark["started"], self.stats["pid"]) == (other.mark["started"], other.stats["pid"])

    def follows(self, known):
        """Whether tokens grow from the one known to this one."""
        if self.mark == known.mark and self.cas == known.cas:
            self.counts_from = known.counts_from
            return True
        if self.is_process_of(known):
            flushed = self.has_losses and self.era > known.era
            self.counts_from = known.counts_from if flushed else time.monotonic()
            return self.era > known.era
        told = known.stats["time"] + time.monotonic() - known.seen
        restarted = self.mark["started"] + 4 >= told
        self.counts_from = None if restarted else time.monotonic()
        return self.era >= known.era + ROOM


class Link:
    """A connection, and the era of the server as this connection last saw it."""

    def __init__(self, store):
        self.store, self.timeout = store, store.timeout
        try:
            self.socket = socket.create_connection(store.address, store.timeout)
        except OSError as error:
            raise NotSent(error) from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened, self.buffer = time.monotonic(), b""
        try:
            self._establish()
        except NoAnswer as error:
            self.close()
            raise NotSent(error) from error
        except BaseException:
            self.close()
            raise

    @property
    def era(self):
        return self.epoch.era

    def is_quiet(self):
        """Whether the server has neither closed it nor said anything unasked."""
        self.socket.settimeout(0)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self):
        self.socket.close()

    # The functions of the store.

    def get_many(self, keys):
        for _ in range(ATTEMPTS):
            self._send([f"mg {key} v c t" for key in keys] + [f"mg {EPOCH} c"])
            entries = [self._entry() for _ in keys]
            if self._is_same_era():
                # Versions are made only now, when it is known whose they are.
                return [entry and (entry[0], (self.era, entry[1]), entry[2]) for entry in entries]
        raise NotSent("it loses its contents again and again")

    def current_era(self):
        self._send([f"mg {EPOCH} c"])
        self._is_same_era()
        return (self.era, self.epoch.lossless_for())

    def add(self, key, value, ttl, mark):
        reply, present = self._put(f"add {key}", "", key, value, ttl, mark)
        if reply == b"NOT_STORED":
            return ("conflict", present and (self.era, present[0]))
        return self._written(reply, present, mark)

    def replace(self, key, value, ttl, version, mark):
        era, number = version
        if not self._is_era(era):
            return ("conflict", None)
        reply, present = self._put(f"cas {key}", f" {number}", key, value, ttl, mark)
        ended = self.era != era
        if reply == b"NOT_FOUND":
            return ("conflict", None) if ended else ("absent", None)
        if reply == b"EXISTS":
            return ("conflict", present and (self.era, present[0]))
        if ended and present and present[1] == mark:
            self._send([f"md {key} C{present[0]}"])
            self._line()
        if ended:
            return ("conflict", None)
        return self._written(reply, present, mark)

    def delete(self, key, version):
        era, number = version
        if not self._is_era(era):
            return ("conflict", None)
        self._send([f"md {key} C{number}"])
        code = self._line().split()[0]
        if code == b"HD":
            return ("deleted", None)
        if code == b"NF" and self._is_era(era):
            return ("absent", None)
        return ("conflict", None)

    # Writes.

    def _put(self, command, condition, key, value, ttl, mark):
        head = f"{command} {mark} {self._expiry(ttl)} {len(value)}{condition}\r\n".encode()
        self._send([f"mg {key} c f", f"mg {EPOCH} c"], head + value + b"\r\n")
        reply = self._line()
        try:
            for _ in range(ATTEMPTS):
                _, flags = self._meta()
                # What counts is what is there in the era that is now.
                if self._is_same_era():
                    return reply, flags and (flags[b"c"], flags[b"f"])
                self._send([f"mg {key} c f", f"mg {EPOCH} c"])
        except (NotSent, StoreError) as error:
            raise NoAnswer(error) from error  # of the write before
        raise NoAnswer("it loses its contents again and again")

    def _written(self, reply, present, mark):
        if reply != b"STORED":
            raise NoAnswer(f"it answers a write with {reply!r}")
        if not present or present[1] != mark:
            raise NoAnswer("what was written has been changed by somebody else since")
        return ("written", (self.era, present[0]))

    def _expiry(self, ttl):
        if ttl is None:
            return 0
        seconds = -(-ttl // SECOND) + SLACK
        if seconds <= LONGEST_RELATIVE:
            return seconds
        self._send(["stats"])
        end = self._stats()["time"] + seconds + SLACK
        return end if end < 2**31 else 0

    # Eras.

    def _is_era(self, era):
        if era != self.era:  # which may have begun since this connection was used
            self.current_era()
        return era == self.era

    def _is_same_era(self):
        _, flags = self._meta()
        if flags and flags[b"c"] == self.epoch.cas:
            return True
        self._establish()
        return False

    def _establish(self):
        """Finds out the server's era, and begins one where there is none that follows what was known."""
        for _ in range(2 * ATTEMPTS):
            self._send([f"mg {EPOCH} v c", "stats"])
            value, flags = self._meta()
            stats = self._stats()
            started, known = stats["time"] - stats["uptime"], self.store.known
            epoch = None if value is None else Epoch(flags[b"c"], parsed(value), stats)
            if epoch and epoch.mark["started"] == started and (known is None or epoch.follows(known)):
                self.epoch = self.store.known = epoch
                return
            age = time.monotonic() - self.opened
            if stats["uptime"] < 4 and age < SETTLED:
                time.sleep(SETTLED - age)
                continue
            if epoch:
                self._send([f"md {EPOCH} C{epoch.cas}"])
                self._line()
            self._begin(started, stats, known)
        raise NotSent(f"`{EPOCH}` is gone as soon as it is made")

    def _begin(self, started, stats, known):
        words = f"started={started} uptime={stats['uptime']} id={secrets.token_hex(8)}"
        if known and (started, stats["pid"]) == (known.mark["started"], known.stats["pid"]):
            above = known.mark.get("above")
        elif known and started * SECOND < known.era + ROOM:
            above = max(known.era + ROOM, stats["time"] * SECOND)
        else:
            above = None
        if above:
            words += f" above={above}"
        text = f"kvlock epoch 2 {words} (while this item stays, nothing was flushed: do not touch)"
        self._send([], f"add {EPOCH} 0 0 {len(text)}\r\n{text}\r\n".encode())
        self._line()

    # Bytes.

    def _send(self, commands, first=b""):
        request = first + "".join(f"{command}\r\n" for command in commands).encode()
        self.deadline = time.monotonic() + self.timeout
        try:
            self.socket.settimeout(self.timeout)
            self.socket.sendall(request)
        except OSError as error:
            raise NoAnswer(error) from error  # how much of it has left is not known

    def _fill(self):
        left = self.deadline - time.monotonic()
        try:
            self.socket.settimeout(max(left, 0.001))
            more = self.socket.recv(65_536)
        except OSError as error:
            raise NoAnswer(error) from error
        if not more:
            raise NoAnswer("it closed the connection")
        self.buffer += more

    def _line(self):
        while b"\n" not in self.buffer:
            if len(self.buffer) > MAX_LINE:
                raise NoAnswer("it is no memcached")
            self._fill()
        line, _, self.buffer = self.buffer.partition(b"\n")
        line = line.rstrip(b"\r")
        if line.split(b" ")[0] in (b"SERVER_ERROR", b"CLIENT_ERROR", b"ERROR"):
            raise StoreError("rejected", f"memcached: {line.decode(errors='replace')}")
        return line

    def _meta(self):
        """The value and the numbers behind the flags; None for either where there is none."""
        words = self._line().split()
        if not words or words[0] not in (b"VA", b"HD", b"EN"):
            raise NoAnswer(f"it answers `mg` with {words!r}")
        if words[0] == b"EN":
            return None, None
        value = None
        if words[0] == b"VA":
            length = int(words[1])
            while len(self.buffer) < length + 2:
                self._fill()
            value, self.buffer = self.buffer[:length], self.buffer[length + 2 :]
        flags = words[2:] if words[0] == b"VA" else words[1:]
        return value, {flag[:1]: int(flag[1:]) for flag in flags}

    def _entry(self):
        value, flags = self._meta()
        if value is None:
            return None
        left = flags[b"t"]
        return value, flags[b"c"], None if left < 0 else max(0, left - SLACK) * SECOND

    def _stats(self):
        stats = {}
        while (line := self._line()) != b"END":
            _, name, value = line.decode().split(" ", 2)
            stats[name] = int(value) if value.isdigit() else value
        if tuple(int(part) for part in str(stats["version"]).split(".")[:3]) < (1, 6, 13):
            raise StoreError("rejected", "memcached older than 1.6.13 does not compare versions when it deletes")
        return stats


def parsed(value):
    """The words of an epoch item."""
    text = value.decode(errors="replace")
    if not text.startswith(("kvlock epoch 1 ", "kvlock epoch 2 ")):
        raise StoreError("rejected", f"`{EPOCH}` holds something that kvlock did not write: {text[:60]!r}")
    words = dict(word.split("=", 1) for word in text.split(" ") if "=" in word)
    mark = {"started": int(words["started"]), "uptime": int(words["uptime"]), "id": None}
    if "id" in words:
        mark["id"] = int(words["id"], 16)
    if "above" in words:
        mark["above"] = int(words["above"])
    return mark
