"""One real `xaiteach lab` and one Chromium for all browser tests.

Playwright's blocking interface keeps an event loop running in its thread, in which no other test could start a kernel.
So it lives in a thread of its own, and tests hand it functions.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers_lab import PATIENCE, chromium

LOOPBACK = {"127.0.0.1", "localhost", ""}

# Messages of JupyterLab itself that accuse nothing of ours.
HARMLESS = (
    "Could not restore the debugger state",  # a kernel restart while Lab asks for breakpoints
)


class Course:
    """A course folder of a student, served by the installed `xaiteach lab`."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder, self.url = folder / "xaiteach-course", f"http://127.0.0.1:{port}"
        own = {name: str(folder / name.lower()) for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
        for place in own.values():
            Path(place).mkdir()
        self.log = folder / "lab.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_", "PYTEST"))} | own
        script = shutil.which("xaiteach", path=str(Path(sys.executable).parent))
        options = ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [script or "xaiteach", "lab", "--no-browser", "--port", str(port), "--", *options],
                cwd=folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{self.url}/api/status", timeout=5).close()
                return
            time.sleep(0.2)
        raise RuntimeError(f"the lab does not answer:\n{self.log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """End the server, which ends its kernels."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Browser:
    """Chromium in a thread of its own, and what its pages complained of."""

    def __init__(self, executable: str) -> None:
        self.thread = concurrent.futures.ThreadPoolExecutor(1)
        self.complaints: list[str] = []
        self.do(self._start, executable)

    def do(self, function, *arguments):
        """Result of `function(*arguments)`, run in the browser's thread."""
        return self.thread.submit(function, *arguments).result()

    def _start(self, executable: str) -> None:
        from playwright.sync_api import sync_playwright

        options = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.append("--no-sandbox")
        self.playwright = sync_playwright().start()
        self.chromium = self.playwright.chromium.launch(executable_path=executable, args=options)

    def page(self):
        """New page that reports every console error, failed request and request that leaves the machine."""
        page = self.chromium.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)
        return page

    def _console(self, message) -> None:
        if message.type == "error" and not any(words in message.text for words in HARMLESS):
            self.complaints.append(f"console: {message.text[:500]}")

    def _request(self, request) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob") and urlsplit(request.url).hostname not in LOOPBACK:
            self.complaints.append(f"a request left the machine: {request.url}")

    def _failed(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page itself gave it up, as on a reload
            self.complaints.append(f"request failed ({request.failure}): {request.url}")

    def stop(self) -> None:
        """End Chromium."""
        self.do(lambda: (self.chromium.close(), self.playwright.stop()))
        self.thread.shutdown()


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Iterator[Course]:
    served = Course(tmp_path_factory.mktemp("student"))
    try:
        served.wait()
        yield served
    finally:
        served.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    driven = Browser(chromium())
    yield driven
    driven.stop()


@pytest.fixture
def shots(tmp_path) -> Path:
    """Folder for pictures that a person looks at: XAITEACH_SHOTS, else a temporary one."""
    folder = Path(os.environ.get("XAITEACH_SHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def quiet(browser) -> Iterator[None]:
    """Fail on whatever a page complained of during the test."""
    browser.complaints.clear()
    yield
    assert browser.complaints == []
