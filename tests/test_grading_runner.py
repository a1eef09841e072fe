"""Hostile cells and faults of our own: each ends with its status, in time, and with nothing left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest
from helpers_grading import (
    eventually,
    job_of,
    nothing_left,
    own_temporary_folder,
    processes_of,
    run_cells,
    show,
    statuses,
    value,
)

from xaiteach.errors import SetupError
from xaiteach.grading import runner, sandbox
from xaiteach.grading.limits import Limits

pytestmark = pytest.mark.slow
in_sandbox = pytest.mark.bubblewrap

REPOSITORY = Path(runner.__file__).resolve().parents[2]
SMALL = Limits(memory_mib=600, processes=100)  # an idle kernel takes about 100 MiB and 10 threads


@pytest.fixture(autouse=True)
def temporary():
    """Run below a folder of our own, and look there afterwards: no process and no folder of a run may be left."""
    with own_temporary_folder() as folder:
        yield folder
        assert nothing_left(folder), [process.cmdline() for process in processes_of(folder)]


def source(text):
    return textwrap.dedent(text).strip()


LOOP = "import time\ntime.sleep(0.1)\nwhile True: pass"
DEAF = source("""
    import time
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass
""")


@in_sandbox
class TestTime:
    def test_infinite_loop_ends_at_its_deadline_and_names_its_line(self, tmp_path):
        outcome = run_cells(tmp_path, "a = 1", LOOP, "never = 1", deadline_s=2)
        assert statuses(outcome) == ["ok", "timeout"]
        assert (outcome.stopped_at, outcome.fault) == (1, None)
        error = outcome.cells[1].error
        assert (error.ename, error.line, error.code) == ("Timeout", 3, "while True: pass")
        assert 2 <= outcome.cells[1].seconds < 4  # the deadline, the second of grace, and the machine's

    def test_cell_that_ignores_interrupts_is_killed(self, tmp_path):
        outcome = run_cells(tmp_path, DEAF, "never = 1", deadline_s=1)
        assert statuses(outcome) == ["timeout"]
        assert outcome.cells[0].seconds < 4

    def test_one_message_after_another_does_not_extend_the_deadline(self, tmp_path):
        chatter = "import time\nwhile True:\n    print('x', flush=True)\n    time.sleep(0.2)"
        outcome = run_cells(tmp_path, chatter, deadline_s=1)
        assert statuses(outcome) == ["timeout"]
        assert outcome.cells[0].stdout.startswith("x\n")

    @pytest.mark.parametrize("part", ["reply", "idle"])
    def test_forged_half_of_the_end_does_not_end_a_cell(self, tmp_path, part):
        forge = {
            "reply": "k.session.send(k.shell_stream, 'execute_reply', {'status': 'ok'}, k.get_parent(), ident=ident)",
            "idle": "k._publish_status('idle', 'shell')",
        }
        code = "import time\nk = get_ipython().kernel\nnew = getattr(k, '_shell_parent_ident', None)\n"
        code += f"ident = new.get() if new else k._parent_ident['shell']\n{forge[part]}\ntime.sleep(60)"
        outcome = run_cells(tmp_path, code, deadline_s=1)
        assert statuses(outcome) == ["timeout"]
        assert outcome.cells[0].error.code in (None, "time.sleep(60)")  # the forging itself went through


@in_sandbox
class TestDeath:
    @pytest.mark.parametrize("code", ["import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
    def test_death_is_noticed_within_a_second(self, tmp_path, code):
        outcome = run_cells(tmp_path, code, "never = 1")
        assert statuses(outcome) == ["crashed"]
        assert outcome.stopped_at == 0
        assert outcome.cells[0].error.ename == "KernelDied"
        assert outcome.cells[0].seconds < 2  # a second, and another for a loaded machine; the deadline is 20

    def test_what_outlives_its_cell_and_an_attack_on_its_parent_harm_nobody(self, tmp_path):
        thread = "import threading\ndef go():\n    while True: print('still here')\nthreading.Thread(target=go).start()"
        process = "import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)\n'started'"
        parent = "import os\nos.kill(os.getppid(), 9)"
        outcome = run_cells(tmp_path, thread, process, parent, show("'fine'"))
        assert statuses(outcome) == ["ok"] * 4
        assert value(outcome, 3) == "fine"


@in_sandbox
class TestAmount:
    @pytest.mark.parametrize(
        "code", ["for _ in range(1000): print('x' * 100_000)", "print('x' * 10_000_000)"], ids=["100 MB", "one line"]
    )
    def test_flood_is_cut_while_it_is_read(self, tmp_path, code):
        outcome = run_cells(tmp_path, code, "never = 1")
        assert statuses(outcome) == ["flooded"]
        assert outcome.cells[0].error.ename == "TooMuchOutput"

    def test_many_small_prints_are_no_flood(self, tmp_path):
        outcome = run_cells(tmp_path, "for i in range(2000): print(i, flush=True)", "1")
        assert statuses(outcome) == ["ok", "ok"]

    def test_memory_of_one_process_ends_its_run(self, tmp_path):
        outcome = run_cells(tmp_path, "x = []\nwhile True: x.append(bytearray(10_000_000))", "never = 1", limits=SMALL)
        assert statuses(outcome) == ["memory"]
        assert outcome.cells[0].error.ename == "MemoryError"
        assert outcome.cells[0].error.line in (2, None)  # no memory may be left to format the traceback with

    def test_shared_memory_counts(self, tmp_path):
        code = (
            "import mmap\nx = []\nwhile True:\n    x.append(mmap.mmap(-1, 1 << 24))\n    x[-1].write(b'1' * (1 << 24))"
        )
        outcome = run_cells(tmp_path, code, "never = 1", limits=SMALL)
        assert statuses(outcome) == ["memory"]
        assert outcome.cells[0].error.evalue == "more than 750 MiB of memory"

    def test_fork_bomb_is_ended_and_the_host_is_unharmed(self, tmp_path):
        bomb = source("""
            import os, time
            for _ in range(2000):
                try:
                    if os.fork() == 0:
                        time.sleep(1000)
                except OSError:  # where the count is enforced (not for root), the bomb fizzles out
                    time.sleep(0.01)
        """)
        before = len(psutil.pids())
        outcome = run_cells(tmp_path, bomb, "never = 1", limits=SMALL, deadline_s=30)
        assert outcome.cells[0].status in ("crashed", "timeout")
        assert eventually(lambda: len(psutil.pids()) < before + 50)


class TestWithoutSandbox:
    def test_loop_ends_at_its_deadline(self, tmp_path):
        outcome = run_cells(tmp_path, show("1"), LOOP, "never = 1", deadline_s=2, sandboxed=False)
        assert statuses(outcome) == ["ok", "timeout"]
        assert value(outcome, 0) == 1
        assert outcome.cells[1].error.line == 3

    def test_process_that_leaves_its_session_is_found_and_ended(self, tmp_path):
        # nothing_left of the fixture looks for it: it inherits variables that name the folder.
        code = "import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)"
        assert statuses(run_cells(tmp_path, code, sandboxed=False)) == ["ok"]

    def test_view_comes_before_the_installed_package(self, tmp_path):
        (tmp_path / "view" / "xaiteach").mkdir(parents=True)
        (tmp_path / "view" / "xaiteach" / "__init__.py").write_text("")
        code = "import xaiteach, importlib.util\n"
        code += show("[xaiteach.__file__, importlib.util.find_spec('xaiteach.questions') is None]")
        outcome = run_cells(tmp_path, code, view=tmp_path / "view", sandboxed=False)
        assert value(outcome, 0) == [str(tmp_path / "view" / "xaiteach" / "__init__.py"), True]


class TestFaults:
    def test_kernel_that_does_not_start_is_the_environments_fault(self, tmp_path, monkeypatch):
        monkeypatch.setattr(runner, "write_kernelspec", _broken_kernelspec)
        outcome = run_cells(tmp_path, "1", sandboxed=False)
        assert (outcome.fault.kind, outcome.fault.index, outcome.kernel_ready) == ("environment", None, False)
        assert "no kernel today" in outcome.fault.detail

    def test_adapter_that_does_not_start_is_the_environments_fault(self, tmp_path, monkeypatch):
        monkeypatch.setattr(runner, "_BOOT", "raise SystemExit('nothing works')")
        outcome = run_cells(tmp_path, "1", sandboxed=False)
        assert outcome.fault.kind == "environment"
        assert "nothing works" in outcome.fault.detail

    def test_output_that_is_no_event_ends_the_run(self, tmp_path, monkeypatch):
        words = 'import os, time\nos.write(1, b\'{"event": "kernel_ready"}\\n[1, 2\\n\')\ntime.sleep(60)'
        monkeypatch.setattr(runner, "_BOOT", words)
        outcome = run_cells(tmp_path, "1", sandboxed=False)
        assert (outcome.fault.kind, outcome.kernel_ready) == ("protocol", True)

    @in_sandbox
    def test_killed_adapter_is_a_crash_of_the_cell_that_ran(self, tmp_path, monkeypatch):
        outcome = _disturbed(tmp_path, monkeypatch, signal.SIGKILL)
        assert (outcome.fault.kind, outcome.fault.index, outcome.stopped_at) == ("crashed", 1, 1)
        assert statuses(outcome) == ["ok"]

    @in_sandbox
    def test_stopped_adapter_is_killed_when_the_cell_is_overdue(self, tmp_path, monkeypatch):
        monkeypatch.setattr(runner, "GRACE_S", 1.0)
        outcome = _disturbed(tmp_path, monkeypatch, signal.SIGSTOP)
        assert (outcome.fault.kind, outcome.fault.index) == ("timeout", 1)

    def test_cancelled_run_ends_at_once(self, tmp_path):
        cancel = threading.Event()
        cancel.set()
        outcome = run_cells(tmp_path, LOOP, deadline_s=600, sandboxed=False, cancel=cancel)
        assert outcome.fault.kind == "cancelled"
        assert outcome.seconds < 5

    def test_whole_run_has_a_cap_of_its_own(self, tmp_path, monkeypatch):
        monkeypatch.setattr(runner, "STARTING_S", 0.0)
        outcome = run_cells(tmp_path, LOOP, deadline_s=600, sandboxed=False, startup_s=5.0, total_s=0.0)
        assert outcome.fault.kind == "timeout"

    def test_sandbox_that_cannot_be_had_raises(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sandbox, "bubblewrap_problem", lambda: "install it")
        with pytest.raises(SetupError, match="install it"):
            run_cells(tmp_path, "1")

    @in_sandbox
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
    def test_grader_that_is_gone_takes_its_kernels_along(self, tmp_path, temporary, number):
        job = job_of(tmp_path, LOOP, deadline_s=600)
        grader = subprocess.Popen(
            [sys.executable, "-c", GRADER, str(job.notebook), str(temporary)],
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        try:
            assert eventually(lambda: _kernel_runs(temporary), within_s=60)
            grader.send_signal(number)
            assert grader.wait(timeout=30) != 0
        finally:
            grader.kill()
            grader.wait()
        # nothing_left of the fixture sees to the rest.


GRADER = """
import sys, tempfile
from pathlib import Path
from xaiteach.grading.runner import Job, JobCell, run
tempfile.tempdir = sys.argv[2]
run(Job(Path(sys.argv[1]), (JobCell(0, 600.0),)))
"""


def _broken_kernelspec(folder, **given):
    name, env = sandbox.write_kernelspec(folder, **given)
    spec = folder / "kernels" / name / "kernel.json"
    spec.write_text(spec.read_text().replace('"-m"', '"-c", "raise SystemExit(\'no kernel today\')"'))
    return name, env


def _kernel_runs(folder):
    for process in processes_of(folder):
        with contextlib.suppress(psutil.Error):  # it may just have ended
            if "ipykernel" in " ".join(process.cmdline()):
                return True
    return False


def _disturbed(tmp_path, monkeypatch, number):
    """Outcome of a run whose adapter gets a signal when its second cell begins."""
    children, start, take = [], runner._start, runner._Progress.take

    def start_and_note(*arguments):
        children.append(start(*arguments))
        return children[0]

    def take_and_disturb(progress, line):
        take(progress, line)
        if progress.current == 1 and 1 not in progress.cells:
            children[0].send_signal(number)

    monkeypatch.setattr(runner, "_start", start_and_note)
    monkeypatch.setattr(runner._Progress, "take", take_and_disturb)
    return run_cells(tmp_path, "1", "import time\ntime.sleep(60)", deadline_s=2)
