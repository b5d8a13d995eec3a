"""What a run says, and when."""

from atrous.training.narrator import Narrator, duration


def test_durations_read_as_people_say_them():
    assert [duration(value) for value in (None, 4.4, 59.6, 200, 7500)] == [
        "?",
        "4 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_status_lines_keep_their_distance_without_a_terminal():
    now, said = [0.0], []
    narrator = Narrator(status=said.append, clock=lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        narrator.status(lambda: f"at {now[0]:g}")
    assert said == ["at 30", "at 60", "at 90"]


def test_a_log_that_starts_late_has_what_was_said_before():
    log = []
    narrator = Narrator()
    narrator.note("first")
    narrator.listen(log.append)
    narrator.note("second")
    assert log == ["first", "second"]
