#!/bin/sh
# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A worklist server for tests: dcmtk's wlmscpfs on a folder of .wl files.
# It shows each query of a modality with the attributes that the modality
# asks for, which tells what its worklist template should fill.

set -eu

PORT=10004
AET=WORKLIST
FOLDER=

usage() {
    cat <<END
usage: $(basename "$0") -w FOLDER [-p PORT] [-a AETITLE]

Serve the .wl files of a folder by dcmtk's wlmscpfs until Ctrl-C, and show
what modalities ask for.

  -w FOLDER   folder that update_worklists_database.py fills
  -p PORT     port to listen on (default: $PORT)
  -a AETITLE  AE title that the modality calls (default: $AET)
  -h          this text

Check it from another terminal, here for all entries of the modality CT:

  findscu -W -aec $AET -k "PatientName" -k "PatientID" \\
      -k "(0040,0100)[0].Modality=CT" -k "(0040,0100)[0].0040,0001" \\
      localhost $PORT
END
}

while getopts 'w:p:a:h' option; do
    case $option in
        w) FOLDER=$OPTARG ;;
        p) PORT=$OPTARG ;;
        a) AET=$OPTARG ;;
        h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

if [ -z "$FOLDER" ]; then
    usage >&2
    exit 2
fi
if [ ! -d "$FOLDER" ]; then
    echo "There is no folder $FOLDER." >&2
    exit 2
fi
case $AET in
    *[!A-Za-z0-9_-]*)
        echo "Use letters, digits, - and _ in the AE title." >&2
        exit 2 ;;
esac
case $PORT in
    ''|*[!0-9]*)
        echo "The port must be a number." >&2
        exit 2 ;;
esac
if ! command -v wlmscpfs > /dev/null; then
    echo "wlmscpfs is not installed: it is part of the package dcmtk." >&2
    exit 1
fi

FOLDER=$(cd "$FOLDER" && pwd)
STATE=$(mktemp -d)
SERVER=
LOCKFILE=

finish() {
    trap - EXIT INT TERM
    if [ -n "$SERVER" ]; then
        kill "$SERVER" 2> /dev/null || true
        wait "$SERVER" 2> /dev/null || true
    fi
    if [ -n "$LOCKFILE" ]; then
        rm -f "$LOCKFILE"
    fi
    rm -rf "$STATE"
}
trap finish EXIT
trap 'finish; exit 0' INT TERM

# wlmscpfs looks for its files in a folder named after the called AE title
# and for a file named lockfile in it
ln -s "$FOLDER" "$STATE/$AET"
if [ ! -e "$FOLDER/lockfile" ]; then
    LOCKFILE=$FOLDER/lockfile
    : > "$LOCKFILE"
fi

COUNT=$(find "$FOLDER" -maxdepth 1 -name '*.wl' | wc -l)
echo "wlmscpfs serves $COUNT entries as $AET on port $PORT. Ctrl-C ends it."
# -v: show queries and answers; -csk: keep the character set of the files
wlmscpfs -v -csk -dfp "$STATE" "$PORT" &
SERVER=$!
wait "$SERVER"
