"""Order, loss and repetition of messages, without a network."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.messages import Message
from pe_stream.outputs.mqtt.outbox import Outbox


def event(payload: str) -> Message:
    return Message("house/events", payload, qos=1, retain=False)


def state(payload: str, topic: str = "house/state") -> Message:
    return Message(topic, payload, qos=1, retain=True)


def scores(payload: str) -> Message:
    return Message("house/scores", payload, qos=0, retain=False)


def drain(outbox: Outbox) -> list[str]:
    return [message.payload for message in iter(outbox.next, None)]


def connected(limit: int = 100) -> Outbox:
    outbox = Outbox(limit)
    outbox.connected()
    return outbox


def test_while_connected_everything_is_sent_in_its_turn() -> None:
    outbox = connected()
    for message in (event("start"), state("ON"), scores("{}"), event("end"), state("OFF")):
        outbox.put(message)
    assert drain(outbox) == ["start", "ON", "{}", "end", "OFF"]


def test_a_new_connection_begins_with_the_states_as_they_are_then() -> None:
    outbox = Outbox(100)
    for message in (state("online", "status"), state("ON"), event("1"), state("OFF"), event("2")):
        outbox.put(message)
    outbox.connected()
    assert drain(outbox) == ["online", "OFF", "1", "2"]
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == ["online", "OFF"]


def test_unacknowledged_events_come_again_first_and_in_order() -> None:
    outbox = connected()
    for payload in "abcd":
        outbox.put(event(payload))
    for packet_id in (1, 2, 3):
        message = outbox.next()
        assert message is not None
        outbox.sent(packet_id, message)
    outbox.acknowledged(2)
    assert (outbox.in_flight, outbox.queued, outbox.empty) == (2, 3, False)
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == ["a", "c", "d"]


def test_old_state_changes_do_not_come_again() -> None:
    outbox = connected()
    for message in (state("ON"), event("1"), state("OFF")):
        outbox.put(message)
    on = outbox.next()
    assert on is not None
    outbox.sent(1, on)
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == ["OFF", "1"]


def test_without_a_connection_qos_0_is_forgotten() -> None:
    outbox = Outbox(100)
    outbox.put(scores("1"))
    outbox.connected()
    outbox.put(scores("2"))
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == []
    assert outbox.dropped == 0


def test_a_full_line_drops_the_oldest_event_and_counts_it() -> None:
    outbox = Outbox(3)
    for number in range(10):
        outbox.put(event(str(number)))
    assert (outbox.dropped, outbox.queued) == (7, 3)
    outbox.connected()
    assert drain(outbox) == ["7", "8", "9"]


def test_what_comes_back_unacknowledged_does_not_exceed_the_limit() -> None:
    outbox = connected(2)
    for number in range(4):
        outbox.put(event(str(number)))
        if number < 2:
            message = outbox.next()
            assert message is not None
            outbox.sent(number, message)
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == ["2", "3"]
    assert outbox.dropped == 2


def test_a_full_line_loses_no_state() -> None:
    outbox = connected(2)
    outbox.put(state("ON", "a"))
    outbox.put(state("ON", "b"))
    outbox.put(state("OFF", "b"))
    outbox.put(event("1"))
    assert drain(outbox) == ["ON", "OFF", "1"]
    assert outbox.dropped == 0


def test_a_removed_topic_is_forgotten_once_the_broker_has_removed_it() -> None:
    outbox = connected()
    outbox.put(state("ON"))
    outbox.put(state(""))
    assert drain(outbox) == ["ON", ""]
    outbox.disconnected()
    outbox.connected()
    removal = outbox.next()
    assert removal == state("")
    outbox.sent(1, removal)
    assert outbox.acknowledged(1) is removal
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == []


def test_what_an_earlier_run_left_is_cleared_unless_there_is_news() -> None:
    outbox = Outbox(100)
    outbox.put(state("ON", "here"))
    for topic in ("here", "gone"):
        outbox.clear(topic)
    outbox.connected()
    # First what is to go: what moves from one topic to another is nowhere twice.
    assert [(m.topic, m.payload) for m in iter(outbox.next, None)] == [("gone", ""), ("here", "ON")]


def test_what_a_topic_is_to_get_before_comes_with_each_connection_until_the_broker_has_all() -> (
    None
):
    outbox = Outbox(100)
    outbox.put(Message("topic", "last", qos=1, retain=True, before=("first", "second")))
    for _ in range(2):
        outbox.connected()
        assert drain(outbox) == ["first", "second", "last"]
        outbox.disconnected()
    outbox.connected()
    for number, message in enumerate(iter(outbox.next, None)):
        outbox.sent(number, message)
    for number in range(3):
        assert outbox.acknowledged(number) is not None
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == ["last"]


def test_what_is_refused_waits_for_the_next_connection_in_its_order() -> None:
    outbox = connected()
    for number in range(4):
        outbox.put(replace(event(str(number)), since_s=float(number)))
    for number in range(3):
        message = outbox.next()
        assert message is not None
        outbox.sent(number, message)
    assert outbox.refused(1) is not None
    assert outbox.acknowledged(0) is not None
    assert (outbox.queued, outbox.in_flight, outbox.empty) == (3, 1, False)
    assert outbox.oldest_s == 1.0
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == ["1", "2", "3"]
    assert outbox.refused(17) is None


def test_what_is_set_aside_takes_places_and_goes_first() -> None:
    outbox = connected(3)
    for number in range(3):
        outbox.set_aside(event(str(number)))
    outbox.set_aside(state("ON"))  # the next connection begins with it anyway
    assert outbox.empty
    outbox.put(event("3"))
    assert (outbox.queued, outbox.dropped) == (3, 1)
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == ["1", "2", "3"]


def test_suspects_wait_for_all_else_and_keep_their_order() -> None:
    outbox = connected()
    for said in ("1", "2", "3"):
        outbox.put(event(said))
    other = replace(event("other"), topic="other/events")
    outbox.put(other)
    sent = outbox.next(lambda message: int(message.payload == "1"))
    assert sent == other  # what follows on a suspect's topic stays behind it
    outbox.sent(1, sent)
    assert outbox.next() is None  # each is alone
    assert not outbox.empty
    assert outbox.queued == 4
    outbox.acknowledged(1)
    outbox.put(event("4"))
    assert drain(outbox) == ["1", "2", "3", "4"]


def test_of_suspects_the_least_one_comes_first() -> None:
    outbox = connected()
    for said in ("3", "1", "2"):
        outbox.put(replace(event(said), topic=said))
    sent = [outbox.next(lambda message: int(message.payload)) for _ in range(3)]
    assert [message and message.payload for message in sent] == ["1", "2", "3"]


def test_what_is_behind_a_suspect_waits_for_no_other_once_that_was_taken() -> None:
    outbox = connected()
    for said in ("1", "2", "3"):
        outbox.put(event(said))
    outbox.put(replace(event("other"), topic="other/events"))
    suspects = {"house/events", "other/events"}

    def suspicion(message: Message) -> int:
        return int(message.topic in suspects)

    sent = outbox.next(suspicion)
    assert sent == event("1")
    outbox.sent(1, sent)
    assert outbox.next(suspicion) is None
    outbox.acknowledged(1)
    suspects.remove(sent.topic)
    for packet_id, said in ((2, "2"), (3, "3")):
        sent = outbox.next(suspicion)
        assert sent == event(said)
        outbox.sent(packet_id, sent)
    assert outbox.next(suspicion) is None


def test_suspects_take_places() -> None:
    outbox = connected(limit=3)
    outbox.put(event("1"))
    outbox.put(event("2"))
    outbox.put(other := replace(event("other"), topic="other/events"))
    assert outbox.next(lambda message: int(message.topic != other.topic)) == other
    outbox.put(event("3"))
    outbox.put(event("4"))
    assert outbox.dropped == 1
    assert drain(outbox) == ["2", "3", "4"]


def test_a_suspect_state_that_changed_meanwhile_is_sent_once_more_behind_it() -> None:
    outbox = connected()
    outbox.put(state("ON"))
    outbox.put(event("1"))
    first = outbox.next(lambda message: int(message.retain))
    assert first == event("1")
    outbox.put(state("OFF"))
    assert drain(outbox) == ["ON", "OFF"]


def test_suspects_come_once_and_in_their_order_on_the_next_connection() -> None:
    outbox = connected()
    for said in ("1", "2"):
        outbox.put(event(said))
    outbox.put(other := replace(event("other"), topic="other/events"))
    assert outbox.next(lambda message: int(message.topic != other.topic)) == other
    outbox.disconnected()
    outbox.connected()
    for packet_id, said in enumerate(("1", "2")):  # none waits for the one before it
        sent = outbox.next()
        assert sent == event(said)
        outbox.sent(packet_id, sent)
    assert outbox.next() is None
    assert outbox.queued == 2


def test_a_topic_that_comes_back_while_its_removal_is_on_the_way_stays() -> None:
    outbox = connected()
    outbox.put(state(""))
    removal = outbox.next()
    assert removal is not None
    outbox.sent(1, removal)
    outbox.put(state("OFF"))
    outbox.acknowledged(1)
    outbox.disconnected()
    outbox.connected()
    assert drain(outbox) == ["OFF"]


class Wire:
    """What a network thread and a broker do with an outbox, one step at a time."""

    def __init__(self, limit: int) -> None:
        self.outbox = connected(limit)
        self.arrived: list[Message] = []
        self._flying: list[int] = []

    def send(self) -> bool:
        message = self.outbox.next()
        if message is None:
            return False
        self._flying.append(len(self.arrived))
        self.outbox.sent(self._flying[-1], message)
        self.arrived.append(message)
        return True

    def acknowledge(self) -> bool:
        if not self._flying:
            return False
        self.outbox.acknowledged(self._flying.pop(0))
        return True

    def reconnect(self) -> None:
        self.outbox.disconnected()
        self._flying.clear()
        self.outbox.connected()


STEPS = st.sampled_from(["event", "state a", "state b", "send", "send", "acknowledge", "reconnect"])


@given(st.lists(STEPS, max_size=80), st.integers(1, 6))
def test_whatever_happens_events_arrive_in_order_and_states_end_right(
    steps: list[str], limit: int
) -> None:
    wire = Wire(limit)
    latest: dict[str, str] = {}
    for number, step in enumerate(steps):
        match step.split():
            case ["event"]:
                wire.outbox.put(event(str(number)))
            case ["state", topic]:
                latest[topic] = str(number)
                wire.outbox.put(state(str(number), topic))
            case [action]:
                getattr(wire, action)()
    while wire.send():
        pass

    assert {m.topic: m.payload for m in wire.arrived if m.retain} == latest
    first_time = list(dict.fromkeys(int(m.payload) for m in wire.arrived if not m.retain))
    assert first_time == sorted(first_time)
    assert len(first_time) >= steps.count("event") - wire.outbox.dropped
    while wire.acknowledge():
        pass
    assert wire.outbox.empty


def test_what_waited_without_a_connection_is_delayed() -> None:
    event = Message("events", "on time", qos=1, retain=False, late_payload="late")
    outbox = Outbox(10)
    outbox.put(event)
    outbox.connected()
    assert outbox.next() == event.delayed
    outbox.put(event)
    assert outbox.next() == event
    outbox.sent(1, event)
    outbox.disconnected()
    outbox.connected()
    assert outbox.next() == event.delayed
    assert event.delayed.payload == "late"
