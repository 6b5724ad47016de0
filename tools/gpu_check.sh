#!/usr/bin/env bash
# What only a GPU can show, in one call: the scan's kernels tested and timed,
# and MambaJSCC's encode and decode beside SwinJSCC's, without a wait for the GPU.
# Writes everything to one file: gpu_check.sh [OUT]. WHEELS: a folder of wheels to install from.
set -uo pipefail
cd "$(dirname "$0")/.."
out="${1:-gpu_check.txt}"
if [ -n "${WHEELS:-}" ]; then
    pip install --no-index --find-links "$WHEELS" -e '.[test]' || exit 1
fi
status=0
step() {  # seconds, command...
    echo "== ${*:2}"
    timeout "$@" || { echo "== failed ($?)"; status=1; }
}
{
    step 20 nvidia-smi
    step 230 python -m pytest -q -m 'slow or not slow' tests/selective_scan/test_triton.py \
        tests/selective_scan/test_triton_sizes.py
    step 200 python -m linksim bench scan --device cuda --csv "$out.scan.csv"
    step 140 python tools/gpu_codec.py cuda paper 256
} 2>&1 | tee "$out"
exit "$status"
