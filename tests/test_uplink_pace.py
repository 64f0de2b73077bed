"""How much may be under way: the line decides."""

from __future__ import annotations

from edge_agent.uplink.pace import LEAST, Pace


def drive(pace: Pace, per_s: float, credit: int, messages: int = 60) -> list[int]:
    """Send as much as the pace allows over a line that carries `per_s` events; returns what was under way each time."""
    now, sent, through, seen = 0.0, 0, 0, []
    for _ in range(messages):
        while (room := pace.room(credit, sent - through)) > 0:
            sent += min(room, 500)
            pace.sent(sent, now, full=room <= 500)
        seen.append(sent - through)
        step = min(500, sent - through)
        now += step / per_s
        through += step
        pace.acknowledged(through, now)
    return seen


def test_a_fast_line_is_filled_to_the_credit() -> None:
    assert drive(Pace(500), per_s=50_000, credit=5000)[-1] == 5000


def test_a_slow_line_has_no_more_under_way_than_it_carries_in_some_seconds() -> None:
    assert max(drive(Pace(500), per_s=20, credit=5000)[20:]) <= 120


def test_a_disk_that_takes_its_time_is_no_slow_line() -> None:
    pace = Pace(500)
    for number in range(1, 20):
        pace.sent(number, now=2.0 * number, full=True)
        pace.acknowledged(number, now=2.0 * number + 1.5)  # however little there is
    assert pace.room(5000, 0) == 5000


def test_a_silence_under_load_makes_it_careful_and_never_stops_it() -> None:
    pace = Pace(500)
    for _ in range(9):
        pace.sent(1, 0.0, full=True)
        pace.broken(silent=True)
    assert pace.room(5000, 0) == LEAST
    pace.broken(silent=True)
    assert pace.room(5000, 0) == LEAST
