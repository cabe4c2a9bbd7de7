#!/bin/sh
# test_tour.sh FOLDER
# Plays test_tour.xml in a real ParaView window on a private X server, loads the state that it
# saved, and opens the file once more through a pvserver. FOLDER/out keeps a picture of each
# station, FOLDER/frames the window twice a second.
. "$(dirname "$0")/window.sh"
mkdir frames

in_window sh -c '
    watch_window() {
        n=0
        while kill -0 "$1" 2>/dev/null; do
            sleep 0.5
            n=$((n + 1))
            import -window root "frames/$2_$(printf %03d $n).png" || true
        done
        wait "$1"
    }
    timeout 300 paraview --dr --data="$PWD/toured.kdm" --data-directory="$PWD" \
        --test-directory="$PWD/out" --test-script="$HERE/test_tour.xml" --exit &
    watch_window $! local
    timeout 200 paraview --dr --state="$PWD/out/tour.pvsm" --data-directory="$PWD" \
        --test-directory="$PWD/out" --test-script="$HERE/test_tour_state.xml" --exit &
    watch_window $! state
    pvserver --server-port=11753 > home/pvserver.log 2>&1 &
    server=$!
    sleep 5
    timeout 200 paraview --dr --server-url=cs://localhost:11753 --data="$PWD/toured.kdm" \
        --data-directory="$PWD" --test-directory="$PWD/out" \
        --test-script="$HERE/test_tour_remote.xml" --exit &
    watch_window $! remote
    kill $server 2>/dev/null || true'

pvpython "$here/test_tour_files.py" check .
