"""When the entries of a schedule are due. The tables of the changes of clocks are those of cronsim's own tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import BaseSchedule, crontab, schedule
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyramid_celery_tm.ticks import GRACE, Plan, Timetable, plan

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RIGA, BERLIN, NEW_YORK, LORD_HOWE, HAVANA = (
    "Europe/Riga",  # 2021: 03:00 is 04:00 on March 28, 04:00 is 03:00 on October 31
    "Europe/Berlin",  # 2026: 02:00 is 03:00 on March 29, 03:00 is 02:00 on October 25
    "America/New_York",  # 2026: 02:00 is 03:00 on March 8, 02:00 is 01:00 on November 1
    "Australia/Lord_Howe",  # 2026: 02:00 is 01:30 on April 5, 02:00 is 02:30 on October 4
    "America/Havana",  # 2026: 00:00 is 01:00 on March 8, 01:00 is 00:00 on November 1
)


def cron(line):
    """A crontab of Celery's; lists of numbers stand for themselves."""
    minute, hour, day_of_month, month_of_year, day_of_week = line.split()
    return crontab(minute, hour, day_of_week, day_of_month, month_of_year)


def local(text, zone):
    """A time on the wall; with an offset where that is not enough."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))


def ticks(entry, start, count, zone="UTC"):
    """The ticks after a moment, in the time of the zone."""
    table = Timetable(entry, ZoneInfo(zone))
    found = islice(table.walk(table.after(local(start, zone))), count)
    return [tick.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes") for tick in found]


@pytest.mark.parametrize(
    ("line", "start", "expected"),
    [
        ("0 * * * *", "2021-03-28T01:30", "28T02:00+02:00 28T04:00+03:00"),
        ("0 * * * *", "2021-10-31T01:30", "31T02:00+03:00 31T03:00+03:00 31T03:00+02:00 31T04:00+02:00"),
        ("*/30 * * * *", "2021-03-28T02:10", "28T02:30+02:00 28T04:00+03:00 28T04:30+03:00"),
        (
            "*/30 * * * *",
            "2021-10-31T02:50",
            "31T03:00+03:00 31T03:30+03:00 31T03:00+02:00 31T03:30+02:00 31T04:00+02:00",
        ),
        ("0 */2 * * *", "2021-03-28T01:30", "28T02:00+02:00 28T04:00+03:00 28T06:00+03:00"),
        ("0 */2 * * *", "2021-10-31T01:30", "31T02:00+03:00 31T04:00+02:00 31T06:00+02:00"),
        ("30 */2 * * *", "2021-03-28T01:30", "28T02:30+02:00 28T04:30+03:00"),
        ("0 */3 * * *", "2021-10-31T01:30", "31T03:00+03:00 31T03:00+02:00 31T06:00+02:00"),
        ("0 1,2,3,4,5 * * *", "2021-03-28T01:30", "28T02:00+02:00 28T04:00+03:00 28T05:00+03:00"),
        ("0 1,2,3,4,5 * * *", "2021-10-31T01:30", "31T02:00+03:00 31T03:00+03:00 31T04:00+02:00"),
        ("30 1,2,3,4,5 * * *", "2021-03-28T01:30", "28T02:30+02:00 28T04:00+03:00 28T04:30+03:00"),
        ("30 1,2,3,4,5 * * *", "2021-10-31T01:30", "31T02:30+03:00 31T03:30+03:00 31T04:30+02:00"),
        ("0 3 * * *", "2021-03-27T01:30", "27T03:00+02:00 28T04:00+03:00 29T03:00+03:00"),
        ("0 3 * * *", "2021-10-30T02:30", "30T03:00+03:00 31T03:00+03:00"),
        ("0 4 * * *", "2021-03-27T01:30", "27T04:00+02:00 28T04:00+03:00 29T04:00+03:00"),
        ("0 4 * * *", "2021-10-30T01:30", "30T04:00+03:00 31T04:00+02:00"),
        ("0 0-23 * * *", "2021-10-31T01:30", "31T02:00+03:00 31T03:00+03:00 31T04:00+02:00"),
        ("15 3 * * *", "2021-03-27T00:00", "27T03:15+02:00 28T04:00+03:00 29T03:15+03:00"),
        ("15 3 * * *", "2021-10-30T00:00", "30T03:15+03:00 31T03:15+03:00"),
        ("* * * * *", "2021-03-28T02:58", "28T02:59+02:00 28T04:00+03:00"),
        ("* * * * *", "2021-10-31T03:58", "31T03:59+03:00 31T03:00+02:00 31T03:01+02:00"),
        ("* 1-6 * * *", "2021-03-28T02:58", "28T02:59+02:00 28T04:00+03:00"),
        ("* 1-6 * * *", "2021-10-31T03:58", "31T03:59+03:00 31T03:00+02:00 31T03:01+02:00"),
    ],
)
def test_the_changes_of_clocks_are_those_of_debians_cron(line, start, expected):
    assert [tick[8:] for tick in ticks(cron(line), start, len(expected.split()), RIGA)] == expected.split()


@pytest.mark.parametrize(
    ("zone", "line", "start", "expected"),
    [
        (BERLIN, "30 2 * * *", "2026-03-28T12:00", "29T03:00+02:00 30T02:30+02:00"),
        (BERLIN, "30 2 * * *", "2026-10-24T12:00", "25T02:30+02:00 26T02:30+01:00"),
        # beat was started in the second of two hours: the first is over
        (BERLIN, "30 2 * * *", "2026-10-25T02:10+01:00", "26T02:30+01:00 27T02:30+01:00"),
        (BERLIN, "30 * * * *", "2026-10-25T02:10+02:00", "25T02:30+02:00 25T02:30+01:00 25T03:30+01:00"),
        (NEW_YORK, "15 2 * * *", "2026-03-07T12:00", "08T03:00-04:00 09T02:15-04:00"),
        (NEW_YORK, "15 1 * * *", "2026-10-31T12:00", "01T01:15-04:00 02T01:15-05:00"),
        (NEW_YORK, "15 */1 * * *", "2026-11-01T00:30", "01T01:15-04:00 01T01:15-05:00 01T02:15-05:00"),
        (LORD_HOWE, "15 2 * * *", "2026-10-03T12:00", "04T02:30+11:00 05T02:15+11:00"),
        (LORD_HOWE, "45 1 * * *", "2026-04-04T12:00", "05T01:45+11:00 06T01:45+10:30"),
        # half an hour twice, and then all of the next hour, of which cronsim alone loses half
        (LORD_HOWE, "45 * * * *", "2026-04-05T01:30+11:00", "05T01:45+11:00 05T01:45+10:30 05T02:45+10:30"),
        (LORD_HOWE, "*/20 2 * * *", "2026-04-05T00:30", "05T02:00+10:30 05T02:20+10:30 05T02:40+10:30"),
        (HAVANA, "30 0 * * *", "2026-03-07T12:00", "08T01:00-04:00 09T00:30-04:00"),
        (HAVANA, "*/30 0,1 * * *", "2026-03-07T12:00", "08T01:00-04:00 08T01:30-04:00 09T00:00-04:00"),
    ],
)
def test_the_clocks_of_other_places_change_at_other_times(zone, line, start, expected):
    assert [tick[8:] for tick in ticks(cron(line), start, len(expected.split()), zone)] == expected.split()


@pytest.mark.parametrize(
    ("line", "start", "expected"),
    [
        ("0 0 29 2 *", "2026-01-01", "2028-02-29 2032-02-29"),
        ("0 0 29 2 *", "2096-03-01", "2104-02-29 2108-02-29"),  # 2100 is no leap year
        ("0 0 31 * *", "2026-01-31T01:00", "2026-03-31 2026-05-31 2026-07-31"),
        ("0 0 28-31 2 *", "2026-01-01", "2026-02-28 2027-02-28 2028-02-28 2028-02-29"),
        ("0 0 1 */3 *", "2026-01-02", "2026-04-01 2026-07-01 2026-10-01 2027-01-01"),
        ("0 0 * * sun", "2026-06-01", "2026-06-07 2026-06-14"),
        ("0 0 * * 1-5", "2026-06-05", "2026-06-08 2026-06-09"),
        # both, and not either: Celery's rule, not cron's
        ("0 0 13 * fri", "2026-01-01", "2026-02-13 2026-03-13 2026-11-13"),
        ("0 0 1-7,15-21 * mon", "2026-06-02", "2026-06-15 2026-07-06 2026-07-20"),
        ("0 0 29 2 mon", "2026-01-01", "2044-02-29 2072-02-29"),
        ("0 0 */10 * */3", "2026-06-01", "2026-06-21 2026-07-01 2026-07-11"),
        ("0 22-1 * * *", "2026-06-01T21:00", "2026-06-01T22:00 2026-06-01T23:00 2026-06-02"),
        ("59 23 31 12 *", "2026-12-31T23:59", "2027-12-31T23:59"),
    ],
)
def test_a_crontab_is_due_on_the_days_that_celery_means(line, start, expected):
    found = ticks(cron(line), f"{start}+00:00" if "T" in start else f"{start}T00:00+00:00", len(expected.split()))
    assert [tick.removesuffix("+00:00").removesuffix("T00:00") for tick in found] == expected.split()


PATTERNS = st.one_of(
    st.sampled_from(["*", "*/2", "*/7", "*/20"]), st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True)
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        [(BERLIN, "2026-10-25"), (NEW_YORK, "2026-03-08"), (LORD_HOWE, "2026-04-05"), ("UTC", "2026-02-28")]
    ),
    st.builds(crontab, PATTERNS, PATTERNS, day_of_week=st.sampled_from(["*", [0, 6]])),
    st.integers(0, 300),
)
def test_a_crontab_with_a_star_is_due_in_every_minute_that_fits(place, entry, minutes):
    """The sum over all minutes of half a day around a change of clocks, each looked at by itself."""
    assume(any(isinstance(pattern, str) for pattern in (entry._orig_minute, entry._orig_hour)))
    zone = ZoneInfo(place[0])
    start = local(place[1], place[0]).astimezone(UTC) + minutes * MINUTE
    passing = [start + n * MINUTE for n in range(1, 12 * 60)]
    fitting = [moment for moment in passing if fits(entry, moment.astimezone(zone))]
    table = Timetable(entry, zone)
    found = table.walk(table.after(start))
    assert list(islice(found, len(fitting))) == fitting
    assert next(found) > passing[-1]


def fits(entry, moment):
    weekday = moment.isoweekday() % 7
    return moment.minute in entry.minute and moment.hour in entry.hour and weekday in entry.day_of_week


def test_an_interval_counts_from_the_tick_before_and_does_not_drift():
    table = Timetable(schedule(timedelta(seconds=0.1)), UTC)
    assert list(islice(table.walk(NOON), 4))[-1] == NOON + timedelta(milliseconds=300)
    assert Timetable(schedule(DAY), ZoneInfo(BERLIN)).after(local("2026-03-28T12:00", BERLIN)).hour == 11  # 24 hours


def test_an_interval_of_nothing_is_a_second():
    assert Timetable(schedule(0), UTC).after(NOON) == NOON + timedelta(seconds=1)


def test_a_relative_interval_is_due_by_the_clock():
    app = Celery("relative", set_as_current=False)
    table = Timetable(schedule(HOUR, relative=True, app=app), UTC)
    assert table.after(NOON + 20 * MINUTE) == NOON + HOUR
    assert table.after(NOON + HOUR) == NOON + 2 * HOUR


class EverySunrise(BaseSchedule):
    """As ``solar``: it answers how long it is from now, and finds the same event again if it is asked at its time."""

    def remaining_estimate(self, last_run_at):
        day = last_run_at.replace(hour=4, minute=43, second=12, microsecond=7)
        event = day if last_run_at < day else day + DAY
        return event - self.now()


class NeverOver(BaseSchedule):
    def remaining_estimate(self, last_run_at):
        return timedelta(0)


def test_any_other_schedule_is_asked_itself():
    table = Timetable(EverySunrise(), UTC)
    first = table.after(NOON)
    assert first == datetime(2026, 6, 2, 4, 43, 12, 7, tzinfo=UTC)
    assert table.after(first - timedelta(microseconds=7)) == first + DAY  # it is the same event
    assert list(islice(table.walk(first), 3)) == [first, first + DAY, first + 2 * DAY]


def test_a_schedule_that_is_always_due_is_due_once_a_second():
    assert Timetable(NeverOver(), UTC).after(NOON) == NOON + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("entry", "zone", "text"),
    [
        (schedule(30), "UTC", "every 30.0 s"),
        (schedule(30), BERLIN, "every 30.0 s"),
        (schedule(90, relative=True), BERLIN, "every 90.0 s by the clock Europe/Berlin"),
        (cron("0 3 * * *"), BERLIN, "<crontab: 0 3 * * * (m/h/dM/MY/d)> Europe/Berlin"),
        (cron("0 3 * * *"), "UTC", "<crontab: 0 3 * * * (m/h/dM/MY/d)> UTC"),
        (NeverOver(), "UTC", "<NeverOver object> UTC"),
    ],
)
def test_a_timetable_is_told_from_others_in_every_process(entry, zone, text):
    assert Timetable(entry, ZoneInfo(zone)).describe().replace(f"{__name__}.", "") == text


@pytest.mark.parametrize(
    "entry", [schedule(MINUTE), cron("* * * * *"), EverySunrise()], ids=["interval", "cron", "other"]
)
@pytest.mark.parametrize("pause", [MINUTE, 3 * HOUR, 3 * DAY, 60 * DAY], ids=str)
def test_the_last_tick_before_a_moment_is_the_one_that_walking_leads_to(entry, pause):
    table = Timetable(entry, UTC)
    first = table.after(NOON)
    until = first + pause
    last = table.latest(first, until)
    assert first <= last <= until < table.after(last)


def test_the_last_tick_of_a_rare_entry_may_be_years_ago():
    table = Timetable(cron("0 0 29 2 *"), UTC)
    first = datetime(2024, 2, 29, tzinfo=UTC)
    assert table.latest(first, datetime(2026, 6, 1, tzinfo=UTC)) == first
    assert table.latest(first, datetime(2035, 6, 1, tzinfo=UTC)) == datetime(2032, 2, 29, tzinfo=UTC)


def run(policy, late, entry=None, batch=100):
    """What is run of an entry whose tick was due at noon: minutes since then, and when the next one is."""
    made = plan(Timetable(entry or schedule(5 * MINUTE), UTC), NOON, NOON + late, policy, batch)
    return [(due - NOON) / MINUTE for due in made.due], (made.following - NOON) / MINUTE


@pytest.mark.parametrize("policy", ["skip", "once", "all"])
@pytest.mark.parametrize("late", [timedelta(0), GRACE - timedelta(seconds=1)], ids=str)
def test_a_tick_within_the_grace_runs_whatever_the_policy(policy, late):
    assert run(policy, late) == ([0], 5)


@pytest.mark.parametrize(
    ("policy", "late", "expected"),
    [
        ("skip", 2 * MINUTE, ([], 5)),
        ("skip", 17 * MINUTE, ([], 20)),
        ("skip", 15.5 * MINUTE, ([15], 20)),  # the last is on time
        ("once", 2 * MINUTE, ([0], 5)),
        ("once", 17 * MINUTE, ([15], 20)),
        ("once", 15.5 * MINUTE, ([15], 20)),  # the one on time does for the others
        ("all", 2 * MINUTE, ([0], 5)),
        ("all", 17 * MINUTE, ([0, 5, 10, 15], 20)),
    ],
)
def test_ticks_that_were_missed_are_skipped_or_run_once_or_all(policy, late, expected):
    assert run(policy, late) == expected
    assert run(policy, late, cron("*/5 * * * *")) == expected


def test_many_ticks_run_in_batches():
    assert run("all", HOUR, batch=3) == ([0, 5, 10], 15)


def test_ticks_of_seconds_within_the_grace_all_run():
    due, following = run("skip", timedelta(seconds=10), schedule(1))
    assert (len(due), following) == (11, pytest.approx(11 / 60))


def test_a_plan_says_what_runs_and_what_comes_next():
    assert plan(Timetable(schedule(HOUR), UTC), NOON, NOON, "once") == Plan([NOON], NOON + HOUR)
