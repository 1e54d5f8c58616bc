"""Messages that the broker does not take: which, why, and how many."""

from __future__ import annotations

import logging

from pe_stream.core.messages import Message

_log = logging.getLogger(__name__)

NAMED = 3
"""Topics that `reason` names; of more it says how many."""


class Untaken:
    """Account of one publisher, kept on its thread; what is public may be read on any.

    counts: messages set aside, by cause; one that is tried with each connection counts each time.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.counts: dict[str, int] = {"too_large": 0, "refused": 0}
        self._why: dict[str, str] = {}  # by topic, until a message on it is taken

    @property
    def reason(self) -> str | None:
        """What the broker does not take at present, in words; None where it takes everything."""
        why = list(self._why.items())
        if not why:
            return None
        named = "; ".join(f"{topic}: {reason}" for topic, reason in why[:NAMED])
        more = f"; and {len(why) - NAMED} more" if len(why) > NAMED else ""
        return f"the broker does not take {named}{more}"

    def refused(self, message: Message, reason: str) -> None:
        """The broker has a reason not to take a message; each topic is named once."""
        self.counts["refused"] += 1
        if self._note(message, reason):
            _log.error("the MQTT broker refuses %s: %s", message.topic, reason)

    def left_out(self, message: Message, size: int, limit: int | None, *, forbidden: bool) -> None:
        """A message is not sent. size: of its packet (bytes). limit: as the broker says it.

        forbidden: the broker ends the connection for what is on this topic.
        """
        self.counts["refused" if forbidden else "too_large"] += 1
        most = ", or not permitted" if limit is None else f", it takes {limit}"
        reason = f"too large, {size} bytes{most}"
        if forbidden:
            reason = "it ends the connection; is that permitted?"
        if self._note(message, reason):
            _log.error("the MQTT broker does not take %s: %s; left out", message.topic, reason)

    def taken(self, topic: str) -> None:
        """The broker has a message on this topic."""
        self._why.pop(topic, None)

    def _note(self, message: Message, reason: str) -> bool:
        """Whether that is news."""
        known = message.topic in self._why
        self._why[message.topic] = reason
        return not known
