"""The local stack: S3, MLflow, Prefect with a worker, Evidently UI, supervised by honcho on loopback."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from influcoder.core.errors import ServiceError
from influcoder.local.flow_start import warm_socket
from influcoder.local.fork_client import is_listening
from influcoder.local.ports import choose
from influcoder.local.wait import wait_for_port

if TYPE_CHECKING:
    from influcoder.settings.servers import StoreSettings

ROOT = Path(__file__).resolve().parents[3]
SERVERS = ("s3", "mlflow", "prefect", "evidently")
_INNER = ("master", "volume", "filer")
_HEALTH = {"mlflow": "/health", "prefect": "/api/health", "evidently": "/api/version"}
START_SECONDS = 180.0
WARM_SECONDS = 90.0


@dataclass(frozen=True)
class Stack:
    """A local stack and its folder, which holds everything that it writes.

    Args:
        folder: such as `.influcoder/local`.
    """

    folder: Path

    @property
    def env_file(self) -> Path:
        """Environment of the servers and of everything that talks to them."""
        return self.folder / "stack.env"

    @property
    def log_file(self) -> Path:
        """Output of all servers."""
        return self.folder / "stack.log"

    @property
    def pid(self) -> int | None:
        """Process id of the supervisor, None where it does not run."""
        path = self.folder / "honcho.pid"
        if not path.is_file():
            return None
        pid = int(path.read_text())
        return pid if _is_supervisor(pid) else None

    def environment(self) -> dict[str, str]:
        """The variables of the environment file."""
        if not self.env_file.is_file():
            return {}
        pairs = (line.split("=", 1) for line in self.env_file.read_text().splitlines() if "=" in line)
        return dict((name, value) for name, value in pairs)

    def urls(self) -> dict[str, str]:
        """Address of each server."""
        env = self.environment()
        return {name: f"http://127.0.0.1:{env[f'{name.upper()}_PORT']}" for name in SERVERS} if env else {}

    def start(self, ports: Mapping[str, int] | None = None, say: Callable[[str], None] = print) -> dict[str, str]:
        """Start the servers that do not run yet and wait until each answers.

        Args:
            ports: ports of `SERVERS` that must be these; the others are free ones.
            say: is given a line for each server that is ready.
        Returns:
            address of each server.
        Raises:
            ServiceError: a port is taken, or a server ends or does not answer in time.
        """
        if self.pid is None:
            self._write_environment(ports or {})
            self._spawn()
        started = time.monotonic()
        for name in SERVERS:
            self._wait(name)
            say(f"{name} answers at {self.urls()[name]} ({time.monotonic() - started:.0f} s)")
        # Only whoever starts servers needs more than a stack's name and addresses.
        from influcoder.storage.object_store import ObjectStore

        for bucket in ("influcoder", "mlflow"):
            ObjectStore(self._store_settings(bucket)).ensure_bucket()
        if not self._is_warm():
            say(f"nothing is there to fork flow runs from, so they start the slow way; see {self.log_file}")
        return self.urls()

    def stop(self, seconds: float = 30.0) -> bool:
        """Stop the servers by process id; whether there was anything to stop."""
        pid = self.pid
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + seconds
        while _is_supervisor(pid) and time.monotonic() < end:
            time.sleep(0.2)
        if _is_supervisor(pid):
            raise ServiceError(f"the supervisor {pid} does not end.", f"See {self.log_file}.")
        (self.folder / "honcho.pid").unlink(missing_ok=True)
        return True

    def tail(self, lines: int = 5) -> str:
        """The last lines that the servers wrote."""
        text = self.log_file.read_text(errors="replace") if self.log_file.is_file() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _spawn(self) -> None:
        command = [_tool("honcho"), "start", "-f", str(ROOT / "infra" / "Procfile"), "-d", str(ROOT), "-e", "/dev/null"]
        environment = {
            **os.environ,
            **self.environment(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )
        (self.folder / "honcho.pid").write_text(str(process.pid))

    def _wait(self, name: str) -> None:
        port = int(self.environment()[f"{name.upper()}_PORT"])
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.pid is None:
                raise ServiceError(f"a server of the stack ended:\n{self.tail()}\n", f"See {self.log_file}.")
            if wait_for_port(port, 1.0) and _healthy(f"http://127.0.0.1:{port}{_HEALTH.get(name, '/')}", name):
                return
        raise ServiceError(f"{name} does not answer on port {port}.", f"See {self.log_file}.")

    def _is_warm(self) -> bool:
        end = time.monotonic() + WARM_SECONDS
        while not is_listening(warm_socket(self.folder)):
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def _write_environment(self, wanted: Mapping[str, int]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "s3").mkdir(exist_ok=True)
        old = self.environment()
        ports = choose((*SERVERS, *_INNER), wanted, old)
        access, secret = (
            old.get("AWS_ACCESS_KEY_ID", "influcoder"),
            old.get("AWS_SECRET_ACCESS_KEY", secrets.token_hex(16)),
        )
        credentials = [{"accessKey": access, "secretKey": secret}]
        identity = {
            "name": "influcoder",
            "credentials": credentials,
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        _private(self.folder / "s3.json", json.dumps({"identities": [identity]}))
        lines = {**ports, **_variables(self.folder, ports, access, secret)}
        if (self.folder / "influcoder.toml").is_file():
            lines["INFLUCODER_SETTINGS"] = str((self.folder / "influcoder.toml").resolve())
        _private(self.env_file, "".join(f"{name}={value}\n" for name, value in lines.items()))

    def _store_settings(self, bucket: str) -> "StoreSettings":
        from influcoder.settings.servers import StoreSettings

        env = self.environment()
        return StoreSettings(
            bucket=bucket,
            endpoint=env["INFLUCODER_STORE__ENDPOINT"],
            access_key=env["AWS_ACCESS_KEY_ID"],
            secret_key=env["AWS_SECRET_ACCESS_KEY"],
        )


def _variables(folder: Path, ports: Mapping[str, int], access: str, secret: str) -> dict[str, str]:
    local = "http://127.0.0.1"
    return {
        "STACK": str(folder.resolve()),
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": f"{local}:{ports['S3_PORT']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Eight processes that nothing here gives work to.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "INFLUCODER_STORE__ENDPOINT": f"{local}:{ports['S3_PORT']}",
        "INFLUCODER_MLFLOW__TRACKING_URI": f"{local}:{ports['MLFLOW_PORT']}",
        "INFLUCODER_EVIDENTLY_URL": f"{local}:{ports['EVIDENTLY_PORT']}",
        "PREFECT_API_URL": f"{local}:{ports['PREFECT_PORT']}/api",
        "PREFECT_UI_URL": f"{local}:{ports['PREFECT_PORT']}",
        "PREFECT_HOME": str(folder.resolve() / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # In memory, leases of concurrency slots end with the server, and their slots would never be given back.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "10",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "influcoder,monitoring",
        # What is not a flow run has no log there.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Beside the servers of the stack, threads that spin for long wait for each other many times over.
        "GOMP_SPINCOUNT": "20000",
        # glibc gives large tensors back to the kernel after each use, and pays for their pages again.
        "MALLOC_MMAP_THRESHOLD_": "4294967296",
        "MALLOC_TRIM_THRESHOLD_": "8589934592",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "INFLUCODER_ROOT": str(ROOT),
    }


def _healthy(url: str, name: str) -> bool:
    if name not in _HEALTH:
        return True
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _is_supervisor(pid: int) -> bool:
    """Whether the process runs and is ours: a process id is given again after a restart of the machine."""
    import psutil

    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        # A process that has just been started has no command line yet.
        return process.status() != psutil.STATUS_ZOMBIE and (not command or "honcho" in " ".join(command))
    except psutil.Error:
        return False


def _private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _tool(name: str) -> str:
    path = Path(sys.executable).parent / name
    return str(path) if path.is_file() else name
