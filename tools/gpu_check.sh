#!/usr/bin/env bash
# What only a GPU can show, in one call of under 10 minutes, written to one file:
#   gpu_check.sh [OUT] [PHOTOGRAPHS]
# 1 the scan's kernels tested, 2 timed, 3 no wait for the GPU and counted memory against measured,
# 4 MambaJSCC's encode and decode beside SwinJSCC's, compiled, batch 1, bf16, 5 a training step at
# the paper's size, part by part, 6 a training of a minute from prepared photographs, its checkpoint
# in files of 15 MB, gone on with, and its curve.
# WHEELS: a folder of wheels to install from. DRY=1: the same steps, small, on a CPU.
set -uo pipefail
out="$(realpath -m "${1:-gpu_check.txt}")"
photographs="$(realpath -m "${2:-$(dirname "$0")/../linksim/data/kodak}")"
cd "$(dirname "$0")/.."
if [ -n "${WHEELS:-}" ]; then
    pip install --no-index --find-links "$WHEELS" -e '.[test]' || exit 1
fi
python="${PYTHON:-python}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
status=0
step() {  # seconds, command...
    echo "== ${*:2}"
    timeout "$@" || { echo "== failed ($?)"; status=1; }
}
train() {  # seconds, options...
    step "$1" "$python" -m linksim train "$recipe" --out "$work/runs" --data "$work/photographs.images" \
        --shard-mb 15 "${@:2}"
}
if [ -n "${DRY:-}" ]; then
    device=cpu preset=small side=64 batch=2 seconds=0.05 recipe="$work/recipe.yaml"
    sed -e 's/preset: paper/preset: small/' -e 's/crop: 256/crop: 64/' \
        -e 's/batch_size: 16/batch_size: 2/' tools/gpu_train.yaml > "$recipe"
    kernels=(-k "test_lengths and 3-True") bf16=()
else
    device=cuda preset=paper side=256 batch=16 seconds=0.7 recipe=tools/gpu_train.yaml
    kernels=() bf16=(--bf16)
fi
{
    if [ "$device" = cuda ]; then step 20 nvidia-smi; fi
    step 140 "$python" -m pytest -q -m 'slow or not slow' "${kernels[@]}" \
        tests/selective_scan/test_triton.py tests/selective_scan/test_triton_sizes.py
    if [ "$device" = cuda ]; then
        step 90 "$python" -m linksim bench scan --device cuda --csv "$work/scan.csv"
        step 50 "$python" -m pytest -q tests/test_no_wait.py tests/bench/test_memory.py
    fi
    step 90 "$python" tools/gpu_codec.py "$device" "$preset" "$side"
    step 40 "$python" -m linksim bench train "mambajscc:$preset" --crop "$side" \
        --batch-size "$batch" --device "$device" "${bf16[@]}" --csv "$work/train.csv"
    step 20 "$python" -m linksim prepare "$photographs" --out "$work/photographs.images"
    train 70 --minutes "$seconds" --device "$device"
    train 50 --minutes 0.4 --device "$device"
    step 5 ls -s "$work"/runs/gpu-check/checkpoints/*
    step 5 cat "$work/runs/gpu-check/curve.csv"
    exit "$status"
} 2>&1 | tee "$out"
exit "${PIPESTATUS[0]}"
