"""Every error this package raises.

::

    TaskSystemError
    +-- SettingsError      (a ConfigurationError)  faults in an INI file, all of them at once
    +-- SiteUrlMissing     (a RuntimeError)        a task wants a URL and no setting says of which site
    +-- SettingMissing     (a RuntimeError)        a setting that this call needs is not there
    +-- NotSerializable    (a kombu EncodeError)   an argument cannot travel in a message
    +-- ResultNotAvailable (a RuntimeError)        the result of a call that has not been sent
    +-- ForeignTransaction (a RuntimeError)        a task wrote into a transaction that is not its own
    +-- TransactionEnded   (a RuntimeError)        a task committed or replaced the transaction that it is claimed in
    +-- TooManyStarts      (a RuntimeError)        a call was started again and again, and never finished
    +-- NotConfigured      (a RuntimeError)        a task runs, or a command starts, without an application
    +-- BackupFailed       (a RuntimeError)        the backup script is missing, failed, or took too long
    +-- BadArgument        (a ValueError)          an argument of a command is not what it has to be
"""

from __future__ import annotations

from collections.abc import Iterable

from kombu.exceptions import EncodeError
from pyramid.exceptions import ConfigurationError


class TaskSystemError(Exception):
    """The root: catch this to catch whatever this package raises on purpose."""


class SettingsError(TaskSystemError, ConfigurationError):
    """Faults in a configuration file.

    :param file: the file (or URI) that was read.
    :param faults: one object per fault; ``str()`` of it is a line that names section, option, value and
        what is allowed.
    """

    def __init__(self, file: str, faults: Iterable[object]) -> None:
        self.file = file
        self.faults = list(faults)
        super().__init__("\n".join(f"{file}: {fault}" for fault in self.faults))


class SiteUrlMissing(TaskSystemError, RuntimeError):
    """A URL was asked of a task's request, and the setting ``site_url`` does not say of which site."""


class SettingMissing(TaskSystemError, RuntimeError):
    """A setting that the call needs is not there; the message names it and shows a value."""


class NotSerializable(TaskSystemError, EncodeError):
    """An argument of a task cannot be put into a message; raised where the task is called."""


class ResultNotAvailable(TaskSystemError, RuntimeError):
    """The result was asked of a call that has not been sent: its transaction is open, or did not commit."""


class ForeignTransaction(TaskSystemError, RuntimeError):
    """A task wrote into the thread's ``transaction.manager``, which nobody commits; its own is ``request.tm``."""


class TransactionEnded(TaskSystemError, RuntimeError):
    """A task committed its transaction, or began another one: what it does after that could happen twice."""


class TooManyStarts(TaskSystemError, RuntimeError):
    """A call was started as often as ``tasks.max_starts`` allows, and never finished."""


class NotConfigured(TaskSystemError, RuntimeError):
    """No Pyramid application was configured for this Celery app."""


class BackupFailed(TaskSystemError, RuntimeError):
    """The backup script is missing, is not executable, failed, or took too long."""


class BadArgument(TaskSystemError, ValueError):
    """An argument of a command is not what it has to be; the message names it and shows one that is."""
