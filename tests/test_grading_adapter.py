"""What we lean on in nbval, and what our classes add to it. Hostile cells are in test_grading_runner.py."""

import inspect

import nbval.kernel
import nbval.plugin
import pytest
from helpers_grading import PROBE, job_of, own_temporary_folder, run_cells, show, statuses, value

from xaiteach.grading import nbval_adapter, runner
from xaiteach.grading.conversation import Heard, error_of

CHANGED = "nbval has changed inside: adapt xaiteach/grading/nbval_adapter.py, then this test. What changed: "


class TestNbval:
    def test_running_kernel_has_the_methods_that_we_inherit(self):
        for name in ("execute_cell_input", "interrupt", "is_alive", "stop"):
            assert hasattr(nbval.kernel.RunningKernel, name), CHANGED + f"RunningKernel.{name} is gone"
        parameters = list(inspect.signature(nbval.kernel.RunningKernel.execute_cell_input).parameters)
        assert parameters == ["self", "cell_input", "allow_stdin"], CHANGED + f"execute_cell_input{parameters}"

    def test_running_kernel_keeps_manager_and_client_where_we_put_ours(self):
        code = inspect.getsource(nbval.kernel.RunningKernel)
        for words in ("self.km", "self.kc.execute(", "self.km.interrupt_kernel()", "self.km.is_alive()"):
            assert words in code, CHANGED + f"RunningKernel no longer says {words}"
        stop = inspect.getsource(nbval.kernel.RunningKernel.stop)
        for words in ("self.kc.stop_channels()", "self.km.shutdown_kernel(now=True)", "del self.km"):
            assert words in stop, CHANGED + f"RunningKernel.stop no longer says {words}"

    def test_inputs_are_not_stored_and_an_error_does_not_cancel_what_follows(self):
        code = inspect.getsource(nbval.kernel.RunningKernel.execute_cell_input)
        assert "store_history=False" in code, CHANGED + "inputs are stored"
        assert "stop_on_error=False" in code, CHANGED + "an error cancels what follows"

    def test_file_is_set_up_and_collected_by_the_methods_that_we_replace(self):
        for name in ("setup", "collect", "teardown"):
            assert name in vars(nbval.plugin.IPyNbFile), CHANGED + f"IPyNbFile.{name} is gone"
        assert issubclass(nbval.plugin.IPyNbFile, pytest.File), CHANGED + "IPyNbFile is no pytest.File"

    def test_cell_is_made_and_run_by_the_methods_that_we_replace(self):
        cell = nbval.plugin.IPyNbCell
        parameters = list(inspect.signature(cell.__init__).parameters)
        assert parameters == ["self", "name", "parent", "cell_num", "cell", "options"], (
            CHANGED + f"IPyNbCell{parameters}"
        )
        for name in ("setup", "runtest", "raise_cell_error", "repr_failure"):
            assert name in vars(cell), CHANGED + f"IPyNbCell.{name} is gone"

    def test_own_collection_stays_idle_without_its_option(self):
        code = inspect.getsource(nbval.plugin.pytest_collect_file)
        assert "opt.nbval or opt.nbval_lax" in code, CHANGED + "notebooks are collected without --nbval"

    def test_our_classes_are_nbvals(self):
        assert issubclass(nbval_adapter.BoundedKernel, nbval.kernel.RunningKernel)
        assert issubclass(nbval_adapter.JobFile, nbval.plugin.IPyNbFile)
        assert issubclass(nbval_adapter.JobCell, nbval.plugin.IPyNbCell)


