"""The small application of the tests, and results that are collected while their server is there."""

from tests.unit.conftest import redis_client, results_are_collected

__all__ = ["redis_client", "results_are_collected"]
