"""The transaction of a task, in which its call is claimed and its outcome written."""

from __future__ import annotations

from typing import Any

from .deferral import open_transaction
from .delivery import Delivery
from .exceptions import TransactionEnded


class Work:
    """Holds claim, effect and outcome together.

    The task may not end it: what is done after a commit in its body would be done again by the next copy. Its abort is
    harmless, there is nothing left to save; but what follows must not be saved in another transaction.

    :ivar is_claimed: whether the call has been claimed.
    :ivar is_saved: whether the outcome is saved with the transaction.
    """

    def __init__(self, delivery: Delivery, request: Any) -> None:
        self.delivery = delivery
        self.request = request
        self.is_claimed = self.is_saved = self._is_over = False
        request.tm.registerSynch(self)  # which keeps a weak reference to it

    def claim(self) -> None:
        """Claim the call.

        :raises Twin: it may not run.
        """
        self._session = self.delivery.take(self.request)
        self._transaction = self.request.tm.get()
        self.is_claimed = True

    def answer(self, value: Any) -> None:
        """Write what the task returned.

        :raises pyramid_celery_tm.exceptions.TransactionEnded: the transaction of the claim is not the one that is open.
        """
        now = open_transaction(self.request.tm)
        if now is None or (now is self._transaction and now.isDoomed()):
            return  # the task aborts its work and is done
        if now is not self._transaction:
            self._refuse()
        self._is_over = self.is_saved = True
        if self.delivery.runs_again:
            self.delivery.leave_open(self._session)
        else:
            self.delivery.answer(self._session, value)

    def newTransaction(self, transaction: Any) -> None:  # noqa: N802 - ISynchronizer
        """Called for each transaction that begins: it may be committed once the task has returned, and not before."""
        transaction.addBeforeCommitHook(self._refuse)

    def beforeCompletion(self, transaction: Any) -> None:  # noqa: N802 - ISynchronizer
        """Not used."""

    def afterCompletion(self, transaction: Any) -> None:  # noqa: N802 - ISynchronizer
        """Not used."""

    def _refuse(self) -> None:
        if not self._is_over:
            raise TransactionEnded(
                f"task {self.delivery.claim.name} ended its transaction by itself. A TransactionalTask has one, which"
                " commits when the function returns; for several use RequestAwareTask"
            )
