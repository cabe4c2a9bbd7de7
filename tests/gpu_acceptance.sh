#!/usr/bin/env bash
# The cuda backend proved on this machine's GPU, in less than eight minutes and without VTK:
#   tests/gpu_acceptance.sh [OUT.json | --only-look]
# builds, compares the backend on the device with the plain reference, does so again under
# compute-sanitizer, compresses a series with it and with the CPU, times a step of 640x256x256 samples
# with the paper's number of samples, both with the default network and with the paper's, and
# benchmarks. Prints and writes one JSON; exit code 0: passed, 1: failed, 77: there is no CUDA device.
# KDINR_GPU_BUILD names the folder to build in (build-gpu). With KDINR_GPU_BUILT=1 it is taken as it is,
# for devices whose machine lacks what a build takes.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BUILD=${KDINR_GPU_BUILD:-build-gpu}
OUT=${1:-tests/quality/gpu.json}
WORK=$BUILD/acceptance
PSNR_TOLERANCE=0.2 # dB

say() {
    printf '== %s (%d:%02d)\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)) >&2
}

fail() {
    printf 'gpu_acceptance: %s\n' "$*" >&2
    exit 1
}

has_device() {
    nvidia-smi -L >/dev/null 2>&1 || compgen -G '/dev/nvidia[0-9]*' >/dev/null
}

build() {
    say "building in $BUILD"
    cmake -S . -B "$BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release -DKDINR_PLUGIN=OFF -DKDINR_CUDA=ON \
        -DCMAKE_CUDA_ARCHITECTURES=native >&2
    cmake --build "$BUILD" --parallel "$(nproc)" >&2
}

find_device() {
    "$BUILD/bin/kdinr" info --backends | tee "$WORK/backends.txt" >&2
    grep -Eq '^cuda +available' "$WORK/backends.txt" ||
        fail "there is a device, but the cuda backend does not run"
}

# Every test with the label gpu; one that skips itself has not passed.
test_device() {
    say "comparing the device with the plain reference"
    "$BUILD/bin/test_fused_device" >&2 || fail "test_fused_device ended with $?"
    "$BUILD/bin/test_optimisers_device" >&2 || fail "test_optimisers_device ended with $?"
    "$BUILD/bin/test_backends" cuda >&2 || fail "test_backends cuda ended with $?"
}

# check_memory TOOL CASES...: what compute-sanitizer's tool says of cases of test_backends. It slows
# kernels down by up to a thousand times, hence few cases for most tools, and an end.
check_memory() {
    local tool=$1 cases code
    shift
    for cases in "$@"; do
        code=0
        timeout 60 compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$BUILD/bin/test_backends" cuda "$cases" >"$WORK/$tool.txt" 2>&1 || code=$?
        [ $code != 124 ] || { echo "\"$tool\": \"not finished in 60 s\"" && return; }
        [ $code = 0 ] || { cat "$WORK/$tool.txt" >&2 && fail "compute-sanitizer ($tool) found errors"; }
    done
    echo "\"$tool\": \"passed\""
}

# As a JSON object.
test_memory() {
    local memcheck racecheck synccheck
    command -v compute-sanitizer >/dev/null || { echo '"not found"' && return; }
    memcheck=$(check_memory memcheck 'adam*' 'supply*' 'rounded_products*')
    racecheck=$(check_memory racecheck 'supply_trains_together*')
    synccheck=$(check_memory synccheck 'supply_trains_together*')
    printf '{%s, %s, %s}\n' "$memcheck" "$racecheck" "$synccheck"
}

# compress NAME FLAG...: a series of small steps; prints its PSNR
compress() {
    local name=$1
    shift
    "$BUILD/bin/kdinr" compress -o "$WORK/$name.kdm" --dims 64,48,40 --ratio 200 --effort low \
        --omega 10 --quiet --no-part "$@" "$WORK"/wave_*.raw >&2
    "$BUILD/bin/kdinr" info --json "$WORK/$name.kdm" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["arrays"][0]["psnr_overall"])'
}

