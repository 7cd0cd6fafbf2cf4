#!/bin/sh
# lean.sh VENV MODULE...: take out of an environment what no service uses (tests, headers, tools for building, the
# installer itself), then compile what these modules import: the image's root is read-only, so nobody can later.
set -eu
venv=$1
shift
"$venv/bin/python" -m pip uninstall --quiet --yes pip
find "$venv" -depth -type d \( -name tests -o -name test -o -name include -o -name __pycache__ \) -exec rm -rf {} +
find "$venv" -type f \( -name '*.a' -o -name '*.pyi' -o -name '*.pxd' -o -name '*.h' \) -delete
# torch looks for its shared-memory helper when it is imported; the rest of bin/ are compilers
find "$venv"/lib/python3*/site-packages/torch/bin -type f ! -name torch_shm_manager -delete
for module in "$@"; do
  "$venv/bin/python" -c "import $module"
done
