"""What a sandboxed kernel can see and do. One kernel looks around once; each test reads one thing that it found."""

import json
import os
import socket
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import jinja2
import pytest
from helpers_grading import PROBE, nothing_left, own_temporary_folder, run_cells
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from nbval.kernel import RunningKernel

from xaiteach.errors import SetupError
from xaiteach.grading import sandbox
from xaiteach.grading.limits import Limits, rlimits, syscall_filter

REPOSITORY = Path(sandbox.__file__).resolve().parents[2]
HIDDEN = Path(jinja2.__file__).parent

needs_bubblewrap = [pytest.mark.bubblewrap, pytest.mark.slow]

LOOK = """
import contextlib, ctypes, errno, glob, importlib, json, os, resource, socket, sys
ASK = json.loads({ask!r})

def failure(act):
    try:
        act()
    except Exception as error:
        return errno.errorcode.get(getattr(error, "errno", None), type(error).__name__)
    return None

def write(path, n_bytes=1):
    with open(path, "wb") as file:
        file.write(b"1" * n_bytes)

def fill(folder):
    for i in range(64):
        write(f"{{folder}}/fill-{{i}}", 4 << 20)

def connect(family, address):
    with socket.socket(family) as s:
        s.settimeout(2)
        s.connect(address)

def readable(pattern):
    text = ""
    for path in glob.glob(pattern):
        with contextlib.suppress(OSError):
            text += open(path, "rb").read().decode(errors="replace")
    return text

def call(name, *arguments):
    library = ctypes.CDLL(None, use_errno=True)
    return errno.errorcode[ctypes.get_errno()] if getattr(library, name)(*arguments) == -1 else None

status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
found = {{
    "exists": {{path: os.path.exists(path) for path in ASK["paths"]}},
    "hidden": os.listdir(ASK["hidden"]),
    "environment": dict(os.environ),
    "environments": readable("/proc/[0-9]*/environ"),
    "pids": [int(name) for name in os.listdir("/proc") if name.isdigit()],
    "writing": {{path: failure(lambda: write(path + "/x")) for path in ASK["places"]}},
    "connect": failure(lambda: connect(socket.AF_INET, ("127.0.0.1", ASK["port"]))),
    "connect_unix": failure(lambda: connect(socket.AF_UNIX, ASK["unix"])),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "imports": {{name: failure(lambda: importlib.import_module(name)) for name in ASK["imports"]}},
    "view": importlib.import_module("xaiteach.runtime").VALUE,
    "capabilities": [status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "uid": os.getuid(),
    "user_namespace": call("unshare", 0x10000000),
    "memfd": failure(lambda: os.memfd_create("x")),
    "first_process": [os.readlink(path) for path in glob.glob("/proc/1/fd/*")],
    "limits": {{name: resource.getrlimit(getattr(resource, name)) for name in ASK["limits"]}},
    "big_file": failure(lambda: write("/tmp/big", 9 << 20)),
    "full_disk": [failure(lambda: fill(place)) for place in ("/tmp", "/dev/shm")],
}}
display({{{mime!r}: found}}, raw=True)
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """Things of the grader's that must not be seen: files, a variable, a listening port and socket."""
    folder = tmp_path_factory.mktemp("grader")
    (folder / "gradebook.json").write_text("secret")
    view = folder / "view"
    (view / "xaiteach").mkdir(parents=True)
    (view / "xaiteach" / "__init__.py").write_text("")
    (view / "xaiteach" / "runtime.py").write_text("VALUE = 'from the view'")
    return folder