# compare_psnr BLOCKS: that of the CPU and of the device at each precision, as a JSON object
compare_psnr() {
    local precision
    compress "$1_cpu" --blocks "$1" --backend cpu >"$WORK/psnr_cpu.txt" &
    for precision in 32 mixed 16; do
        compress "$1_$precision" --blocks "$1" --backend cuda --precision "$precision" \
            >"$WORK/psnr_$precision.txt" &
    done
    wait
    for precision in cpu 32 mixed 16; do
        [ -s "$WORK/psnr_$precision.txt" ] || fail "compressing $1 blocks failed: $precision"
    done
    printf '{"cpu": %s' "$(cat "$WORK/psnr_cpu.txt")"
    for precision in 32 mixed 16; do
        printf ', "cuda_%s": %s' $precision "$(cat "$WORK/psnr_$precision.txt")"
    done
    printf '}\n'
}

# time_step BLOCKS WIDTH DEPTH: seconds of stage 1 for one step at the paper's sample count.
time_step() {
    say "training one step of 640x256x256, $1 blocks"
    local start end
    start=$(date +%s.%N)
    "$BUILD/bin/kdinr" compress -o "$WORK/large.kdm" --dims 640,256,256 --blocks "$1" --width "$2" \
        --depth "$3" --bricks 1,1,1 --omega 30 --batch 65536 --teacher-samples 131072000 \
        --student-samples 65536 --ratio 1000 --no-verify --keep-bad --quiet --no-part --backend cuda \
        --precision mixed "$WORK"/large_*.raw >&2
    end=$(date +%s.%N)
    awk -v a="$start" -v b="$end" 'BEGIN { printf "%.2f\n", b - a }'
}

main() {
    if ! has_device; then
        echo "gpu_acceptance: there is no CUDA device here; nothing was tested" >&2
        exit 77
    fi
    if [ "$OUT" = --only-look ]; then
        echo "gpu_acceptance: there is a CUDA device here" >&2
        exit 0
    fi
    mkdir -p "$WORK"
    [ "${KDINR_GPU_BUILT:-0}" = 1 ] || build
    find_device
    test_device
    local memory even bottleneck psnr steps
    python3 tests/quality/waves.py 64 48 40 4 "$WORK/wave"
    python3 tests/quality/waves.py 640 256 256 1 "$WORK/large"
    say "checking with compute-sanitizer"
    memory=$(test_memory)
    say "$memory"
    say "compressing with the CPU and with the GPU"
    even=$(compare_psnr even)
    bottleneck=$(compare_psnr bottleneck)
    psnr="{\"even\": $even, \"bottleneck\": $bottleneck}"
    say "$psnr"
    # About 10,000 parameters each.
    even=$(time_step even 40 3)
    bottleneck=$(time_step bottleneck 16 3)
    steps="{\"even\": $even, \"bottleneck\": $bottleneck}"
    say "$steps"
    say "benchmarking"
    python3 tests/quality/bench_gpu.py "$BUILD/bin" --quick --seconds 0.2 -o "$WORK/bench.json" >&2
    python3 - "$WORK/bench.json" "$OUT" "$memory" "$psnr" "$steps" "$PSNR_TOLERANCE" <<'PYTHON'
import json
import sys

bench, out, memory, psnr, steps, tolerance = sys.argv[1:]
psnr = json.loads(psnr)
with open(bench, encoding="ascii") as file:
    result = json.load(file)
result = {"compute_sanitizer": json.loads(memory), "psnr": psnr,
          "step_640x256x256_seconds": json.loads(steps), **result}
result["passed"] = all(min(by["cuda_32"], by["cuda_mixed"]) >= by["cpu"] - float(tolerance)
                       for by in psnr.values())
text = json.dumps(result, indent=1)
print(text)
with open(out, "w", encoding="ascii") as file:
    file.write(text + "\n")
sys.exit(not result["passed"])
PYTHON
    say "done: $OUT"
}

main
