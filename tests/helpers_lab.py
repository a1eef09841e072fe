"""A notebook in a real JupyterLab, driven as a student drives it: by keyboard, waiting on what can be seen."""

from __future__ import annotations

import os
import shutil

PATIENCE = 120_000  # milliseconds: a shared machine may be slow, and a wait on a condition ends as soon as it holds
MEASURED: list[str] = []
"""Lines for the summary of the test run."""

_NOTEBOOK = "window.jupyterapp.shell.currentWidget"
_CELLS = f"{_NOTEBOOK}.content.widgets"


def chromium():
    """Chromium to drive: the one of XAITEACH_CHROMIUM, else the first found on the path; None where there is none."""
    named = os.environ.get("XAITEACH_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browser_problem():
    """What keeps the browser tests from running, with the line that mends it; None where nothing does."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return 'playwright is not installed: pip install -e ".[test]"'
    return None if chromium() else "no Chromium was found: apt-get install chromium"


class LabNotebook:
    """One notebook of a course in one page; every method runs in the browser's thread."""

    def __init__(self, page, course, path: str) -> None:
        self.page, self.course, self.path = page, course, path

    def open(self) -> None:
        """Open the notebook alone, and wait until its kernel is idle (the toolbar says so too early)."""
        self.page.goto(f"{self.course.url}/lab/tree/{self.path}?reset", wait_until="domcontentloaded")
        self.wait_idle()

    def wait_idle(self) -> None:
        """Wait until the kernel is idle and nothing is queued."""
        self.page.wait_for_function(
            f"() => window.jupyterapp && {_NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle'"
            f" && {_CELLS}.length > 0 && {_CELLS}.every(cell => cell.prompt !== '*')"
        )

    def command(self, name: str, wait: bool = True) -> None:
        """Run a command of JupyterLab."""
        call = f"window.jupyterapp.commands.execute('{name}')"
        self.page.evaluate(f"async () => {{ await {call} }}" if wait else f"() => {{ {call} }}")

    def run_all(self) -> None:
        """Run all cells and wait for the end."""
        count = self.page.evaluate(f"() => {_CELLS}.filter(cell => cell.model.type === 'code').length")
        self.command("notebook:run-all-cells", wait=False)
        self.page.wait_for_function(
            f"n => {_CELLS}.filter(cell => cell.model.type === 'code' && cell.model.executionCount !== null).length"
            " === n",
            arg=count,
        )
        self.wait_idle()

    def index(self, role: str, question: str) -> int:
        """Place of the cell with this role for this question."""
        return self.page.evaluate(
            f"""([role, question]) => {_CELLS}.findIndex(cell => {{
                const mark = cell.model.getMetadata('xaiteach');
                return mark && mark.role === role && mark.question === question;
            }})""",
            [role, question],
        )

    def cell(self, index: int):
        """Cell at this place."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def count(self) -> int:
        """How many cells there are."""
        return self.page.evaluate(f"() => {_CELLS}.length")

    def source(self, index: int) -> str:
        """Source of a cell."""
        return self.page.evaluate(f"i => {_CELLS}[i].model.sharedModel.getSource()", index)

    def write(self, index: int, text: str) -> None:
        """Put a text in a cell's place by keyboard."""
        editor = self.cell(index).locator(".cm-content")
        editor.scroll_into_view_if_needed()
        editor.click()
        self.page.keyboard.press("ControlOrMeta+A")
        self.page.keyboard.insert_text(text)
        self.page.wait_for_function(
            f"([i, text]) => {_CELLS}[i].model.sharedModel.getSource() === text", arg=[index, text]
        )

    def run(self, index: int) -> None:
        """Run a cell with Shift+Enter and wait for its end."""
        before = self.page.evaluate(f"i => {_CELLS}[i].model.executionCount", index)
        editor = self.cell(index).locator(".cm-content")
        editor.scroll_into_view_if_needed()
        editor.click()
        self.page.keyboard.press("Shift+Enter")
        self.page.wait_for_function(
            f"([i, before]) => ![null, before].includes({_CELLS}[i].model.executionCount)",
            arg=[index, before],
        )
        self.wait_idle()

    def execute(self, code: str):
        """Run code in the notebook's kernel, beside its cells; value of its last line, a text."""
        *lines, last = code.splitlines()
        reply = self.page.evaluate(
            f"""async ([code, last]) => {{
                const kernel = {_NOTEBOOK}.sessionContext.session.kernel;
                const future = kernel.requestExecute({{code, user_expressions: {{value: last}}, store_history: false}});
                return (await future.done).content;
            }}""",
            ["\n".join(lines), last],
        )
        value = reply["user_expressions"]["value"]
        if reply["status"] != "ok" or value["status"] != "ok":
            raise RuntimeError(str(reply)[:1000])
        return value["data"]["text/plain"]

    def theme(self, dark: bool) -> None:
        """Switch the theme and wait until it is there."""
        name = "JupyterLab Dark" if dark else "JupyterLab Light"
        self.page.evaluate(
            f"async () => {{ await window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{name}'}}) }}"
        )
        self.page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light && !document.getElementById('jupyterlab-splash')",
            arg="false" if dark else "true",
        )

    def reload(self, restart: bool) -> None:
        """Save, restart the kernel where asked to, and load the page again."""
        self.command("docmanager:save")
        if restart:
            self.page.evaluate(f"async () => {{ await {_NOTEBOOK}.sessionContext.restartKernel() }}")
            self.wait_idle()
        self.page.reload(wait_until="domcontentloaded")
        self.wait_idle()

    def errors(self) -> list[str]:
        """Texts of error outputs and of stderr."""
        found = self.page.locator(
            ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error'],"
            ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"
        )
        return found.all_inner_texts()

    def panel(self, name: str):
        """Panel of this name."""
        return self.page.get_by_role("group", name=name, exact=True)

    def show(self, panel) -> None:
        """Scroll to a panel and wait until it is painted: Lab leaves out what is off the screen."""
        panel.scroll_into_view_if_needed()
        self.page.wait_for_function(
            """panel => {
                const box = panel.getBoundingClientRect();
                return panel.checkVisibility({contentVisibilityAuto: true}) && box.top < innerHeight && box.bottom > 0;
            }""",
            arg=panel.element_handle(),
        )
        frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.page.evaluate(f"async () => {{ await {frames} }}")

    def settle(self, panel) -> None:
        """Wait until a panel has answered all that was asked of it."""
        handle = panel.element_handle()
        self.page.wait_for_function(
            "panel => !panel.hasAttribute('aria-busy') && panel.dataset.asked === panel.dataset.answered", arg=handle
        )
