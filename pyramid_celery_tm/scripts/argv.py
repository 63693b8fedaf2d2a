"""The command line of ``ws-celery``, put into the order that Celery understands.

Celery 5 takes ``-A`` and its kin only before the subcommand, the rest only behind it, and knows nothing of INI files
until it has loaded an app that tells it. The source documents (and habit) write ``worker -A app --ini F``. This module
sorts the words by Celery's own tables of options, so that nothing of them is copied here. It is pure: words in, words
out; nothing is loaded, opened or printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import click

from ..exceptions import BadArgument

#: What ``-A`` is where nobody says it.
DEFAULT_APP = "pyramid_celery_tm.celery_app"

#: The options that Celery never sees.
OWN_OPTIONS = (click.Option(["--ini", "-i"]), click.Option(["--ini-var"]))

# Every command has it, and click keeps it in no table.
HELP = click.Option(["--help"], is_flag=True)


@dataclass(frozen=True)
class CommandLine:
    """A command line of ``ws-celery``, taken apart.

    :param command: the subcommand, or ``None`` where there is none, or none that is known.
    :param before: the words before the subcommand, for Celery; ``-A`` is always among them.
    :param after: the subcommand and the words behind it, for Celery.
    :param ini: path or URI of the INI file.
    :param variables: the variables for the INI file, ``name=value,name=value``; all that were given, in order.
    :param workdir: the directory to change to before anything is read.
    :param given: the options that were given, by name (``loglevel``), with their last value; a flag's is empty.
    """

    command: str | None
    before: Sequence[str]
    after: Sequence[str]
    ini: str | None
    variables: str | None
    workdir: str | None
    given: Mapping[str, str]


def normalise(argv: Sequence[str], group: click.Group) -> CommandLine:
    """Sort the words of a command line.

    The group's options (``-A X``, ``-AX``, ``--app X``, ``--app=X``, ``-q``, ...) go before the subcommand and all
    others behind it, wherever they stood; ``--ini``, ``-i``, ``--ini-var`` and ``--workdir`` are taken out. An option
    that the subcommand has itself is the subcommand's. What stands behind ``--`` stays as it is. Websauna's later form
    ``ws-celery F.ini -- worker`` is understood.

    :param argv: the words behind the name of the program.
    :param group: Celery's click group with all its subcommands.
    :raises BadArgument: an INI option lacks its value.
    """
    argv = _with_ini_as_option(argv, group)
    place = _place_of_command(argv, group)
    command = None if place is None else argv[place]
    options = _Options(group, command)
    words = _Sorted()
    for word in _parse(argv[:place], options.in_front):
        words.take(word)
    if place is not None:
        words.after.insert(0, argv[place])
        for word in _parse(argv[place + 1 :], options.behind):
            words.take(word)
    if "app" not in words.given:
        words.before[:0] = ["-A", DEFAULT_APP]
    return CommandLine(
        command=command,
        before=words.before,
        after=words.after,
        ini=words.given.get("ini"),
        variables=words.given.get("ini_var"),
        workdir=words.given.get("workdir"),
        given=words.given,
    )


@dataclass(frozen=True)
class _Known:
    """An option, and who has it: ``own``, ``group`` or ``command``."""

    option: click.Option
    owner: str

    @property
    def name(self) -> str:
        return self.option.name or ""

    @property
    def takes_value(self) -> bool:
        return not (self.option.is_flag or self.option.count)


@dataclass(frozen=True)
class _Word:
    """An option with its value, or anything else that may stand on a command line."""

    words: Sequence[str]
    known: _Known | None = None
    value: str | None = None

    @property
    def is_whole_option(self) -> bool:
        return self.known is not None and (self.value is not None or not self.known.takes_value)


@dataclass
class _Sorted:
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)

    def take(self, word: _Word) -> None:
        known = word.known
        if known is None:
            self.after.extend(word.words)
        elif known.owner == "own":
            self._take_own(known.name, word)
        else:
            self.given[known.name] = word.value or ""
            if known.owner == "command":
                self.after.extend(word.words)
            elif known.name != "workdir":
                self.before.extend(word.words)

    def _take_own(self, name: str, word: _Word) -> None:
        if not word.value:
            raise BadArgument(f"{word.words[0]}: its value is missing, for example {_EXAMPLES[name]}")
        earlier = self.given.get(name)
        several = name == "ini_var" and earlier is not None
        self.given[name] = f"{earlier},{word.value}" if several else word.value


_EXAMPLES = {"ini": "--ini production.ini", "ini_var": "--ini-var port=8080,host=localhost"}


class _Options:
    """What each spelling means in front of the subcommand, and behind it."""

    def __init__(self, group: click.Group, command: str | None) -> None:
        own = _table(OWN_OPTIONS, "own")
        groups = _table([*_options_of(group), HELP], "group")
        of_command = [] if command is None else [*_options_of_all(group.commands[command]), HELP]
        commands = _table(of_command, "command")
        self.in_front = commands | groups | own
        self.behind = own | groups | commands


def _table(options: Iterable[click.Option], owner: str) -> dict[str, _Known]:
    return {
        spelling: _Known(option, owner) for option in options for spelling in (*option.opts, *option.secondary_opts)
    }


def _options_of(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def _options_of_all(command: click.Command) -> list[click.Option]:
    children = command.commands.values() if isinstance(command, click.Group) else ()
    return _options_of(command) + [option for child in children for option in _options_of_all(child)]


def _with_ini_as_option(argv: Sequence[str], group: click.Group) -> Sequence[str]:
    if len(argv) > 1 and argv[1] == "--" and argv[0][:1] != "-" and argv[0] not in group.commands:
        return ["--ini", argv[0], *argv[2:]]
    return argv


def _place_of_command(argv: Sequence[str], group: click.Group) -> int | None:
    # The first word that is the name of a subcommand and has nothing but options in front of it: ``-n worker beat``
    # starts beat if -n takes a value.
    for place, word in enumerate(argv):
        if word in group.commands:
            options = _Options(group, word).in_front
            if all(front.is_whole_option for front in _parse(argv[:place], options)):
                return place
    return None


def _parse(argv: Sequence[str], options: Mapping[str, _Known]) -> Iterator[_Word]:
    words = iter(argv)
    for word in words:
        if word == "--":
            yield _Word([word, *words])
        elif word.startswith("--"):
            yield _long(word, words, options)
        elif word.startswith("-") and word != "-":
            yield from _short(word, words, options)
        else:
            yield _Word([word])


def _long(word: str, following: Iterator[str], options: Mapping[str, _Known]) -> _Word:
    name, equals, value = word.partition("=")
    known = options.get(name)
    if known is None or equals or not known.takes_value:
        return _Word([word], known, value)
    return _with_next(word, following, known)


def _short(word: str, following: Iterator[str], options: Mapping[str, _Known]) -> Iterator[_Word]:
    # Several flags may share a dash, and the value may follow without a space: -Ec4.
    letters = word[1:]
    while letters:
        name, letters = f"-{letters[0]}", letters[1:]
        known = options.get(name)
        if known is None or (known.takes_value and letters):
            yield _Word([name + letters], known, letters)
            return
        yield _with_next(name, following, known) if known.takes_value else _Word([name], known)


def _with_next(word: str, following: Iterator[str], known: _Known) -> _Word:
    value = next(following, None)
    return _Word([word] if value is None else [word, value], known, value)
