"""A fork server and its client: a command runs as `python` would run it, and dies as its client dies."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import psutil
import pytest

from influcoder.local import fork_client as forkclient
from influcoder.local.fork_client import NoServerError, start

# A folder so deep that its name does not fit into the address of a socket.
DEEP = "a-folder-with-a-name-that-is-long/" * 5


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The socket of a server that has imported little, and its process."""
    folder = tmp_path_factory.mktemp("fork") / DEEP
    folder.mkdir(parents=True)
    path = folder / "fork.sock"
    process = begin(path)
    yield path, process
    process.kill()
    process.wait()


def begin(path):
    command = [sys.executable, "-m", "influcoder.local.fork_server", str(path), "influcoder.core.errors", "decimal"]
    process = subprocess.Popen(command)
    wait_for(path.exists)
    return process


def wait_for(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def client(path, *arguments, **options):
    command = [sys.executable, "-I", forkclient.__file__, str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_a_command_has_its_own_arguments_streams_environment_and_folder(server, tmp_path):
    path, process = server
    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ.get('PATH'), os.environ['ONLY'], os.getppid())\n"
    code += "print(input(), file=sys.stderr)"
    done = client(path, "-c", code, "a b", "c", cwd=tmp_path, env={"ONLY": "this"}, input="a line\n")
    assert done.stdout == f"['-c', 'a b', 'c'] {tmp_path} None this {process.pid}\n"
    assert (done.stderr, done.returncode) == ("a line\n", 0)


def test_modules_are_there_already_and_run_as_modules_and_scripts(server, tmp_path):
    path, _ = server
    (tmp_path / "script.py").write_text("import sys; print(__name__, sys.argv[1:], 'decimal' in sys.modules)")
    script = str(tmp_path / "script.py")
    assert client(path, script, "x").stdout == "__main__ ['x'] True\n"
    module = client(path, "-m", "script", "y", env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert module.returncode == 1, "the path of modules is the server's"
    assert client(path, "-m", "json.tool", input="[1]").stdout == "[\n    1\n]\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("raise ValueError(3)", 1, "ValueError: 3\n"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import os; os.kill(os.getpid(), 15)", -15, ""),
    ],
)
def test_a_client_ends_as_its_child_ends(server, code, status, said):
    done = client(server[0], "-c", code)
    assert (done.returncode, done.stderr[-len(said) :] if said else done.stderr) == (status, said)


def test_what_runs_at_the_end_of_an_interpreter_runs(server):
    code = "import atexit, threading, time; atexit.register(print, 'last')\n"
    code += "threading.Thread(target=lambda: (time.sleep(0.2), print('first'))).start()"
    assert client(server[0], "-c", code).stdout == "first\nlast\n"
    code = "from concurrent.futures import ThreadPoolExecutor; print(ThreadPoolExecutor(2).submit(abs, -1).result())"
    assert client(server[0], "-c", code).stdout == "1\n", "workers that wait for more work do not hold it up"


def asleep(path):
    """A client whose child sleeps, and the child's process id."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    command = [sys.executable, "-I", forkclient.__file__, str(path), "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_client_that_is_killed_takes_its_child_along(server, number):
    process, child = asleep(server[0])
    process.send_signal(number)
    assert process.wait(30) == -number
    wait_for(lambda: not alive(child))


def test_a_server_that_dies_takes_its_children_along_and_later_commands_start_the_slow_way(tmp_path):
    server = begin(tmp_path / "fork.sock")
    process, child = asleep(tmp_path / "fork.sock")
    server.kill()
    server.wait()
    assert process.wait(30) == -signal.SIGKILL
    wait_for(lambda: not alive(child))
    done = client(tmp_path / "fork.sock", "-c", "import sys; print(sys.argv); sys.exit(4)", "x")
    assert (done.stdout, done.returncode) == ("['-c', 'x']\n", 4)
    assert "does not answer" in done.stderr
    assert "starting the slow way" in done.stderr


def test_a_server_whose_source_has_changed_says_so_and_reads_it_again(tmp_path):
    source = tmp_path / "monitoring_copy"
    package = source / "flows"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("answer = 1\n")
    command = [sys.executable, "-m", "influcoder.local.fork_server", str(tmp_path / "fork.sock"), "flows"]
    # The package stands before ours on the path, so that no file of ours has to be touched.
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(source)}, cwd=source)
    try:
        wait_for((tmp_path / "fork.sock").exists)
        ask = ("-c", "import flows; print(flows.answer)")
        assert client(tmp_path / "fork.sock", *ask).stdout == "1\n"
        (package / "__init__.py").write_text("answer = 10\n")
        environment = {**os.environ, "PYTHONPATH": str(source)}
        done = client(tmp_path / "fork.sock", *ask, env=environment, cwd=source)
        assert done.stdout == "10\n"
        assert f"{package / '__init__.py'} has changed since the fork server started" in done.stderr
        wait_for(
            lambda: (
                "slow way" not in (again := client(tmp_path / "fork.sock", *ask, env=environment, cwd=source)).stderr
                and again
            )
        )
        assert client(tmp_path / "fork.sock", *ask).stdout == "10\n"
        (package / "__init__.py").write_text("answer = 100\n")
        leave_before_the_answer(tmp_path / "fork.sock")
        wait_for(lambda: client(tmp_path / "fork.sock", *ask, env=environment, cwd=source).stdout == "100\n")
        assert process.poll() is None, "it is not taken down by who leaves before it is refused"
    finally:
        process.kill()
        process.wait()


def leave_before_the_answer(path):
    order = json.dumps({"arguments": [], "environment": {}, "folder": "/"}).encode()
    with socket.socket(socket.AF_UNIX) as connection, forkclient.short(path) as name, open(os.devnull) as nothing:
        connection.connect(name)
        socket.send_fds(connection, [struct.pack("!I", len(order))], 3 * [nothing.fileno()])
        connection.sendall(order)


def test_who_says_nothing_does_not_hold_the_server_up(server):
    path, _ = server
    with socket.socket(socket.AF_UNIX) as silent, forkclient.short(path) as name:
        silent.connect(name)
        silent.send(b"\0\0")
        silent.shutdown(socket.SHUT_WR)
        assert client(path, "-c", "print(1)").stdout == "1\n"


def test_an_order_that_nobody_takes_is_an_error(tmp_path):
    with pytest.raises(NoServerError, match=r"the fork server at .* does not answer"):
        start(tmp_path / "none.sock", ["-c", "pass"])
