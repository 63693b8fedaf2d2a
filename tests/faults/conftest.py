"""A world on each of the two brokers."""

import pytest

from tests.faults.world import World


@pytest.fixture(params=["valkey", "rabbitmq"])
def broker(request):
    """A broker of the test's own: to close, freeze and wipe."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def make_world(tmp_path, broker, request):
    """Makes the world around a database."""
    made = []

    def make(database):
        url = broker.url() if broker.name == "valkey" else broker.url
        made.append(
            World(tmp_path, database, url, url if broker.name == "valkey" else request.getfixturevalue("redis_url"))
        )
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world, postgresql_url):
    """Everything around a database and a broker that work, for now."""
    return make_world(postgresql_url)
