#!/bin/sh
# Install the peers that procwatch is measured against: install.sh FOLDER
# npm packages at their newest versions go into FOLDER, Debian packages (as root) into the system. What is there stays.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
mkdir -p "$folder"
cp "$here/package.json" "$here/watcher.mjs" "$here/one_picture.mjs" "$folder/"

missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need vipsthumbnail libvips-tools
need inotifywait inotify-tools
need gm graphicsmagick
need node nodejs
need npm npm
# Debian calls ImageMagick 6 convert, and so do others their own programs: ask for its full name.
command -v magick >/dev/null 2>&1 || need convert-im6.q16 imagemagick
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    apt-get install --yes --quiet --no-install-recommends $missing ||
        { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends $missing; }
fi
[ -d "$folder/node_modules/sharp" ] && [ -d "$folder/node_modules/chokidar" ] ||
    npm install --prefix "$folder" --no-audit --no-fund --loglevel=error
