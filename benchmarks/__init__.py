"""What the ledger costs, as ratios against its peers that run in the same minute: ``make bench``.

A single number says more of the machine than of the library, and of what else it does. So the peers of a measure take
turns, round by round, and what is compared is the same round. Each module here that has a ``run`` is one measure:

==============  ============================================================================================
``deferring``   calls in a transaction: with the ledger, without it, and plain Celery's ``delay`` after it
``claiming``    a task run by the worker's own code: with the ledger, without it, and a hand-written session
``relaying``    sending a backlog
``polling``     what a look for work costs where there is none, and many rows are finished
``latency``     from the commit to the start in a real worker
``writing``     bytes of write-ahead log and of disk, per task
``purging``     deleting what is old
==============  ============================================================================================
"""
