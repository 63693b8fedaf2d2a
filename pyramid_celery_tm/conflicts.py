"""Tells a conflict, after which the same work may succeed, from a failure."""

from __future__ import annotations

from transaction.interfaces import ITransaction, TransientError

try:
    from pyramid_retry import IRetryableError
except ImportError:  # an application without pyramid_retry: nobody can have marked an error with it
    IRetryableError = None


def is_conflict(transaction: ITransaction | None, error: BaseException) -> bool:
    """Whether to run the work again.

    As pyramid_tm and pyramid_retry decide for a web request: the transaction and its data managers know the database's
    serialization failures and deadlocks, and pyramid_retry has a marker for any other error.

    :param transaction: the transaction of the attempt, before it is aborted; ``None`` where it is over already.
    :param error: what the attempt raised.
    """
    if not isinstance(error, Exception):
        return False
    if isinstance(error, TransientError):
        return True
    if IRetryableError is not None and IRetryableError.providedBy(error):
        return True
    return transaction is not None and bool(transaction.isRetryableError(error))
