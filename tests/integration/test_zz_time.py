import time, os, pytest

S = """
import time,os
t=time.time()
from flows.label import label
from flows.train import train
from flows.promote import promote
from flows.check import check
print("import", time.time()-t); t=time.time()
l=label(); print("label", time.time()-t); t=time.time()
v=train(l); print("train", time.time()-t); t=time.time()
p=promote(v); print("promote",p, time.time()-t); t=time.time()
c=check(); print("check", time.time()-t); t=time.time()
from monitoring.check import checks
from influcoder.store import ObjectStore
from influcoder.settings import load_settings
print(checks(ObjectStore(load_settings().store))[-1].judgement)
from influcoder.registry import Registry
print({k:v for k,v in Registry(load_settings().mlflow).version(v).tags.items() if "agree" in k or "gate" in k})
"""


@pytest.mark.parametrize(
    "recipe,base,lr", [("kernel", None, None), ("fine-tune", None, "3e-3"), ("fine-tune", None, "1e-2")]
)
def test_time(forks, recipe, base, lr):
    env = {
        **os.environ,
        "INFLUCODER_STORE__PREFIX": f"zz-{recipe}-{lr}",
        "INFLUCODER_MLFLOW__MODEL": f"zz-{recipe}-{lr}",
        "INFLUCODER_ENCODER__RECIPE": recipe,
    }
    if lr:
        env["INFLUCODER_ENCODER__LEARNING_RATE"] = lr
    d = forks.python("-c", S, env=env)
    print(d.returncode, d.stdout, d.stderr[-1500:])
