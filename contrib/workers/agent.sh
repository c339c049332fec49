#!/bin/sh
# An agent in shell: claims items of type "count" one at a time and counts the words of each payload.
# It ends with 0 when nothing came for as long as its argument says (60s). SIGTERM and control-C give the item in hand
# back; the shell looks at a signal when the command that runs has ended.
set -u
SWARMSH_AGENT=${SWARMSH_AGENT:-counter.$$}
export SWARMSH_AGENT
id=
payload=$(mktemp)

leave() {
    status=$?
    trap - EXIT
    if [ -n "$id" ]; then swarmctl release "$id" --note "told to stop"; fi
    rm -f "$payload"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM

while :; do
    id=$(swarmctl claim --type count -q --wait "${1:-60s}")
    case $? in
        0) ;;
        3) exit 0 ;; # nothing came
        *) exit 1 ;; # swarmctl has said why
    esac
    swarmctl progress "$id" 10 counting
    if swarmctl get "$id" payload -o "$payload"; then
        swarmctl complete "$id" "$(($(wc -w <"$payload"))) words"
    else
        swarmctl fail "$id" "it has no payload"
    fi
    id=
done
