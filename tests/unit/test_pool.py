"""The work pool of the local stack beside the one that Prefect would make."""

import json

from prefect.workers.process import ProcessWorker

from influcoder.local.stack import ROOT


def test_the_pool_is_prefects_own_but_for_what_starts_a_flow_run():
    ours, theirs = json.loads((ROOT / "infra" / "pool.json").read_text()), ProcessWorker.get_default_base_job_template()
    assert ours["job_configuration"] == theirs["job_configuration"]
    defaults = [
        {name: found.get("default") for name, found in template["variables"]["properties"].items()}
        for template in (ours, theirs)
    ]
    assert defaults[0] == defaults[1] | {"command": "python -m influcoder.local.flow_start"}
