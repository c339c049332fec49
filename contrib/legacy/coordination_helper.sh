#!/bin/sh
# The verbs of SwarmSH's coordination_helper.sh, carried out by swarmctl: the same words in the same order, the same
# lines to grep for, each printed only when the daemon has said that it is so. Errors are one line on stderr, exit
# statuses those of swarmctl(1). docs/moving-from-swarmsh.md says how to put it in the place of the old one.
set -u

here=$(readlink -f -- "$0")
here=${here%/*}
swarmctl=swarmctl
if [ -x "$here/swarmctl" ]; then swarmctl=$here/swarmctl; fi

TEAM=autonomous_team

say() { if [ -z "$quiet" ]; then printf '%s\n' "$1"; fi; }

refuse() {
    printf 'coordination_helper.sh: %s\n' "$1" >&2
    exit 2
}

ctl() { "$swarmctl" --timeout "${FLOCK_TIMEOUT:-30}" "$@"; }

claim() {
    if [ $# -lt 2 ] || [ $# -gt 4 ]; then refuse "claim: it takes TYPE DESCRIPTION [PRIORITY [TEAM]]"; fi
    if [ -n "$async" ]; then refuse "claim: --async is for progress; what is claimed must be on the disk"; fi
    # a claim of the old system lasted for as long as nobody ended it; here that is as long as a lease may be
    lease=${WORK_CLAIM_TIMEOUT:-$(ctl config get LEASE_MAX)} || exit
    id=$(ctl claim --lease "$lease" -- "$1" "$2" "${3:-medium}" "${4:-$TEAM}") || exit
    if [ -n "$quiet" ]; then line=work_$id; else line="✅ SUCCESS: Claimed work item work_$id for team ${4:-$TEAM}"; fi
    trap '' PIPE
    if ! printf '%s\n' "$line" 2>/dev/null; then # nobody knows that it is theirs
        ctl release --unbegun -- "$id" >/dev/null
        exit 1
    fi
}

progress() {
    item=${1:-${CURRENT_WORK_ITEM:-}}
    if [ -z "$item" ] || [ $# -lt 2 ] || [ $# -gt 3 ]; then refuse "progress: it takes ID PERCENT [STATUS]"; fi
    if [ -n "$async" ]; then how=Queued; else how=Updated; fi
    ctl progress ${async:+"$async"} -- "$item" "$2" "${3:-in_progress}" || exit
    say "📈 PROGRESS: $how $item to ${2%\%}% (${3:-in_progress})"
}

finish() {
    item=${1:-${CURRENT_WORK_ITEM:-}}
    result=${2:-success}
    points=${3:-5}
    if [ -z "$item" ] || [ $# -gt 3 ]; then refuse "complete: it takes ID [RESULT] [POINTS]"; fi
    if [ -n "$async" ]; then refuse "complete: --async is for progress; what is completed must be on the disk"; fi
    case $result in
        success) ctl complete -- "$item" success "$points" >/dev/null || exit ;;
        failed | blocked)
            became=$(ctl complete -- "$item" "$result" "$points") || exit
            say "❌ NOT COMPLETED: Released claim for $item ($result): ${became#* }"
            return
            ;;
        *)
            ctl complete --note "$result" -- "$item" success "$points" >/dev/null || exit
            if [ -z "$quiet" ]; then
                printf 'coordination_helper.sh: complete %s: done; its RESULT is kept as the note\n' "$item" >&2
            fi
            ;;
    esac
    say "✅ COMPLETED: Released claim for $item ($result) - $points velocity points"
}

register() {
    agent=${1:-${AGENT_ID:-}}
    if [ -z "$agent" ] || [ $# -gt 4 ]; then refuse "register: it takes AGENT [TEAM [CAPACITY [SPECIALIZATION]]]"; fi
    ctl register -- "$agent" "${2:-$TEAM}" "${3:-100}" "${4:-general_development}" >/dev/null || exit
    say "🔧 REGISTERED: Agent $agent in team ${2:-$TEAM} with ${3:-100}% capacity"
}

# Lines of tab-separated fields -> lines for people: what a terminal would obey is shown as a question mark.
shown() {
    LC_ALL=C awk -F '\t' '
        { gsub(/[\001-\010\013-\037\177]|\302[\200-\237]|\342\200[\252-\256]|\342\201[\246-\251]/, "?") }
        '"$1"
}

work() {
    if [ "${1:-all}" = all ]; then set --; else set -- --team "$1"; fi
    found=$(ctl list --state claimed --limit 0 "$@") || exit
    if [ -n "$found" ]; then
        # shellcheck disable=SC2016 # these are fields of awk
        printf '%s\n' "$found" | shown '{ print "  🔧 work_" $1 ": " $10 " (" $3 ", " $4 ")" }'
    fi
}

count() { if [ -z "$1" ]; then echo 0; else printf '%s\n' "$1" | wc -l; fi; }

dashboard() {
    agents=$(ctl agents) || exit
    # shellcheck disable=SC2016 # these are fields of awk
    agents=$(printf '%s\n' "$agents" | shown '$2 == "active" { print "  🤖 Agent " $1 ": " $3 " team (" $NF ")" }')
    items=$(work) || exit
    printf '👥 AGENT TEAMS & STATUS:\n  📊 Active Agents: %d\n' "$(count "$agents")"
    if [ -n "$agents" ]; then printf '%s\n' "$agents"; fi
    printf '\n📋 ACTIVE WORK:\n  📊 Active Work Items: %d\n' "$(count "$items")"
    if [ -n "$items" ]; then printf '%s\n' "$items"; fi
}

usage() {
    cat <<'EOF'
Usage: coordination_helper.sh VERB [WORD …]

  claim TYPE DESCRIPTION [PRIORITY [TEAM]]          create an item and hold it (claim-fast, claim-slow)
  progress ID PERCENT [STATUS] [--async]            say how far it is; ID may be in $CURRENT_WORK_ITEM
  complete ID [RESULT] [POINTS]                     end it
  register AGENT [TEAM [CAPACITY [SPECIALIZATION]]] say who an agent is
  list-work [TEAM|all]                              what is held (list-work-fast)
  dashboard                                         agents and what is held (dashboard-fast)
  optimize                                          nothing: swarmshd forgets by itself what has ended
  generate-id                                       a name for an agent
  config …, queue-stats, --version                  as swarmctl has them

--quiet prints nothing, or of a claim only the id. Whose agent you are says $AGENT_ID.
This is the door for old scripts; everything else is done by swarmctl: swarmctl --help
EOF
}

quiet='' async='' words=$#
while [ "$words" -gt 0 ]; do
    case $1 in
        --quiet) quiet=$1 ;;
        --async) async=$1 ;;
        *) set -- "$@" "$1" ;;
    esac
    shift
    words=$((words - 1))
done

verb=${1:-help}
if [ $# -gt 0 ]; then shift; fi
case $verb in
    claim | claim-fast | claim-slow) claim "$@" ;;
    claim-intelligent | claim-ai)
        echo "coordination_helper.sh: $verb: it is claimed without advice" >&2
        claim "$@"
        ;;
    progress) progress "$@" ;;
    complete) finish "$@" ;;
    register) register "$@" ;;
    list-work | list-work-fast) work "$@" ;;
    dashboard | dashboard-fast) dashboard ;;
    optimize) say "nothing to optimize: swarmshd forgets by itself what has ended (RETAIN_DONE)" ;;
    generate-id) echo "agent_$(date +%s%N)" ;;
    config | queue-stats | --version) exec "$swarmctl" "$verb" "$@" ;;
    help | -h | --help) usage ;;
    claude-* | intelligence | stream | pipe | enhanced) refuse "$verb: it asked another program, which is not part of this" ;;
    pi-planning | scrum-of-scrums | innovation-planning | ip | system-demo | inspect-adapt | ia | art-sync | \
        portfolio-kanban | coach-training | value-stream | vsm)
        refuse "$verb: it printed a text that was always the same, and is gone" ;;
    *) refuse "there is no verb '$verb'; coordination_helper.sh help lists them, and swarmctl has all others" ;;
esac
