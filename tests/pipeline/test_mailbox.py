from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest
from timing import within

from pe_stream.errors import UnavailableError
from pe_stream.pipeline.mailbox import Mailbox


class Owner:
    """Keeps in order what it did."""

    def __init__(self) -> None:
        self.did: list[tuple[str, str]] = []
        self.woken = 0
        self.mailbox = Mailbox[str, str](
            lambda key, value: self.did.append((key, value)),
            lambda earlier, later: f"{earlier}+{later}",
            self.wake,
        )

    def wake(self) -> None:
        self.woken += 1


def test_of_each_key_one_waits_however_many_come() -> None:
    owner = Owner()
    for number in range(1000):
        owner.mailbox.want(f"k{number % 2}", str(number))
    assert owner.woken == 1000
    assert len(owner.mailbox._waiting) == 2
    owner.mailbox.serve()
    assert [key for key, _ in owner.did] == ["k0", "k1"]
    assert owner.did[0][1].split("+") == [str(number) for number in range(0, 1000, 2)]
    owner.mailbox.want("k0", "again")
    owner.mailbox.serve()
    assert owner.did[2:] == [("k0", "again")]


def test_nothing_joins_what_came_before_a_question() -> None:
    owner = Owner()
    owner.mailbox.want("k", "before")
    done = owner.mailbox.ask(lambda: owner.did.append(("asked", "")))
    owner.mailbox.want("k", "after")
    assert not done.done()
    owner.mailbox.serve()
    assert owner.did == [("k", "before"), ("asked", ""), ("k", "after")]
    assert done.result(0) is None


def test_what_is_done_may_want_more() -> None:
    owner = Owner()
    owner.mailbox.ask(lambda: owner.mailbox.want("k", "more"))
    owner.mailbox.serve()
    assert owner.did == [("k", "more")]


def test_what_is_cancelled_is_not_done() -> None:
    owner = Owner()
    assert owner.mailbox.ask(lambda: owner.did.append(("asked", ""))).cancel()
    owner.mailbox.serve()
    assert owner.did == []


def test_what_goes_wrong_is_told_on_both_sides() -> None:
    owner = Owner()

    def wrong() -> None:
        raise ZeroDivisionError

    done = owner.mailbox.ask(wrong)
    with pytest.raises(ZeroDivisionError):
        owner.mailbox.serve()
    with pytest.raises(ZeroDivisionError):
        done.result(0)


def test_nobody_waits_for_what_does_not_come() -> None:
    owner = Owner()
    before = owner.mailbox.ask(lambda: None)
    closing = threading.Timer(0.05, owner.mailbox.close)
    closing.start()
    with pytest.raises(CancelledError):
        before.result(within(10))
    closing.join()
    with pytest.raises(CancelledError):
        owner.mailbox.ask(lambda: None).result(0)
    with pytest.raises(UnavailableError, match="stopping"):
        owner.mailbox.want("k", "late")
    owner.mailbox.serve()
    assert owner.did == []
