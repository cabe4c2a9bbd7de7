#!/usr/bin/env bash
# KD-INR for ParaView on Debian 12: install what is missing, build, then show it or test it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

BUILD_PACKAGES=(build-essential cmake ninja-build libzstd-dev libxxhash-dev
                paraview-dev python3-paraview libopenmpi-dev xvfb xauth)
TEST_PACKAGES=(libcmocka-dev openmpi-bin clang-format clang-tidy python3-numpy imagemagick)
JOBS=$(nproc)

usage() {
    cat <<'TEXT'
usage: ./kdinr.sh demo    compress a measured series through the ParaView plugin, open it again,
                          print size and quality, save pictures in build/demo
       ./kdinr.sh test    check formatting and style, build with warnings as errors, run all
                          tests, once more under AddressSanitizer and UBSan
Debian 12, as root or with sudo. Packages that are missing are installed; everything is built in
./build and ./build-asan. Both commands may be run again.
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

# build FOLDER OPTION...
build() {
    local folder=$1
    shift
    say "building in $folder"
    cmake -S . -B "$folder" -G Ninja "$@"
    cmake --build "$folder" --parallel "$JOBS"
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
    xvfb-run -a -s '-screen 0 1600x900x24' pvpython tests/demo/demo.py \
        "$(find build -name KDINR.so)" testing-data/ocean_atlas_temp.pvd build/demo
    say "done; the pictures are in $PWD/build/demo"
}

run_tests() {
    install_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
    check_format
    build build -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=ON -DKDINR_WERROR=ON
    check_style
    build build-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DKDINR_SANITIZE=ON -DKDINR_PLUGIN=OFF
    say "testing the core under AddressSanitizer and UBSan"
    ctest --test-dir build-asan --output-on-failure
    say "testing everything"
    ctest --test-dir build --output-on-failure
}

case "${1-}" in
    demo) run_demo ;;
    test) run_tests ;;
    *) usage >&2; exit 2 ;;
esac
