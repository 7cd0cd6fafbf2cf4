"""Who is given up, when, and why: presence and waiting as state machines, with a clock that is a number."""

from __future__ import annotations

import pytest

from protocol.transport.nats.heartbeat import Heartbeat, Notice
from protocol.transport.nats.outgoing import Outgoing
from protocol.transport.nats.presence import Presence
from protocol.transport.nats.transfer import MAX_SEQUENCE
from protocol.transport.nats.waiting import Asked, Waiting

ID, OTHER, REPLY = "1" * 32, "2" * 32, "3" * 32


def beat(count: int, boot: str = "0" * 32, working: str = "", sequence: int = 0, replied: str | None = None) -> Heartbeat:
    notice = None if replied is None else Notice(replied, REPLY, 1)
    return Heartbeat("c", "a", boot, count, "ready", working, sequence, notice)


def asked(sent: float | None = 0.0, sequence: int = 10) -> dict[str, Asked]:
    return {"a": Asked(ID, f"{ID}:x", sequence, sent)}


def kind(waiting: Waiting, presence: Presence, now: float) -> str | None:
    given_up = waiting.given_up(presence, now)
    return None if given_up is None else given_up[1].kind


def test_a_silo_is_lost_after_25_seconds_and_alive_again_at_its_next_word() -> None:
    presence = Presence("a", 0.0)
    assert presence.liveness(1.0)["a"].state == "never seen"
    presence.observe(beat(1), 10.0)
    assert presence.liveness(34.0)["a"].state == "alive"
    assert presence.liveness(36.0)["a"].state == "lost"
    assert presence.liveness(36.0)["a"].seconds == 26.0
    presence.observe(beat(2), 40.0)
    assert presence.liveness(41.0)["a"].state == "alive"


def test_a_repeated_heartbeat_is_no_sign_of_life_and_a_new_start_is() -> None:
    presence = Presence("a", 0.0)
    assert presence.observe(beat(5), 1.0)
    assert not presence.observe(beat(5), 2.0)
    assert not presence.observe(beat(4), 2.0)
    assert presence.observe(beat(0, boot="f" * 32), 3.0)
    assert not presence.observe(beat(5), 4.0)


def test_old_heartbeats_replayed_to_a_new_aggregator_delay_a_round_to_its_deadline_and_do_nothing_else() -> None:
    presence = Presence("a", 0.0)
    waiting = Waiting(asked(sequence=10), deadline_s=60.0, patience_s=600.0)
    for second in range(0, 61, 5):  # a whole hour of them was kept, from before the aggregator's restart
        assert presence.observe(beat(second, working=OTHER, sequence=9, replied=OTHER), float(second))
        assert presence.liveness(float(second))["a"].state == "alive"
        assert waiting.ready(presence) is None
        assert waiting.refused(presence) is None
        assert kind(waiting, presence, float(second)) == (None if second < 60 else "busy")


def test_an_outage_of_the_broker_is_nobodys_absence() -> None:
    presence = Presence("a", 0.0)
    presence.observe(beat(1), 1.0)
    presence.disconnected()
    assert not presence.lost("a", 500.0)
    presence.connected(500.0)
    assert not presence.lost("a", 520.0)
    assert presence.lost("a", 526.0)


def test_a_silo_that_was_never_seen_is_given_up_early_and_one_that_was_seen_may_come_back() -> None:
    presence = Presence("ab", 0.0)
    presence.observe(beat(1), 1.0)
    waiting = Waiting({**asked(), "b": Asked(OTHER, "", 1, 0.0)}, deadline_s=3600.0, patience_s=600.0)
    assert waiting.given_up(presence, 20.0) is None
    given_up = waiting.given_up(presence, 30.0)
    assert given_up is not None
    assert (given_up[0], given_up[1].kind) == ("b", "unreachable")
    waiting.done("b")
    assert waiting.given_up(presence, 500.0) is None
    assert kind(waiting, presence, 602.0) == "unreachable"


