"""The words of ws-celery's command line, sorted."""

import pytest
from celery.bin.celery import celery

from pyramid_celery_tm.exceptions import BadArgument
from pyramid_celery_tm.scripts.argv import DEFAULT_APP, normalise

APP = ["-A", DEFAULT_APP]


def sort(line):
    return normalise(line.split(), celery)


@pytest.mark.parametrize(
    ("line", "before", "after"),
    [
        ("worker", APP, ["worker"]),
        ("worker -A x", ["-A", "x"], ["worker"]),
        ("worker -Ax", ["-Ax"], ["worker"]),
        ("worker --app x", ["--app", "x"], ["worker"]),
        ("worker --app=x", ["--app=x"], ["worker"]),
        ("-A x worker", ["-A", "x"], ["worker"]),
        ("worker -b redis://x -q", [*APP, "-b", "redis://x", "-q"], ["worker"]),
        ("worker --broker=redis://x -C", [*APP, "--broker=redis://x", "-C"], ["worker"]),
        (
            "worker --result-backend x --loader y --config=z",
            [*APP, "--result-backend", "x", "--loader", "y", "--config=z"],
            ["worker"],
        ),
        ("worker -Ec4 -Q celery,heavy", APP, ["worker", "-E", "-c4", "-Q", "celery,heavy"]),
        ("worker -EqBA x", ["-q", "-A", "x"], ["worker", "-E", "-B"]),
        ("-l info worker -c 1", APP, ["worker", "-l", "info", "-c", "1"]),
        ("-n worker beat", APP, ["beat", "-n", "worker"]),
        ("call worker", APP, ["call", "worker"]),
        ("worker -- -A x --ini f", APP, ["worker", "--", "-A", "x", "--ini", "f"]),
        ("call add -a -A", APP, ["call", "add", "-a", "-A"]),
        ("list -A x bindings", ["-A", "x"], ["list", "bindings"]),
        ("inspect -t 5 -A x active -", ["-A", "x"], ["inspect", "-t", "5", "active", "-"]),
        ("multi start 2 -c:1 3 -A x", ["-A", "x"], ["multi", "start", "2", "-c:1", "3"]),
        ("worker --no-such -z", APP, ["worker", "--no-such", "-z"]),
        ("wrker -c 1", APP, ["wrker", "-c", "1"]),
        ("worker -A", ["-A"], ["worker"]),
        ("--version", [*APP, "--version"], []),
        ("", APP, []),
    ],
)
def test_global_options_go_before_the_subcommand_and_the_rest_behind_it(line, before, after):
    sorted_ = sort(line)
    assert (sorted_.before, sorted_.after) == (before, after)


@pytest.mark.parametrize(
    "line",
    [
        "worker --ini f.ini",
        "worker --ini=f.ini",
        "worker -i f.ini",
        "worker -if.ini",
        "worker -Bif.ini",
        "-i f.ini worker",
        "--ini f.ini worker",
        "worker --ini other.ini --ini f.ini",
        "f.ini -- worker",
    ],
)
def test_the_ini_file_is_taken_out_wherever_it_stands(line):
    sorted_ = sort(line)
    assert sorted_.ini == "f.ini"
    assert sorted_.command == "worker"
    assert not any("ini" in word for word in [*sorted_.before, *sorted_.after])


def test_dash_i_is_the_subcommands_where_it_has_one():
    import click

    group = click.Group("celery", params=[click.Option(["-A", "--app"])])
    group.add_command(click.Command("scan", params=[click.Option(["-i", "--interval"])]))
    assert normalise(["scan", "-i", "3", "--ini", "f"], group).after == ["scan", "-i", "3"]
    assert normalise(["scan", "-i", "3", "--ini", "f"], group).ini == "f"


def test_variables_of_several_options_are_joined_in_order():
    assert sort("worker --ini-var a=b=c,d=e --ini-var=f=g").variables == "a=b=c,d=e,f=g"


@pytest.mark.parametrize(
    "line", ["worker --ini", "worker -i", "worker --ini=", "worker --ini-var", "worker --ini-var="]
)
def test_an_ini_option_without_its_value_is_an_error_that_shows_one(line):
    with pytest.raises(BadArgument, match=r"its value is missing, for example --ini"):
        sort(line)


def test_the_working_directory_is_taken_out():
    sorted_ = sort("worker --workdir /srv/app")
    assert sorted_.workdir == "/srv/app"
    assert (sorted_.before, sorted_.after) == (APP, ["worker"])


def test_what_was_given_is_known_by_name():
    assert sort("beat -l debug --pidfile= --detach").given == {"loglevel": "debug", "pidfile": "", "detach": ""}
    assert "help" in sort("worker --help").given
    assert "help" in sort("list bindings --help").given


def test_a_word_that_is_no_subcommand_leaves_the_command_unknown():
    assert sort("wrker --ini f.ini").command is None
    assert sort("wrker --ini f.ini").ini == "f.ini"


def test_the_leading_file_needs_its_two_dashes():
    assert sort("f.ini worker").command is None