CELLS = {
    "print": "print('hello')\nimport sys; print('apart', file=sys.stderr)",
    "define": "def half(x):\n    return x / 0",
    "error": "a = 1\nb = a / 0",
    "error elsewhere": "half(1)",
    "syntax": "x = 1\ndef f(:",
    "skip": "# NBVAL_SKIP\nskipped = False",
    "skipped": show("skipped"),
    "raises": "# NBVAL_RAISES_EXCEPTION\n1 / 0",
    "input": "input('your name?')",
    "long": "print('a' * 50_000)",
    "two probes": f"{show('1')}\n{show('2')}",
    "text probe": f"display({{{PROBE!r}: '{{\"value\": 3}}'}}, raw=True)",
    "no probe": f"display({{{PROBE!r}: [1]}}, raw=True)\ndisplay({{{PROBE!r}: 'no json'}}, raw=True)",
    "large probe": show("'x' * 2_000_000"),
    "foreign probe": (
        "parent = dict(get_ipython().kernel.get_parent()['header'], msg_id='another')\n"
        f"get_ipython().display_pub.session.send(get_ipython().kernel.iopub_socket, 'display_data',"
        f" {{'data': {{{PROBE!r}: {{'value': 4}}}}, 'metadata': {{}}}}, parent={{'header': parent}})"
    ),
    "bad messages": (
        "kernel = get_ipython().kernel\nfor content in [{}, {'data': 1}, {'name': 1}, {'execution_state': []}]:\n"
        "    for kind in ['stream', 'status', 'error', 'display_data', 'nonsense']:\n"
        "        kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent())"
    ),
    "last": "print('still here')",
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Every cell above in one ordinary kernel, so that this works where there is no bubblewrap."""
    roles = ["probe" if "probe" in name else "answer" for name in CELLS]
    with own_temporary_folder():
        return run_cells(tmp_path_factory.mktemp("adapter"), *CELLS.values(), roles=roles, sandboxed=False)


@pytest.fixture
def cell(outcome):
    assert outcome.fault is None
    return lambda name: outcome.cells[list(CELLS).index(name)]


@pytest.mark.slow
class TestCells:
    def test_every_cell_is_run_and_reported(self, outcome):
        assert list(outcome.cells) == list(range(len(CELLS)))
        assert outcome.stopped_at is None
        assert outcome.kernel_ready

    def test_standard_output_is_kept_and_standard_error_is_not(self, cell):
        assert (cell("print").status, cell("print").stdout) == ("ok", "hello\n")

    def test_error_names_the_line(self, cell):
        error = cell("error").error
        assert (cell("error").status, error.ename, error.evalue) == ("error", "ZeroDivisionError", "division by zero")
        assert (error.line, error.code) == (2, "b = a / 0")

    def test_error_in_a_function_of_an_earlier_cell_shows_the_code_but_no_line_of_this_cell(self, cell):
        error = cell("error elsewhere").error
        assert (error.ename, error.line, error.code) == ("ZeroDivisionError", None, "return x / 0")

    def test_syntax_error_names_the_line_and_no_file(self, cell):
        error = cell("syntax").error
        assert (error.ename, error.line) == ("SyntaxError", 2)
        assert ".py" not in error.evalue

    def test_comments_in_a_cell_steer_nothing(self, outcome, cell):
        assert cell("skip").status == "ok"
        assert value(outcome, list(CELLS).index("skipped")) is False
        assert cell("raises").status == "error"

    def test_input_is_refused_at_once(self, cell):
        assert cell("input").error.ename == "StdinNotImplementedError"

    def test_only_the_beginning_of_a_long_output_is_kept(self, cell):
        assert (cell("long").status, cell("long").stdout) == ("ok", "a" * 2000)

    def test_probes_come_out_in_order(self, cell):
        assert [probe["value"] for probe in cell("two probes").probes] == [1, 2]

    def test_probe_may_come_as_text(self, cell):
        assert cell("text probe").probes == ({"value": 3},)

    def test_what_is_no_object_is_no_probe(self, cell):
        assert (cell("no probe").status, cell("no probe").probes) == ("ok", ())

    def test_probe_above_its_size_is_dropped(self, cell):
        assert (cell("large probe").status, cell("large probe").probes) == ("ok", ())

    def test_message_in_another_requests_name_is_ignored(self, cell):
        assert (cell("foreign probe").status, cell("foreign probe").probes) == ("ok", ())

    def test_messages_that_break_the_protocol_do_no_harm(self, cell):
        assert cell("last").stdout == "still here\n"


@pytest.mark.slow
def test_cells_of_the_job_run_in_its_order_and_no_others(tmp_path):
    sources = ["log = ['zero']", "log.append('one')", "log.append('two')", show("log")]
    with own_temporary_folder():
        job = job_of(tmp_path, *sources, sandboxed=False)
        job = runner.dataclasses.replace(job, cells=tuple(job.cells[i] for i in (0, 2, 3)))
        outcome = runner.run(job)
    assert list(outcome.cells) == [0, 2, 3]
    assert value(outcome, 3) == ["zero", "two"]


@pytest.mark.slow
def test_neighbouring_conftest_and_pytest_settings_do_not_apply(tmp_path, monkeypatch):
    (tmp_path / "conftest.py").write_text("raise SystemExit('conftest was loaded')")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    with own_temporary_folder():
        assert statuses(run_cells(tmp_path, "1", sandboxed=False)) == ["ok"]


@pytest.mark.slow
def test_what_pytest_printed_is_kept_where_asked(tmp_path):
    with own_temporary_folder():
        run_cells(tmp_path, "1 / 0", sandboxed=False, log_dir=tmp_path)
    assert "1 failed" in (tmp_path / "notebook.log").read_text()


def test_error_comes_from_the_reply_where_the_output_says_nothing():
    heard = Heard(reply={"status": "error", "ename": "ValueError", "evalue": "no", "traceback": "forged"})
    assert error_of(heard, "x") == {"ename": "ValueError", "evalue": "no", "line": None, "code": None}


def test_aborted_reply_is_an_error():
    assert error_of(Heard(reply={"status": "aborted"}), "x")["ename"] == "aborted"
