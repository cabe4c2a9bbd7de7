#!/bin/sh
# test_gui.sh FOLDER
# Plays test_gui.xml in a real ParaView window on a private X server, and checks the files that it
# leaves. FOLDER/out keeps two pictures: view.png (the volume) and window.png (the whole window).
. "$(dirname "$0")/window.sh"

in_window sh -c '
    timeout 200 paraview --dr --data="$PWD/opened.kdm" --data-directory="$PWD" \
        --test-directory="$PWD/out" --test-script="$HERE/test_gui.xml" --exit &
    while kill -0 $! 2>/dev/null; do
        sleep 0.5
        import -window root home/window.png
        find home -name window.png -size +20k -exec mv {} out/ \; # smaller: the window is closed
    done
    wait $!'

pvpython "$here/test_gui_files.py" check .
