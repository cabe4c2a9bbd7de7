#!/usr/bin/env bash
# KD-INR for ParaView on Debian 12: install what is missing, build, then show it or test it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

BUILD_PACKAGES=(build-essential cmake ninja-build libzstd-dev libxxhash-dev
                paraview-dev python3-paraview libopenmpi-dev xvfb xauth)
TEST_PACKAGES=(libcmocka-dev openmpi-bin clang clang-format clang-tidy libclang-rt-14-dev valgrind
               python3-numpy imagemagick)
FUZZ_SECONDS=15 # for each of four targets
JOBS=$(nproc)

usage() {
    cat <<'TEXT'
usage: ./kdinr.sh demo    compress a measured series through the ParaView plugin, open it again,
                          print size and quality, save pictures in build/demo
       ./kdinr.sh test    check formatting and style, build with warnings as errors, run all
                          tests, the core's once more under AddressSanitizer and UBSan; threads under
                          ThreadSanitizer, a short run under valgrind, a minute of fuzzing; print
                          which share of the lines the tests reach
Debian 12, as root or with sudo. Packages that are missing are installed; everything is built in
./build and ./build-*. Both commands may be run again.
TEXT
}

say() {
    printf '\n== %s (%d:%02d)\n' "$*" $((SECONDS / 60)) $((SECONDS % 60))
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

is_installed() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'
}

install_packages() {
    local missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    as_root apt-get -q update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}"
}

# build FOLDER [--target TARGET... --] OPTION...
build() {
    local folder=$1 targets=()
    shift
    if [ "${1-}" = --target ]; then
        while [ "$1" != -- ]; do
            targets+=("$1")
            shift
        done
        shift
    fi
    say "building in $folder"
    cmake -S . -B "$folder" -G Ninja "$@"
    cmake --build "$folder" --parallel "$JOBS" "${targets[@]}"
}

# Sources that are formatted: each folder has its .clang-format.
check_format() {
    say "checking the format"
    find core kernels plugin tests \( -name '*.c' -o -name '*.h' -o -name '*.cxx' -o -name '*.cu' \) \
        -print0 | xargs -0 clang-format --dry-run --Werror
}

check_style() {
    say "checking the style (clang-tidy)"
    find core kernels -name '*.c' -print0 |
        xargs -0 -n 1 -P "$JOBS" clang-tidy --quiet -p build 2>/dev/null
}

run_demo() {
    install_packages "${BUILD_PACKAGES[@]}"
    build build -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF
    say "running the demo in pvpython"
    xvfb-run -a -s '-screen 0 1600x900x24 -noreset' pvpython tests/demo/demo.py \
        "$(find build -name KDINR.so)" testing-data/ocean_atlas_temp.pvd build/demo
    say "done; the pictures are in $PWD/build/demo"
}

test_threads() {
    build build-tsan --target test_cpu test_step test_threads -- \
        -DCMAKE_BUILD_TYPE=RelWithDebInfo -DKDINR_TSAN=ON -DKDINR_PLUGIN=OFF -DKDINR_CUDA=OFF
    say "testing threads under ThreadSanitizer"
    ctest --test-dir build-tsan -L threads --output-on-failure
}

test_valgrind() {
    local check=(valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=all)
    local volumes=(testing-data/volumes/blob_000[01].raw)
    say "compressing and decoding under valgrind"
    "${check[@]}" build/bin/kdinr compress -o build/valgrind.kdm --dims 24,20,16 --ratio 15 \
        --effort low --omega 10 --batch 64 --teacher-samples 640 --student-samples 640 --threads 1 \
        --keep-bad "${volumes[@]}"
    "${check[@]}" build/bin/kdinr decode build/valgrind.kdm -o build/valgrind.raw --time 0.5
}

fuzz() {
    build build-fuzz --target fuzz_targets -- \
        -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DKDINR_SANITIZE=ON -DKDINR_FUZZ=ON -DKDINR_PLUGIN=OFF -DKDINR_CUDA=OFF
    build-fuzz/bin/make_corpus build-fuzz/corpus
    cp -rT build-fuzz/corpus/kdm build-fuzz/corpus/decode
    local target
    for target in decode kdm codes part; do
        say "fuzzing $target"
        mkdir -p "build-fuzz/found/$target"
        build-fuzz/bin/fuzz_$target -max_total_time=$FUZZ_SECONDS -max_len=8192 -timeout=25 \
            -verbosity=0 -print_final_stats=1 -artifact_prefix="build-fuzz/found/" \
            "build-fuzz/found/$target" "build-fuzz/corpus/$target"
    done
}

# Lines of core and kernels that tests reach. Tests that limit files or users, which would stop the
# counting, and the slowest are left out.
print_coverage() {
    build build-coverage -DCMAKE_BUILD_TYPE=RelWithDebInfo -DKDINR_COVERAGE=ON -DKDINR_PLUGIN=OFF \
        -DKDINR_CUDA=OFF
    find build-coverage -name '*.gcda' -delete
    say "counting the lines that tests reach"
    ctest --test-dir build-coverage --output-on-failure \
        -E 'cli_(Failures|Usage|Resume|kill)|unit_test_memory|fuzz_decode'
    find build-coverage/core build-coverage/kernels -name '*.gcda' -print0 |
        xargs -0 gcov --no-output --preserve-paths 2>/dev/null |
        awk -v root="$PWD/" -f tests/coverage.awk
}

# The build has compiled the CUDA module wherever there is nvcc.
say_cuda() {
    if [ -f build/lib/kdinr_cuda.so ]; then
        say "CUDA kernels: compiled for sm_80, sm_86, sm_89, sm_90 and PTX, warnings as errors"
    else
        say "CUDA kernels: NOT compiled, there is no nvcc here; they run in tests on the host only"
    fi
}

run_tests() {
    install_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
    check_format
    build build -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=ON -DKDINR_WERROR=ON
    say_cuda
    check_style
    build build-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DKDINR_SANITIZE=ON -DKDINR_PLUGIN=OFF \
        -DKDINR_CUDA=OFF
    say "testing the core under AddressSanitizer and UBSan"
    ctest --test-dir build-asan --output-on-failure
    test_threads
    fuzz
    say "testing everything"
    ctest --test-dir build --output-on-failure
    test_valgrind
    print_coverage
}

case "${1-}" in
    demo) run_demo ;;
    test) run_tests ;;
    *) usage >&2; exit 2 ;;
esac