@pytest.fixture(scope="module")
def found(host):
    limits = Limits(tmp_mib=32, file_mib=8, memory_mib=1024, processes=64, open_files=128)
    with (
        pytest.MonkeyPatch.context() as patch,
        own_temporary_folder() as temporary,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        unix.bind(str(temporary / "u"))
        unix.listen()
        patch.setenv("GRADERS_TOKEN", "hunter2")
        ask = {
            "paths": [str(REPOSITORY / "pyproject.toml"), str(host / "gradebook.json"), str(Path.home() / ".cache")],
            "places": ["/", "/etc", "/usr/lib", "/dev", "/opt/xaiteach", sys.prefix + "/lib", "/tmp", "/dev/shm", "."],
            "hidden": str(HIDDEN),
            "port": server.getsockname()[1],
            "unix": str(temporary / "u"),
            "imports": ["xaiteach.runtime", "xaiteach.questions", "xaiteach._course", "xaiteach.grading", "numpy"],
            "limits": list(rlimits(limits)),
        }
        look = LOOK.format(ask=json.dumps(ask), mime=PROBE)
        outcome = run_cells(host, look, view=host / "view", hide=(HIDDEN,), limits=limits, deadline_s=60)
    assert outcome.cells[0].status == "ok", outcome
    (probe,) = outcome.cells[0].probes
    return probe


class TestInside:
    pytestmark = needs_bubblewrap

    def test_repository_gradebook_and_home_are_not_there(self, found):
        assert not any(found["exists"].values())

    def test_hidden_folder_looks_empty(self, found):
        assert found["hidden"] == []
        assert any(HIDDEN.iterdir())

    def test_environment_is_ours_not_the_graders(self, found):
        assert "GRADERS_TOKEN" not in found["environment"]
        assert found["environment"]["OMP_NUM_THREADS"] == "1"
        assert found["environment"]["HOME"] == "/tmp/home"

    def test_no_process_inside_shows_the_graders_environment(self, found):
        # bubblewrap itself is process 1 inside, and its environment can be read there.
        assert "OMP_NUM_THREADS" in found["environments"]
        assert "hunter2" not in found["environments"]

    def test_only_own_processes_are_visible(self, found):
        assert len(found["pids"]) <= 4

    def test_only_private_places_can_be_written(self, found):
        refused = {place for place, error in found["writing"].items() if error is not None}
        assert {place for place, error in found["writing"].items() if error is None} == {"/tmp", "/dev/shm", "."}
        assert {found["writing"][place] for place in refused} <= {"EROFS", "EACCES", "EPERM"}

    def test_host_cannot_be_reached(self, found):
        assert found["connect"] in ("ECONNREFUSED", "ENETUNREACH")
        assert found["connect_unix"] == "ENOENT"
        assert found["interfaces"] == ["lo"]

    def test_package_is_the_view_and_nothing_else(self, found):
        assert found["view"] == "from the view"
        missing = dict.fromkeys(["xaiteach.questions", "xaiteach._course", "xaiteach.grading"], "ModuleNotFoundError")
        assert found["imports"] == missing | {"xaiteach.runtime": None, "numpy": None}

    def test_no_privileges_and_no_way_to_new_ones(self, found):
        assert {int(word, 16) for word in found["capabilities"]} == {0}
        assert found["no_new_privileges"] == "1"
        assert found["uid"] == 1000
        assert found["user_namespace"] in ("EPERM", "ENOSPC")

    @pytest.mark.skipif(syscall_filter() is None, reason="the system-call filter is written for x86_64 and aarch64")
    def test_memory_outside_every_count_is_refused(self, found):
        assert found["memfd"] == "EPERM"

    def test_no_file_of_the_host_is_open_inside(self, found):
        assert all(name.startswith(("pipe:", "socket:", "anon_inode:", "/dev/null")) for name in found["first_process"])

    def test_limits_are_set_and_cannot_be_raised(self, found):
        given = rlimits(Limits(tmp_mib=32, file_mib=8, memory_mib=1024, processes=64, open_files=128))
        assert found["limits"] == {name: [number, number] for name, number in given.items()}

    def test_large_file_and_full_disk_are_refused(self, found):
        assert found["big_file"] == "EFBIG"
        assert found["full_disk"] == ["ENOSPC", "ENOSPC"]


@pytest.mark.bubblewrap
def test_view_covers_a_package_that_is_installed_among_the_libraries(host, monkeypatch):
    monkeypatch.setattr(sandbox, "_PACKAGE", HIDDEN)  # stands for xaiteach in site-packages
    look = f"import os; print(sorted(os.listdir({str(HIDDEN)!r})))"
    command = [*sandbox.sandbox_command(view=host / "view"), "--", sys.executable, "-c", look]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['__init__.py', 'runtime.py']"


@pytest.mark.bubblewrap
def test_package_looks_empty_without_a_view(monkeypatch):
    monkeypatch.setattr(sandbox, "_PACKAGE", HIDDEN)
    look = f"import os; print(os.listdir({str(HIDDEN)!r}))"
    command = [*sandbox.sandbox_command(), "--", sys.executable, "-c", look]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.bubblewrap
def test_user_namespaces_are_refused_without_the_system_call_filter_too():
    if not sandbox._disable_userns():
        pytest.skip("this bubblewrap is older than 0.8.0: only the filter refuses unshare")
    make = "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))"
    command = [*sandbox.sandbox_command(), "--", sys.executable, "-c", make]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "-1"


def test_checkout_below_a_mounted_folder_is_covered(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_PACKAGE", tmp_path / "checkout" / "xaiteach")
    mounts = [("--ro-bind", str(tmp_path), str(tmp_path))]
    options = sandbox._view_options(tmp_path / "view", mounts)
    assert options[:2] == ["--tmpfs", str(tmp_path / "checkout")]
    assert options[-3:] == ["--ro-bind", str(tmp_path / "view"), "/opt/xaiteach"]


def test_environment_made_in_the_checkout_itself_does_not_mount_the_checkout(tmp_path):
    for name in ("bin", "lib", "xaiteach", "solutions"):
        (tmp_path / name).mkdir()
    places = {place for _option, _source, place in sandbox._prefix(tmp_path, [])}
    assert places == {str(tmp_path / "bin"), str(tmp_path / "lib")}


def test_missing_bubblewrap_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda _name: None)
    problem = sandbox.bubblewrap_problem.__wrapped__()
    assert "apt-get install bubblewrap" in problem
    assert "--no-sandbox" in problem


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is no bubblewrap to be refused")
def test_refused_bubblewrap_says_what_to_allow(tmp_path, monkeypatch):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sandbox, "_disable_userns", lambda: ())
    problem = sandbox.bubblewrap_problem.__wrapped__()
    assert "setting up uid map: Permission denied" in problem
    assert "sysctl" in problem


