#!/bin/sh
# A hot folder of inotifywait, xargs and vipsthumbnail: inotify_vips.sh INBOX OUTBOX RECIPE
inbox=$1 outbox=$2 recipe=$3
export inbox outbox VIPS_CONCURRENCY=1
case $recipe in
    thumb) render='vipsthumbnail "$inbox/$1" --size 320x320\> -o "$outbox/${1%.*}-thumb.jpg[Q=80,strip]"' ;;
    web) render='vipsthumbnail "$inbox/$1" --size 1600x1600\> -o "$outbox/${1%.*}-web.jpg[Q=82,interlace,strip]" &&
        vipsthumbnail "$inbox/$1" --size 400x400\> -o "$outbox/${1%.*}-small.webp[Q=80,strip]"' ;;
esac
inotifywait --monitor --event moved_to --event close_write --format %f "$inbox" 2>"$outbox.watch" |
    xargs -d '\n' -n 1 -P 2 sh -c "$render"' && echo "done $1"' render &
until grep -q established "$outbox.watch" 2>/dev/null; do sleep 0.05; done
echo ready
wait
