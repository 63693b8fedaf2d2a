"""What a newcomer sees after ``make run``: the application in a real browser, with a real worker behind it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.services import free_port, wait_until

ROOT = Path(__file__).parents[2]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture
def chromium():
    """The machine's own Chromium; playwright would fetch one from elsewhere."""
    found = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nothing is skipped in CI: no chromium")
        pytest.skip("no chromium (Debian's package of that name) and no TEST_CHROMIUM")
    return found


@pytest.fixture
def site(tmp_path):
    """``ws-run development.ini`` on free ports, with a database of its own; the address of the application."""
    port, redis = free_port(), free_port()
    text = (ROOT / "development.ini").read_text().replace("6543", str(port)).replace("6379", str(redis))
    (tmp_path / "development.ini").write_text(text.replace("localhost:", "127.0.0.1:"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = {"cwd": tmp_path, "env": environment}
    command = [sys.executable, "-m", "myapp.scripts.initialize_db", "development.ini"]
    subprocess.run(command, check=True, timeout=60, **options)
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "pyramid_celery_tm.scripts.ws_run", "--no-reload", "development.ini"]
        running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **options)
    try:
        wait_until(lambda: answers(port), 20, "the application")
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(60)


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def page(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser.new_page()
        browser.close()


def open_delivery(page, site):
    """Open the first delivery that is not completed; its address."""
    page.goto(f"{site}/deliveries")
    links = page.get_by_role("link").evaluate_all("links => links.map(link => link.href)")
    for address in sorted({link for link in links if re.search(r"/deliveries/\d+$", link)}):
        page.goto(address)
        if page.get_by_role("button", name="Complete", exact=True).count():
            return address
    raise AssertionError("no open delivery")


def test_the_message_goes_out_because_and_only_because_the_request_committed(site, page):
    address = open_delivery(page, site)
    page.get_by_role("button", name="Complete, then fail").click()
    page.goto(address)
    expect(page.get_by_role("button", name="Complete", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="What its tasks did")).to_have_count(0)

    page.get_by_role("button", name="Complete", exact=True).click()
    expect(page.get_by_role("heading", name="What its tasks did")).to_be_visible()

    def sent():
        page.goto(address)
        return page.locator("q").count() and re.search(r"sent", page.locator("dl").nth(1).inner_text(), re.IGNORECASE)

    wait_until(sent, 30, "the message on the page", every=0.2)
    assert "/review/" in page.locator("q").first.inner_text()
