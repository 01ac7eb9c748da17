"""A program that adds one to a number in a file, TURNS times, each time under the lock `counter`.

It prints the number, and the fencing token under which it was written.
"""

import sys
from os import environ
from pathlib import Path

from componentize_py_types import Err
from kvlock import LockError, Session
from wit_world import exports


class Run(exports.Run):
    def run(self):
        try:
            work(Path(environ.get("COUNTER", "counter")), int(environ.get("TURNS", "1")))
        except LockError as error:
            print(error, file=sys.stderr)
            raise Err(None)


def work(counter, turns):
    # As long as the longest lease in use: after a restart of the store, an earlier holder may still be at work.
    lock = Session("guest-python", namespace="example", quarantine=10).lock
    for _ in range(turns):
        with lock("counter", lease=10, wait=120) as grant:
            seen = int(counter.read_text()) if counter.exists() else 0
            counter.write_text(str(seen + 1))
            print(seen + 1, grant.token)