@pytest.mark.parametrize(
    ("heard", "working", "expected"),
    [(9.0, "", "timeout"), (9.0, ID, "timeout"), (9.0, OTHER, "busy"), (-30.0, ID, "unreachable")],
)
def test_at_its_deadline_a_silo_is_late_busy_or_gone(heard: float, working: str, expected: str) -> None:
    presence = Presence("a", -100.0)
    presence.observe(beat(1, working=working), heard)
    waiting = Waiting(asked(), deadline_s=10.0, patience_s=600.0)
    assert kind(waiting, presence, 9.9) is None
    assert kind(waiting, presence, 10.0) == expected


def test_the_deadline_runs_from_when_the_request_could_be_read() -> None:
    presence = Presence("a", 0.0)
    presence.observe(beat(1), 20.0)
    waiting = Waiting(asked(sent=None), deadline_s=10.0, patience_s=600.0)
    assert kind(waiting, presence, 20.0) is None
    waiting.sent(waiting.asked, 20.0, None)
    assert kind(waiting, presence, 29.0) is None
    assert kind(waiting, presence, 30.0) == "timeout"


def test_a_request_that_the_broker_did_not_take_is_a_failure_with_the_reason() -> None:
    presence = Presence("a", 0.0)
    waiting = Waiting(asked(sent=None), deadline_s=10.0, patience_s=600.0)
    waiting.sent(waiting.asked, 1.0, "the disk is full")
    given_up = waiting.given_up(presence, 1.0)
    assert given_up is not None
    assert given_up[1].reason == "the disk is full"


def test_a_reply_in_time_counts_even_if_it_is_looked_at_late_and_a_late_one_does_not() -> None:
    presence = Presence("a", 0.0)
    waiting = Waiting(asked(), deadline_s=10.0, patience_s=600.0)
    presence.observe(beat(1, replied=ID), 10.5)
    assert waiting.ready(presence) is None
    presence = Presence("a", 0.0)
    presence.observe(beat(1, replied=OTHER), 9.0)
    assert waiting.ready(presence) is None
    presence.observe(beat(2, replied=ID), 9.5)
    presence.observe(beat(3, replied=ID), 11.0)
    assert waiting.ready(presence) == ("a", Notice(ID, REPLY, 1))


def test_a_silo_that_knows_later_requests_is_asked_once_more() -> None:
    presence = Presence("a", 0.0)
    waiting = Waiting(asked(sequence=10), deadline_s=10.0, patience_s=600.0)
    presence.observe(beat(1, sequence=9), 1.0)
    assert waiting.refused(presence) is None
    presence.observe(beat(2, sequence=10, working=ID), 2.0)
    assert waiting.refused(presence) is None
    presence.observe(beat(3, sequence=10), 3.0)
    assert waiting.refused(presence) == "a"
    waiting.asked["a"].repeated = True
    assert waiting.refused(presence) is None


def test_requests_are_numbered_upwards_for_each_silo_whatever_a_silo_claims() -> None:
    outgoing = Outgoing("c", ("a", "b"))
    (first,) = outgoing.address({"a": b"x", "b": b"x"}, {})
    (second,) = outgoing.address({"a": b"x", "b": b"x"}, {"a": MAX_SEQUENCE})
    assert second.asked["b"].sequence > first.asked["b"].sequence
    assert second.asked["b"].sequence < 1 << 45  # milliseconds of this century
    assert second.asked["a"].sequence == MAX_SEQUENCE  # it is refused by the one that claimed it, and by nobody else


def test_the_same_bytes_for_most_travel_once_and_others_apart() -> None:
    outgoing = Outgoing("c", tuple("abcdef"))
    posts = outgoing.address({"a": b"x", "b": b"x", "c": b"x", "d": b"y", "e": b"y"}, {})
    assert sorted((post.subject.split(".")[1], *sorted(post.asked)) for post in posts) == [
        ("bc", "a", "b", "c"),
        ("down", "d"),
        ("down", "e"),
    ]