def test_kernelspec_for_a_sandbox_is_refused_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "bubblewrap_problem", lambda: "install it")
    with pytest.raises(SetupError, match="install it"):
        sandbox.write_kernelspec(tmp_path)
    assert not list(tmp_path.iterdir())


def test_kernelspec_without_a_sandbox_puts_the_view_first(tmp_path):
    name, env = sandbox.write_kernelspec(tmp_path, view=tmp_path / "view", sandboxed=False, env={"A": "1"})
    spec = json.loads((tmp_path / "kernels" / name / "kernel.json").read_text())
    assert spec["env"]["PYTHONPATH"] == str(tmp_path / "view")
    assert spec["env"]["A"] == "1"
    assert "kernel_provisioner" not in spec.get("metadata", {})
    assert env == {"JUPYTER_PATH": str(tmp_path)}


@pytest.mark.bubblewrap
@pytest.mark.slow
def test_unmodified_nbval_starts_a_sandboxed_kernel_by_its_name(host, monkeypatch):
    with own_temporary_folder() as temporary:
        name, env = sandbox.write_kernelspec(temporary, view=host / "view")
        monkeypatch.setenv("JUPYTER_PATH", env["JUPYTER_PATH"])
        factory = KernelProvisionerFactory.instance()
        target = f"{sandbox.BubblewrapProvisioner.__module__}:BubblewrapProvisioner"
        monkeypatch.setitem(
            factory.provisioners, sandbox.PROVISIONER, EntryPoint(sandbox.PROVISIONER, target, factory.GROUP_NAME)
        )
        kernel = RunningKernel(name, cwd="/")
        try:
            request = kernel.execute_cell_input("import xaiteach.runtime; print(xaiteach.runtime.VALUE)")
            kernel.await_reply(request, timeout=20)
            printed = ""
            while not printed:
                message = kernel.get_message("iopub", timeout=20)
                printed = message["content"].get("text", "")
        finally:
            kernel.stop()
        assert printed == "from the view\n"
        assert nothing_left(temporary)


@pytest.mark.slow
@pytest.mark.parametrize(("ci", "word", "code"), [("", "1 skipped", 0), ("true", "1 error", 1)])
def test_missing_bubblewrap_skips_here_and_fails_where_ci_promises_it(tmp_path, ci, word, code):
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(here), "-k", "looks_empty_without_a_view", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=False,
        cwd=here.parents[1],
        env=os.environ | {"PATH": str(tmp_path), "CI": ci},
    )
    assert (word in done.stdout, done.returncode) == (True, code), done.stdout
    assert "apt-get install bubblewrap" in done.stdout


@pytest.mark.bubblewrap
def test_a_python_started_by_a_relative_path_works_in_the_sandbox(tmp_path):
    """The name then runs through the folder it was started in, which is not there inside."""
    python = os.path.relpath(sys.executable, tmp_path)
    code = "from xaiteach.grading.sandbox import bubblewrap_problem; print(bubblewrap_problem())"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("None", 0), done.stderr
