"""What the tests of this host share. They find the component in the environment."""

import os
import unittest

from component import Host
from kv_store import KvStore, StoreError, VirtualClock


class ScriptedStore(KvStore):
    """A store whose calls may do something else first: `script["add"]` is a list of functions, one for each call."""

    def __init__(self, clock):
        super().__init__(clock)
        self.script = {}

    def get_many(self, *arguments):
        return self._scripted("get-many", super().get_many, arguments)

    def add(self, *arguments):
        return self._scripted("add", super().add, arguments)

    def replace(self, *arguments):
        return self._scripted("replace", super().replace, arguments)

    def delete(self, *arguments):
        return self._scripted("delete", super().delete, arguments)

    def era(self, *arguments):
        return self._scripted("era", super().era, arguments)

    def _scripted(self, name, call, arguments):
        if self.script.get(name):
            self.script[name].pop(0)()
        return call(*arguments)


def fails(case):
    """For a script: the call fails, and nothing happened."""

    def fail():
        raise StoreError(case, "by the script")

    return fail


class HostTest(unittest.TestCase):
    """A host over a scripted store, on virtual time."""

    def setUp(self):
        self.clock = VirtualClock()
        self.kv = ScriptedStore(self.clock)
        self.host = Host(os.environ["KVLOCK_COMPONENT"], self.kv, self.clock)

    def assertFree(self, key):
        self.assertIsNone(self.host.session("onlooker").holder(key))

    def assertHeldBy(self, owner, key):
        self.assertEqual(self.host.session("onlooker").holder(key).owner, owner)
