#!/bin/sh
# test_gui.sh FOLDER
# Plays test_gui.xml in a real ParaView window on a private X server, and checks the files that it
# leaves. FOLDER/out keeps two pictures: view.png (the volume) and window.png (the whole window).
set -e
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$1"
mkdir -p "$1/out" "$1/home"
chmod 700 "$1/home"
cd "$1"
pvpython "$here/test_gui_files.py" make .

export HERE="$here" HOME="$PWD/home" XDG_RUNTIME_DIR="$PWD/home"
export DASHBOARD_TEST_FROM_CTEST=1 # no questions
xvfb-run -a -s "-screen 0 1280x1024x24 +extension GLX -noreset" sh -c '
    timeout 200 paraview --dr --data="$PWD/opened.kdm" --data-directory="$PWD" \
        --test-directory="$PWD/out" --test-script="$HERE/test_gui.xml" --exit &
    while kill -0 $! 2>/dev/null; do
        sleep 0.5
        import -window root home/window.png
        find home -name window.png -size +20k -exec mv {} out/ \; # smaller: the window is closed
    done
    wait $!'

pvpython "$here/test_gui_files.py" check .
