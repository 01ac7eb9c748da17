"""Runs the lock component in Python, over a store of a few lines, and shows what locks and semaphores do.

    python host.py kvlock.wasm
"""

import sys

from component import Grant, Host, LockError
from kv_store import KvStore, VirtualClock

SECOND = 10**9


def main(path):
    clock = VirtualClock()
    kv = KvStore(clock)
    host = Host(path, kv, clock)
    one, two = host.session("one"), host.session("two")

    grant = one.lock("report")
    print(f"one has the lock, token {grant.token}")
    print(f"two sees that {two.holder('report').owner} has it")

    busy = error_of(lambda: two.lock("report", wait=5 * SECOND))
    blocker = getattr(busy.payload, "waiting-for")
    print(f"two gave up after {busy.payload.waited // SECOND} s: {busy.case}, held by {blocker.payload.owner}")
    print(f"one asks again: {error_of(lambda: one.lock('report')).case}")
    grant.renew(10 * SECOND)
    print("one renewed for 10 s")

    before = clock.now()
    taken = two.lock("report")
    print(f"two took over after {(clock.now() - before) // SECOND} s, its token is larger: {taken.token > grant.token}")
    print(f"one renews: {error_of(grant.renew).case}")
    print(f"one releases: {error_of(grant.release).case}")
    print(f"two releases: {taken.release()}")

    outer, inner = (one.lock("nested", reentrant=True) for _ in range(2))
    print(f"one has it {inner.depth()} times, and two sees {two.holder('nested').depth}")
    print(f"one releases: {inner.release()}, {outer.release()}, {error_of(outer.release).case}")

    written = one.lock("handed over").write_out()
    resumed = host.session("three").resume(written)
    resumed.renew()
    print(f"three renewed what one wrote out, and releases: {resumed.release()}")
    print(f"a text that is no grant: {error_of(lambda: two.resume('hello')).case}")

    both = one.lock_all(["b", "a"])
    print(f"one has {' and '.join(both.tokens())}, and two waits for neither: {two.holder('a').owner}")
    print(f"two asks for a and c: {error_of(lambda: two.lock_all(['c', 'a'], wait=0)).case}, and c is free: "
          f"{two.holder('c') is None}")
    print(f"one releases: {both.release()}")

    print(f"one makes a pool of 2, there was none: {one.make('pool', 2) is None}")
    permits = sorted((one.permit("pool") for _ in range(2)), key=Grant.permit)
    print(f"one has its permits {' and '.join(str(grant.permit()) for grant in permits)}")
    busy = error_of(lambda: two.permit("pool", wait=0))
    why = getattr(busy.payload, "waiting-for")
    print(f"two asks for one: {busy.case}, {why.tag}, {why.payload.held} of {why.payload.size}")
    print(f"two asks for one of a pond: {error_of(lambda: two.permit('pond')).case}")
    held = error_of(lambda: two.make("pool", 1, wait=5 * SECOND))
    print(f"two makes the pool 1: {held.case}, by {' and '.join(holder.owner for holder in held.payload.holders)}")
    print(f"one releases: {permits[1].release()}")
    two.make("pool", 1)
    for semaphore in two.semaphores():
        print(f"two made it, and lists {semaphore.name}: {len(semaphore.holders)} of {semaphore.size} held")
    print(f"one releases: {permits[0].release()}, and two has permit {two.permit('pool').permit()}")

    outcomes = iter(["conflict", "conflict", "committed"])
    print(f"work that conflicts twice: {one.conflict_retry('account', lambda: next(outcomes))}")
    print(f"work that always conflicts: {one.conflict_retry('account', lambda: 'conflict')}")

    one.lock("forgotten")
    one.semaphores()  # any next call
    print(f"one forgot a grant, and two finds the lock free: {two.holder('forgotten') is None}")

    kv.calls.clear()
    one.lock("quick").release()
    print(f"an uncontended lock and release are {', '.join(kv.calls)}")


def error_of(action):
    try:
        action()
    except LockError as error:
        return error
    raise AssertionError("it succeeded")


if __name__ == "__main__":
    main(*sys.argv[1:])
