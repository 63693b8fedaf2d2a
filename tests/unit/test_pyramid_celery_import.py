import configparser
import importlib
import subprocess
import sys

import pyramid_celery
import pytest
from celery.signals import user_preload_options

from pyramid_celery_tm import pyramid_celery_import

ADDED = not hasattr(configparser, "SafeConfigParser")


def test_the_app_is_pyramid_celerys():
    assert pyramid_celery_import.celery_app is pyramid_celery.celery_app


def test_the_name_that_it_needs_is_taken_away_again():
    assert hasattr(configparser, "SafeConfigParser") is not ADDED


def test_on_a_python_without_the_name_it_can_be_imported_all_the_same(monkeypatch):
    monkeypatch.delattr(configparser, "SafeConfigParser", raising=False)
    for name in ("pyramid_celery", "pyramid_celery.loaders"):
        monkeypatch.delitem(sys.modules, name)
    try:
        assert pyramid_celery_import._import_celery_app() is not pyramid_celery.celery_app
        assert not hasattr(configparser, "SafeConfigParser")
    finally:
        other = sys.modules["pyramid_celery"]
        user_preload_options.disconnect(other.on_preload_parsed)
        monkeypatch.undo()
        importlib.invalidate_caches()


def test_pyramid_celerys_handler_of_the_option_ini_is_gone():
    live = [receiver() for _, receiver in user_preload_options.receivers]
    assert pyramid_celery.on_preload_parsed not in live


@pytest.mark.parametrize("module", ["celery", "kombu", "sqlalchemy"])
def test_importing_the_package_loads_nothing_that_gevent_has_to_come_before(module):
    code = f"import sys, pyramid_celery_tm; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_the_package_names_what_it_has():
    import pyramid_celery_tm

    assert set(pyramid_celery_tm.__all__) <= set(dir(pyramid_celery_tm))
    assert all(getattr(pyramid_celery_tm, name) is not None for name in pyramid_celery_tm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pyramid_celery_tm.nothing
