# Sourced by test_gui.sh and test_tour.sh, whose files begin like their own names: empties FOLDER
# ($1), makes FOLDER/out and FOLDER/home, goes there and makes the files that the window opens.
set -e
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$1"
mkdir -p "$1/out" "$1/home"
chmod 700 "$1/home"
cd "$1"
pvpython "$here/$(basename "$0" .sh)_files.py" make .

export HERE="$here" HOME="$PWD/home" XDG_RUNTIME_DIR="$PWD/home"
export DASHBOARD_TEST_FROM_CTEST=1 # no questions
in_window() {
    xvfb-run -a -s "-screen 0 1280x1024x24 +extension GLX -noreset" "$@"
}
