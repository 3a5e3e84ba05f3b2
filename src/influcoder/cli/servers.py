"""Whether servers answer, and what Prefect says, without Prefect's client: importing it takes seconds."""

import os
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from influcoder.core.errors import ServiceError

# Who takes longer to accept a connection is not to be waited for; who accepted one may be busy.
CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 30.0


def is_up(url: str) -> bool:
    """Whether anything answers at an address, whatever it says."""
    try:
        requests.head(url, timeout=(CONNECT_SECONDS, 5.0), allow_redirects=False)
    except requests.exceptions.ReadTimeout:
        return True
    except requests.exceptions.RequestException:
        return False
    return True


@dataclass(frozen=True)
class PrefectServer:
    """A Prefect server and how to sign in.

    Args:
        url: of its API; empty where none is named.
        headers: of each request.
    """

    url: str
    headers: Mapping[str, str]

    @classmethod
    def named(cls) -> "PrefectServer":
        """The server that the environment names, or Prefect's own settings where there are any."""
        known = {name: os.environ.get(f"PREFECT_API_{name}", "") for name in ("URL", "KEY", "AUTH_STRING")}
        if not known["URL"] and _has_settings():
            from prefect.settings import get_current_settings

            api = get_current_settings().api
            secrets = {"KEY": api.key, "AUTH_STRING": api.auth_string}
            known = {"URL": api.url or "", **{n: s.get_secret_value() if s else "" for n, s in secrets.items()}}
        if known["AUTH_STRING"]:
            word = b64encode(known["AUTH_STRING"].encode()).decode()
            return cls(known["URL"], {"Authorization": f"Basic {word}"})
        return cls(known["URL"], {"Authorization": f"Bearer {known['KEY']}"} if known["KEY"] else {})

    def next_run(self, flow: str) -> str | None:
        """When the next scheduled run of a flow starts, ISO 8601; None where none is scheduled.

        Raises:
            ServiceError: no server is named, or it does not answer.
        """
        runs = self._post(
            "flow_runs/filter",
            {
                "flows": {"name": {"any_": [flow]}},
                "flow_runs": {"state": {"name": {"any_": ["Scheduled"]}}},
                "sort": "EXPECTED_START_TIME_ASC",
                "limit": 1,
            },
        )
        return runs[0]["expected_start_time"] if runs else None

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        if not self.url:
            raise no_prefect()
        try:
            answer = requests.post(
                f"{self.url.rstrip('/')}/{path}",
                json=body,
                headers=dict(self.headers),
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            )
            answer.raise_for_status()
            return answer.json()
        except requests.exceptions.RequestException as error:
            raise silent_prefect(self.url) from error


def no_prefect() -> ServiceError:
    """What to say where no Prefect server is named."""
    return ServiceError("no Prefect server is named.", "Run: influcoder up, or set PREFECT_API_URL.")


def require_prefect() -> None:
    """Say before the work that no Prefect server is named; Prefect may start one where the user told it to.

    Raises:
        ServiceError: none is named.
    """
    allowed = os.environ.get("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "").lower() in ("1", "true", "yes", "on")
    if not allowed and not PrefectServer.named().url:
        raise no_prefect()


def silent_prefect(url: str) -> ServiceError:
    """What to say of a Prefect server that does not answer."""
    return ServiceError(f"Prefect at {url} does not answer.", "Run: influcoder up")


def _has_settings() -> bool:
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    return any(path.is_file() for path in (profiles, Path("prefect.toml"), Path(".env")))
