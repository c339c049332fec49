# fish completion for swarmctl(1)
# Made by `swarmctl completion fish` from the table of verbs; do not edit.

# The words of the line before the one that is typed, without options and their values: the verb, then positionals.
# What stands after -- is left out, but for that mark itself.
function __swarmctl_words
    set -l skip
    for word in (commandline -opc)[2..]
        if test -n "$skip"
            set skip
        else if test "$word" = --
            echo -- --
            return
        else if contains -- $word --agent --token --key --socket --timeout -p --priority --queue --team --payload --delay --at --after --on-failure --require --group --ref --unique --unique-strict --max-attempts --lease --max-runtime --from --type --count --wait --id --pid -m --message --checkpoint --output --result --note --retry-after -j --jobs --max-failures --grace --tail --conflict-exit --state --older --since --limit --after-id --by -o --to --until --for --slots --label --heartbeat --legacy --claimed --every --rows --state-dir --prune --of --device --profile --scheduler --nr-requests --read-ahead-kb --rq-affinity --nomerges --wbt-lat-usec --rounds --writes --root --bin-dir
            set skip yes
        else if not string match -q -- '-?*' $word
            echo $word
        end
    end
end

# Whether the verb is this one, and how many positionals stand before the one that is typed:
# __swarmctl_at N VERB..., where N is a number, `N+` for at least so many, or `any`.
function __swarmctl_at
    set -l words (__swarmctl_words)
    set -l verb $argv[2..]
    set -l length (count $verb)
    test (count $words) -ge $length; and test "$words[1..$length]" = "$verb"; or return 1
    set -l found (math (count $words) - $length)
    switch $argv[1]
        case any
            not contains -- -- $words
        case '*+'
            test $found -ge (string trim -r -c + -- $argv[1]); and not contains -- -- $words
        case '*'
            test $found -eq $argv[1]; and not contains -- -- $words
    end
end

# Whether no verb has been typed yet, or only this noun.
function __swarmctl_first
    test -z "$(__swarmctl_words)"
end
function __swarmctl_noun
    test "$(__swarmctl_words)" = $argv[1]
end

# Whether a command line of its own is typed, behind --.
function __swarmctl_command
    set -l words (__swarmctl_words)
    contains -- -- $words; and contains -- $words[1] work lock
end

# What there is now, from the daemon that the command line names.
function __swarmctl_ask
    set -l words (commandline -opc)
    set -l where
    set -l at (contains -i -- --socket $words); and set where --socket $words[(math $at + 1)]
    set -l joined (string match -- '--socket=*' $words); and set where $joined[1]
    command $words[1] $where completion --of $argv[1] 2>/dev/null
end

# Several with commas between them: what is typed before the last comma stays.
function __swarmctl_many
    set -l typed (string replace -r '^--[a-z-]+=' '' -- (commandline -ct))
    set -l stem (string match -r '.*,' -- $typed; or echo)
    while read -l line
        echo -- "$stem$line"
    end
end

# The command line that stands after --, as if it stood alone.
function __swarmctl_rest
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    complete -C (string join ' ' -- (string escape -- $words[(math $at + 1)..]) "$(commandline -ct)")
end

complete -c swarmctl -e
complete -c swarmctl -f
complete -c swarmctl -n __swarmctl_command -xa '(__swarmctl_rest)'

complete -c swarmctl -n 'not __swarmctl_command' -l agent -d 'who acts: else $SWARMSH_AGENT, $AGENT_ID, a harness\'s session id, USER.HOST.SID' -r -k -a '(__swarmctl_ask agents)' -f
complete -c swarmctl -n 'not __swarmctl_command' -l token -d 'proof of the claim: else $SWARMSH_TOKEN for the item in $SWARMSH_ITEM' -r -f
complete -c swarmctl -n 'not __swarmctl_command' -l key -d 'idempotency key: the same change sent twice is done once' -r -f
complete -c swarmctl -n 'not __swarmctl_command' -l socket -d 'the daemon\'s socket: else $SWARMSH_SOCKET, else the usual places' -r -F
complete -c swarmctl -n 'not __swarmctl_command' -l timeout -d 'longest time to connect, reconnect and be answered (30s)' -r -f
complete -c swarmctl -n 'not __swarmctl_command' -l json -d 'one JSON object a line on stdout, refusals too'
complete -c swarmctl -n 'not __swarmctl_command' -s q -l quiet -d 'ids only, or nothing'
complete -c swarmctl -n 'not __swarmctl_command' -s h -l help -d 'this help'
complete -c swarmctl -n 'not __swarmctl_command' -l version -d 'the version, on one line'

complete -c swarmctl -n '__swarmctl_first' -a 'submit' -d 'put an item in; prints its id'
complete -c swarmctl -n '__swarmctl_first' -a 'claim' -d 'take the next item: id, token, type, priority, description'
complete -c swarmctl -n '__swarmctl_first' -a 'heartbeat' -d 'renew leases: of these items, or of all that the agent holds'
complete -c swarmctl -n '__swarmctl_first' -a 'progress' -d 'record how far it is; renews the lease'
complete -c swarmctl -n '__swarmctl_first' -a 'complete' -d 'end it: RESULT is success (the default), failed or blocked'
complete -c swarmctl -n '__swarmctl_first' -a 'fail' -d 'count a failure; it comes back after a while, or is buried'
complete -c swarmctl -n '__swarmctl_first' -a 'release' -d 'give it back; no attempt is spent'
complete -c swarmctl -n '__swarmctl_first' -a 'work' -d 'the worker loop: run COMMAND for each item'
complete -c swarmctl -n '__swarmctl_first' -a 'lock' -d 'run COMMAND while nobody else has the lock NAME'
complete -c swarmctl -n '__swarmctl_first' -a 'unlock' -d 'give a lock back before its COMMAND has ended'
complete -c swarmctl -n '__swarmctl_first' -a 'hold' -d 'keep the lease while a process lives; returns at once'
complete -c swarmctl -n '__swarmctl_first' -a 'bury' -d 'set it aside for a person'
complete -c swarmctl -n '__swarmctl_first' -a 'list' -d 'open items'
complete -c swarmctl -n '__swarmctl_first' -a 'show' -d 'everything about an item'
complete -c swarmctl -n '__swarmctl_first' -a 'count' -d 'how many open items'
complete -c swarmctl -n '__swarmctl_first' -a 'get' -d 'the raw bytes of an item\'s payload, checkpoint, output or result'
complete -c swarmctl -n '__swarmctl_first' -a 'held' -d 'what this agent holds, with tokens'
complete -c swarmctl -n '__swarmctl_first' -a 'explain' -d 'why nobody has an item, or why an agent gets nothing'
complete -c swarmctl -n '__swarmctl_first' -a 'deps' -d 'what it waits for, and what waits for it: id, what it waits for, state, type, description'
complete -c swarmctl -n '__swarmctl_first' -a 'locks' -d 'the locks that are held: name, agent, since when, fence, pid, how many wait'
complete -c swarmctl -n '__swarmctl_first' -a 'wait' -d 'wait until items have ended; prints those that did not succeed'
complete -c swarmctl -n '__swarmctl_first' -a 'watch' -d 'events as they happen, one JSON object a line'
complete -c swarmctl -n '__swarmctl_first' -a 'history' -d 'every event of items, oldest first: time, id, event, who, details'
complete -c swarmctl -n '__swarmctl_first' -a 'whoami' -d 'the agent that you are, and why'
complete -c swarmctl -n '__swarmctl_first' -a 'kick' -d 'put buried items back, or blocked ones that wait in vain'
complete -c swarmctl -n '__swarmctl_first' -a 'cancel' -d 'end open items; a holder learns it at its next word'
complete -c swarmctl -n '__swarmctl_first' -a 'edit' -d 'change items that nobody holds'
complete -c swarmctl -n '__swarmctl_first' -a 'pause' -d 'no claims; holders may finish'
complete -c swarmctl -n '__swarmctl_first' -a 'resume' -d 'end a pause'
complete -c swarmctl -n '__swarmctl_first' -a 'register' -d 'say who an agent is and what it can do'
complete -c swarmctl -n '__swarmctl_first' -a 'limit' -d 'at most N items of it are held at a time; 0: no limit'
complete -c swarmctl -n '__swarmctl_first' -a 'export' -d 'everything but leases, as JSON lines'
complete -c swarmctl -n '__swarmctl_first' -a 'import' -d 'take in what export wrote, or the old system\'s files'
complete -c swarmctl -n '__swarmctl_first' -a 'status' -d 'the daemon, its queue and its journal'
complete -c swarmctl -n '__swarmctl_first' -a 'dashboard' -d 'the whole on one screen: queues, agents, rates, failures, journal, disk'
complete -c swarmctl -n '__swarmctl_first' -a 'top' -d 'a dashboard that stays; into a log, one after another'
complete -c swarmctl -n '__swarmctl_first' -a 'stats' -d 'what the daemon counts: queue, wal, async, cache, net, memory, gc, threads, locks'
complete -c swarmctl -n '__swarmctl_first' -a 'health' -d 'what is not as it should be: name, severity, since, fact, command'
complete -c swarmctl -n '__swarmctl_first' -a 'backup' -d 'write everything into a file; `swarmshd --restore FILE` makes a daemon of it'
complete -c swarmctl -n '__swarmctl_first' -a 'completion' -d 'the script with which a shell completes command lines'
complete -c swarmctl -n '__swarmctl_first' -a 'install-units' -d 'put the systemd units in place; prints the files'
complete -c swarmctl -n '__swarmctl_first' -a 'help' -d 'help about a verb, about exit statuses (exit), or for agents (agents)'
complete -c swarmctl -n '__swarmctl_first' -a 'queue' -d 'ls, show, set, close, clear, pause, resume, list'
complete -c swarmctl -n '__swarmctl_first' -a 'queues' -d 'the queues and what is in them'
complete -c swarmctl -n '__swarmctl_first' -a 'queue-stats' -d 'the queues and what is in them'
complete -c swarmctl -n '__swarmctl_first' -a 'snapshot' -d 'have a snapshot made now: position, bytes, seconds'
complete -c swarmctl -n '__swarmctl_first' -a 'drain' -d 'no new items, claims go on; `queue set QUEUE closed=no` opens it'
complete -c swarmctl -n '__swarmctl_first' -a 'clear' -d 'cancel the open items of a queue; prints how many'
complete -c swarmctl -n '__swarmctl_first' -a 'agent' -d 'ls, show, quiet, wake, evict, register, list'
complete -c swarmctl -n '__swarmctl_first' -a 'agents' -d 'the agents, what they hold and whether they live'
complete -c swarmctl -n '__swarmctl_first' -a 'config' -d 'show, get, set, unset, reload, ls, list'
complete -c swarmctl -n '__swarmctl_first' -a 'reload' -d 'have the daemon read its file again; prints what changed'
complete -c swarmctl -n '__swarmctl_first' -a 'journal' -d 'list, check, dump, repair, archive, upgrade, snapshot, reindex, ls'
complete -c swarmctl -n '__swarmctl_first' -a 'doctor' -d 'the tuning guide\'s checklist: number, verdict, point, fact, command'
complete -c swarmctl -n '__swarmctl_first' -a 'quiet' -d 'it gets no new items'
complete -c swarmctl -n '__swarmctl_first' -a 'wake' -d 'end quiet'
complete -c swarmctl -n '__swarmctl_first' -a 'evict' -d 'take back what it holds and forget it; prints how many items went back'
complete -c swarmctl -n '__swarmctl_first' -a 'index' -d 'rebuild'
complete -c swarmctl -n '__swarmctl_first' -a 'tune' -d 'disk, check'
complete -c swarmctl -n '__swarmctl_noun queue' -a 'ls' -d 'the queues and what is in them'
complete -c swarmctl -n '__swarmctl_noun queue' -a 'show' -d 'a queue and its settings'
complete -c swarmctl -n '__swarmctl_noun queue' -a 'set' -d 'limit, max-length, lease, max-attempts, crash-cap, stall-after, closed'
complete -c swarmctl -n '__swarmctl_noun queue' -a 'close' -d 'no new items, claims go on; `queue set QUEUE closed=no` opens it'
complete -c swarmctl -n '__swarmctl_noun queue' -a 'clear' -d 'cancel the open items of a queue; prints how many'
complete -c swarmctl -n '__swarmctl_noun queue' -a 'pause' -d 'no claims; holders may finish'
complete -c swarmctl -n '__swarmctl_noun queue' -a 'resume' -d 'end a pause'
complete -c swarmctl -n '__swarmctl_noun queue' -a 'list' -d 'the queues and what is in them'
complete -c swarmctl -n '__swarmctl_noun agent' -a 'ls' -d 'the agents, what they hold and whether they live'
complete -c swarmctl -n '__swarmctl_noun agent' -a 'show' -d 'one agent'
complete -c swarmctl -n '__swarmctl_noun agent' -a 'quiet' -d 'it gets no new items'
complete -c swarmctl -n '__swarmctl_noun agent' -a 'wake' -d 'end quiet'
complete -c swarmctl -n '__swarmctl_noun agent' -a 'evict' -d 'take back what it holds and forget it; prints how many items went back'
complete -c swarmctl -n '__swarmctl_noun agent' -a 'register' -d 'say who an agent is and what it can do'
complete -c swarmctl -n '__swarmctl_noun agent' -a 'list' -d 'the agents, what they hold and whether they live'
complete -c swarmctl -n '__swarmctl_noun config' -a 'show' -d 'the settings: name, value, unit, source, live or restart, default, bounds, meaning'
complete -c swarmctl -n '__swarmctl_noun config' -a 'get' -d 'the value of a setting'
complete -c swarmctl -n '__swarmctl_noun config' -a 'set' -d 'change settings of the running daemon, until it ends'
complete -c swarmctl -n '__swarmctl_noun config' -a 'unset' -d 'take back what `config set` changed'
complete -c swarmctl -n '__swarmctl_noun config' -a 'reload' -d 'have the daemon read its file again; prints what changed'
complete -c swarmctl -n '__swarmctl_noun config' -a 'ls' -d 'the settings: name, value, unit, source, live or restart, default, bounds, meaning'
complete -c swarmctl -n '__swarmctl_noun config' -a 'list' -d 'the settings: name, value, unit, source, live or restart, default, bounds, meaning'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'list' -d 'the journal\'s files: kind, file, bytes, positions, epoch'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'check' -d 'verify every byte, replay it, and measure append, sync and read'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'dump' -d 'every event that is left, one JSON object a line'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'repair' -d 'make a sound journal of what is sound of a damaged one, and say what is lost'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'archive' -d 'compress what is old enough, remove what is too old or too much'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'upgrade' -d 'have the newest journal format written: format, rows, what this program writes, what is to do'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'snapshot' -d 'have a snapshot made now: position, bytes, seconds'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'reindex' -d 'go through the indexes: items, how many entries differed, seconds'
complete -c swarmctl -n '__swarmctl_noun journal' -a 'ls' -d 'the journal\'s files: kind, file, bytes, positions, epoch'
complete -c swarmctl -n '__swarmctl_noun index' -a 'rebuild' -d 'go through the indexes: items, how many entries differed, seconds'
complete -c swarmctl -n '__swarmctl_noun tune' -a 'disk' -d 'the settings of the disks below the journal, as `swarmsh-tune` has them'
complete -c swarmctl -n '__swarmctl_noun tune' -a 'check' -d 'the tuning guide\'s checklist: number, verdict, point, fact, command'

complete -c swarmctl -n '__swarmctl_at any submit' -s p -l priority -d 'low, medium, high or critical (medium)' -r -k -a 'critical high medium low' -f
complete -c swarmctl -n '__swarmctl_at any submit' -l queue -d 'the queue (default: $SWARMSH_QUEUE, else default)' -r -k -a '(__swarmctl_ask queues)' -f
complete -c swarmctl -n '__swarmctl_at any submit' -l team -d 'the team that it is meant for' -r -k -a '(__swarmctl_ask teams)' -f
complete -c swarmctl -n '__swarmctl_at any submit' -l payload -d 'the bytes that whoever does the work gets' -r -F
complete -c swarmctl -n '__swarmctl_at any submit' -l delay -d 'not before that time has passed' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l at -d 'not before this time (RFC 3339, or a duration from now)' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l after -d 'not before these items are done' -r -k -a '(__swarmctl_ask items | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any submit' -l on-failure -d 'when one of them fails for good: hold, cancel or run (hold)' -r -k -a 'hold cancel run' -f
complete -c swarmctl -n '__swarmctl_at any submit' -l require -d 'only for agents with these labels' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l group -d 'the group that it belongs to' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l ref -d 'a name of your own for it, accepted wherever an id is' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l unique -d 'if an open item has this key, print that one\'s id instead' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l unique-strict -d 'the same, but refuse with status 5' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l max-attempts -d 'failures before it is buried' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l lease -d 'how long a claim lasts without a word from its holder' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l max-runtime -d 'longest time of one attempt' -r -f
complete -c swarmctl -n '__swarmctl_at any submit' -l from -d 'many items: one JSON object a line, the option names as its keys' -r -F
complete -c swarmctl -n '__swarmctl_at any submit' -l all-or-nothing -d 'with --from: every line or none'
complete -c swarmctl -n '__swarmctl_at 0 submit' -k -a '(__swarmctl_ask types)' -f

complete -c swarmctl -n '__swarmctl_at any claim' -l queue -d 'from these queues, \'*\' for every one (default: $SWARMSH_QUEUE, else default)' -r -k -a '(__swarmctl_ask queues | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any claim' -l type -d 'only of these types' -r -k -a '(__swarmctl_ask types | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any claim' -l team -d 'only of these teams' -r -k -a '(__swarmctl_ask teams | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any claim' -l count -d 'take up to so many (1)' -r -f
complete -c swarmctl -n '__swarmctl_at any claim' -l wait -d 'wait so long for one to come' -r -f
complete -c swarmctl -n '__swarmctl_at any claim' -l lease -d 'how long a claim lasts without a word from its holder' -r -f
complete -c swarmctl -n '__swarmctl_at any claim' -l resume -d 'first what this agent already holds, with new tokens'
complete -c swarmctl -n '__swarmctl_at any claim' -l export -d 'print shell assignments for eval'
complete -c swarmctl -n '__swarmctl_at any claim' -l id -d 'this item and no other' -r -k -a '(__swarmctl_ask items)' -f
complete -c swarmctl -n '__swarmctl_at any claim' -l pid -d 'the process to watch; auto: the nearest ancestor that is not a shell' -r -k -a 'auto' -f
complete -c swarmctl -n '__swarmctl_at any claim' -l payload -d 'the bytes that whoever does the work gets' -r -F
complete -c swarmctl -n '__swarmctl_at any claim' -l group -d 'the group that it belongs to' -r -f
complete -c swarmctl -n '__swarmctl_at any claim' -l ref -d 'a name of your own for it, accepted wherever an id is' -r -f
complete -c swarmctl -n '__swarmctl_at any claim' -l max-runtime -d 'longest time of one attempt' -r -f
complete -c swarmctl -n '__swarmctl_at any claim' -l max-attempts -d 'failures before it is buried' -r -f
complete -c swarmctl -n '__swarmctl_at 0 claim' -k -a '(__swarmctl_ask types)' -f
complete -c swarmctl -n '__swarmctl_at 2 claim' -k -a 'critical high medium low' -f
complete -c swarmctl -n '__swarmctl_at 3 claim' -k -a '(__swarmctl_ask teams)' -f

complete -c swarmctl -n '__swarmctl_at any heartbeat' -l async -d 'do not wait for the disk: recorded with others within 5 s, or lost by a crash'
complete -c swarmctl -n '__swarmctl_at 0+ heartbeat' -k -a '(__swarmctl_ask claimed)' -f

complete -c swarmctl -n '__swarmctl_at any progress' -s m -l message -d 'a line about what is going on' -r -f
complete -c swarmctl -n '__swarmctl_at any progress' -l checkpoint -d 'what the next holder needs to go on from here (4 KiB)' -r -F
complete -c swarmctl -n '__swarmctl_at any progress' -l async -d 'do not wait for the disk: recorded with others within 5 s, or lost by a crash'
complete -c swarmctl -n '__swarmctl_at 0 progress' -k -a '(__swarmctl_ask claimed)' -f

complete -c swarmctl -n '__swarmctl_at any complete' -l output -d 'what the work printed; its tail is kept' -r -F
complete -c swarmctl -n '__swarmctl_at any complete' -l result -d 'the result itself, for `get ID result`' -r -F
complete -c swarmctl -n '__swarmctl_at any complete' -l note -d 'a word about the result' -r -f
complete -c swarmctl -n '__swarmctl_at 0 complete' -k -a '(__swarmctl_ask claimed)' -f
complete -c swarmctl -n '__swarmctl_at 1 complete' -k -a 'success failed blocked (__swarmctl_ask claimed)' -f
complete -c swarmctl -n '__swarmctl_at 2+ complete' -k -a '(__swarmctl_ask claimed)' -f

complete -c swarmctl -n '__swarmctl_at any fail' -s m -l message -d 'why' -r -f
complete -c swarmctl -n '__swarmctl_at any fail' -l retry-after -d 'when to try again, instead of the backoff' -r -f
complete -c swarmctl -n '__swarmctl_at any fail' -l no-retry -d 'bury it at once'
complete -c swarmctl -n '__swarmctl_at any fail' -l output -d 'what the work printed; its tail is kept' -r -F
complete -c swarmctl -n '__swarmctl_at 0 fail' -k -a '(__swarmctl_ask claimed)' -f

complete -c swarmctl -n '__swarmctl_at any release' -l delay -d 'not before that time has passed' -r -f
complete -c swarmctl -n '__swarmctl_at any release' -l note -d 'a word for the next holder' -r -f
complete -c swarmctl -n '__swarmctl_at any release' -l unbegun -d 'nothing was done on it: it does not count towards RELEASE_CAP'
complete -c swarmctl -n '__swarmctl_at any release' -l mine -d 'only what this agent (see whoami) holds'
complete -c swarmctl -n '__swarmctl_at 0+ release' -k -a '(__swarmctl_ask claimed)' -f

complete -c swarmctl -n '__swarmctl_at any work' -s j -l jobs -d 'COMMANDs at a time (1, or $PARALLEL_JOBS)' -r -f
complete -c swarmctl -n '__swarmctl_at any work' -l queue -d 'from these queues, \'*\' for every one (default: $SWARMSH_QUEUE, else default)' -r -k -a '(__swarmctl_ask queues | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any work' -l type -d 'only of these types' -r -k -a '(__swarmctl_ask types | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any work' -l team -d 'only of these teams' -r -k -a '(__swarmctl_ask teams | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any work' -l lease -d 'how long a claim lasts without a word from its holder' -r -f
complete -c swarmctl -n '__swarmctl_at any work' -l once -d 'one item, then end (3 if there was none)'
complete -c swarmctl -n '__swarmctl_at any work' -l until-empty -d 'end when nothing can be claimed (1 if one failed)'
complete -c swarmctl -n '__swarmctl_at any work' -l max-failures -d 'end with 1 after so many failures in a row (20; 0: never)' -r -f
complete -c swarmctl -n '__swarmctl_at any work' -l grace -d 'from SIGTERM to SIGKILL (10s)' -r -f
complete -c swarmctl -n '__swarmctl_at any work' -l tail -d 'how much of the end of COMMAND\'s output is kept (64K)' -r -f

complete -c swarmctl -n '__swarmctl_at any lock' -l wait -d 'wait so long while another has it (not at all)' -r -f
complete -c swarmctl -n '__swarmctl_at any lock' -l lease -d 'how long a claim lasts without a word from its holder' -r -f
complete -c swarmctl -n '__swarmctl_at any lock' -l grace -d 'from SIGTERM to SIGKILL (10s)' -r -f
complete -c swarmctl -n '__swarmctl_at any lock' -l conflict-exit -d 'exit status when another has it (3)' -r -f
complete -c swarmctl -n '__swarmctl_at 0 lock' -k -a '(__swarmctl_ask locks)' -f

complete -c swarmctl -n '__swarmctl_at any unlock' -l force -d 'take it from whoever has it (admins)'
complete -c swarmctl -n '__swarmctl_at 0 unlock' -k -a '(__swarmctl_ask locks)' -f

complete -c swarmctl -n '__swarmctl_at any hold' -l pid -d 'the process to watch; auto: the nearest ancestor that is not a shell' -r -k -a 'auto' -f
complete -c swarmctl -n '__swarmctl_at 0 hold' -k -a '(__swarmctl_ask claimed)' -f

complete -c swarmctl -n '__swarmctl_at any bury' -s m -l message -d 'why' -r -f
complete -c swarmctl -n '__swarmctl_at any bury' -l output -d 'what the work printed; its tail is kept' -r -F
complete -c swarmctl -n '__swarmctl_at 0 bury' -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at any list' -l state -d 'only in these states' -r -k -a '(printf \'%s\\n\' scheduled blocked ready claimed buried done cancelled | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any list' -l queue -d 'only of these queues' -r -k -a '(__swarmctl_ask queues | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any list' -l type -d 'only of these types' -r -k -a '(__swarmctl_ask types | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any list' -l team -d 'only of these teams' -r -k -a '(__swarmctl_ask teams | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any list' -l agent -d 'only what this agent holds' -r -k -a '(__swarmctl_ask agents)' -f
complete -c swarmctl -n '__swarmctl_at any list' -l mine -d 'only what this agent (see whoami) holds'
complete -c swarmctl -n '__swarmctl_at any list' -l group -d 'all items of this group' -r -f
complete -c swarmctl -n '__swarmctl_at any list' -l older -d 'only what was submitted longer ago than that' -r -f
complete -c swarmctl -n '__swarmctl_at any list' -l since -d 'only what came into its state since then (-8h, 03:00, RFC 3339)' -r -f
complete -c swarmctl -n '__swarmctl_at any list' -l limit -d 'so many rows (50); 0: no limit' -r -f
complete -c swarmctl -n '__swarmctl_at any list' -l after-id -d 'rows after this id' -r -f
complete -c swarmctl -n '__swarmctl_at any list' -l all -d 'every state, no limit'

complete -c swarmctl -n '__swarmctl_at 0+ show' -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at any count' -l state -d 'only in these states' -r -k -a '(printf \'%s\\n\' scheduled blocked ready claimed buried done cancelled | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any count' -l queue -d 'only of these queues' -r -k -a '(__swarmctl_ask queues | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any count' -l type -d 'only of these types' -r -k -a '(__swarmctl_ask types | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any count' -l team -d 'only of these teams' -r -k -a '(__swarmctl_ask teams | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any count' -l agent -d 'only what this agent holds' -r -k -a '(__swarmctl_ask agents)' -f
complete -c swarmctl -n '__swarmctl_at any count' -l mine -d 'only what this agent (see whoami) holds'
complete -c swarmctl -n '__swarmctl_at any count' -l group -d 'all items of this group' -r -f
complete -c swarmctl -n '__swarmctl_at any count' -l older -d 'only what was submitted longer ago than that' -r -f
complete -c swarmctl -n '__swarmctl_at any count' -l since -d 'only what came into its state since then (-8h, 03:00, RFC 3339)' -r -f
complete -c swarmctl -n '__swarmctl_at any count' -l all -d 'every state'
complete -c swarmctl -n '__swarmctl_at any count' -l by -d 'one number for each state, queue, type, team, agent or group' -r -k -a 'state queue type team agent group' -f

complete -c swarmctl -n '__swarmctl_at any get' -s o -l to -d 'write to FILE instead of stdout' -r -F
complete -c swarmctl -n '__swarmctl_at 0 get' -k -a '(__swarmctl_ask items)' -f
complete -c swarmctl -n '__swarmctl_at 1 get' -k -a 'payload checkpoint output result' -f


complete -c swarmctl -n '__swarmctl_at any explain' -l agent -d 'why this agent does not get it; without ids: why it gets nothing' -r -k -a '(__swarmctl_ask agents)' -f
complete -c swarmctl -n '__swarmctl_at any explain' -l queue -d 'why nothing of this queue is claimed; with --agent: by that agent' -r -k -a '(__swarmctl_ask queues)' -f
complete -c swarmctl -n '__swarmctl_at 0+ explain' -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at any deps' -l mermaid -d 'a drawing for a page, in the words of Mermaid'
complete -c swarmctl -n '__swarmctl_at 0 deps' -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at 0+ locks' -k -a '(__swarmctl_ask locks)' -f

complete -c swarmctl -n '__swarmctl_at any wait' -l group -d 'all items of this group' -r -f
complete -c swarmctl -n '__swarmctl_at any wait' -l any -d 'until one has ended, not all'
complete -c swarmctl -n '__swarmctl_at any wait' -l timeout -d 'give up after that time (never)' -r -f
complete -c swarmctl -n '__swarmctl_at 0+ wait' -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at any watch' -l since -d 'what happened after that position, or since -8h, 03:00, … (now)' -r -f
complete -c swarmctl -n '__swarmctl_at any watch' -l queue -d 'only of these queues' -r -k -a '(__swarmctl_ask queues | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any watch' -l type -d 'only of these types' -r -k -a '(__swarmctl_ask types | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any watch' -l group -d 'all items of this group' -r -f
complete -c swarmctl -n '__swarmctl_at any watch' -l until-change -d 'end with the first event'
complete -c swarmctl -n '__swarmctl_at any watch' -l timeout -d 'end after that time (never)' -r -f
complete -c swarmctl -n '__swarmctl_at 0+ watch' -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at any history' -l since -d 'only what happened since then (-8h, 03:00, RFC 3339)' -r -f
complete -c swarmctl -n '__swarmctl_at any history' -l until -d 'only what happened before' -r -f
complete -c swarmctl -n '__swarmctl_at 0+ history' -k -a '(__swarmctl_ask items)' -f


complete -c swarmctl -n '__swarmctl_at any kick' -l queue -d 'buried items of this queue' -r -k -a '(__swarmctl_ask queues)' -f
complete -c swarmctl -n '__swarmctl_at any kick' -l group -d 'all items of this group' -r -f
complete -c swarmctl -n '__swarmctl_at any kick' -l count -d 'so many at most (1000)' -r -f
complete -c swarmctl -n '__swarmctl_at 0+ kick' -k -a '(__swarmctl_ask buried)' -f

complete -c swarmctl -n '__swarmctl_at any cancel' -s m -l message -d 'why' -r -f
complete -c swarmctl -n '__swarmctl_at any cancel' -l group -d 'all items of this group' -r -f
complete -c swarmctl -n '__swarmctl_at 0+ cancel' -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at any edit' -s p -l priority -d 'low, medium, high or critical' -r -k -a 'critical high medium low' -f
complete -c swarmctl -n '__swarmctl_at any edit' -l queue -d 'move it there' -r -k -a '(__swarmctl_ask queues)' -f
complete -c swarmctl -n '__swarmctl_at any edit' -l delay -d 'not before that time has passed' -r -f
complete -c swarmctl -n '__swarmctl_at 0+ edit' -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at any pause' -l all -d 'every queue'
complete -c swarmctl -n '__swarmctl_at any pause' -l hard -d 'with --all: running work is told to stop as well'
complete -c swarmctl -n '__swarmctl_at any pause' -l for -d 'it ends by itself after that time, over restarts too' -r -f
complete -c swarmctl -n '__swarmctl_at any pause' -s m -l message -d 'why' -r -f
complete -c swarmctl -n '__swarmctl_at 0+ pause' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any resume' -l all -d 'end the pause of every queue'
complete -c swarmctl -n '__swarmctl_at 0+ resume' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any queue ls' -l stats -d 'what went through since the daemon started, who waits, and the index'
complete -c swarmctl -n '__swarmctl_at 0+ queue ls' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at 0+ queue show' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at 0 queue set' -k -a '(__swarmctl_ask queues)' -f
complete -c swarmctl -n '__swarmctl_at 1+ queue set' -k -a 'limit= max-length= lease= max-attempts= crash-cap= stall-after= closed=' -f

complete -c swarmctl -n '__swarmctl_at 0+ queue close' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any queue clear' -l state -d 'only in these states (ready, scheduled, blocked, buried)' -r -k -a '(printf \'%s\\n\' scheduled blocked ready claimed buried done cancelled | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any queue clear' -l older -d 'only what was submitted longer ago than that' -r -f
complete -c swarmctl -n '__swarmctl_at any queue clear' -l held -d 'what agents hold as well; they learn it at their next word'
complete -c swarmctl -n '__swarmctl_at any queue clear' -s m -l message -d 'why' -r -f
complete -c swarmctl -n '__swarmctl_at any queue clear' -l yes -d 'do not ask'
complete -c swarmctl -n '__swarmctl_at 0 queue clear' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any register' -l slots -d 'items that it may hold at a time (0: no limit)' -r -f
complete -c swarmctl -n '__swarmctl_at any register' -l label -d 'what it can do; items may require it' -r -f
complete -c swarmctl -n '__swarmctl_at any register' -l heartbeat -d 'it promises a word every D; without one it is suspect' -r -f
complete -c swarmctl -n '__swarmctl_at any register' -l pid -d 'the process to watch; auto: the nearest ancestor that is not a shell' -r -k -a 'auto' -f
complete -c swarmctl -n '__swarmctl_at any register' -l takeover -d 'fence off a living process that has this name'
complete -c swarmctl -n '__swarmctl_at 0 register' -k -a '(__swarmctl_ask agents)' -f
complete -c swarmctl -n '__swarmctl_at 1 register' -k -a '(__swarmctl_ask teams)' -f

complete -c swarmctl -n '__swarmctl_at 0+ agent ls' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0+ agent show' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0+ agent quiet' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0+ agent wake' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0+ agent evict' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0 limit' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any export' -l state -d 'only in these states' -r -k -a '(printf \'%s\\n\' scheduled blocked ready claimed buried done cancelled | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any export' -l queue -d 'only of these queues' -r -k -a '(__swarmctl_ask queues | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any export' -l type -d 'only of these types' -r -k -a '(__swarmctl_ask types | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any export' -l team -d 'only of these teams' -r -k -a '(__swarmctl_ask teams | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any export' -l group -d 'all items of this group' -r -f
complete -c swarmctl -n '__swarmctl_at any export' -s o -l to -d 'write to FILE, which is replaced when all is written (stdout)' -r -F
complete -c swarmctl -n '__swarmctl_at any export' -l legacy -d 'write the old system\'s files into DIR instead' -r -F
complete -c swarmctl -n '__swarmctl_at any export' -l force -d 'with --legacy: replace files that export did not write'

complete -c swarmctl -n '__swarmctl_at any import' -l dry-run -d 'only say what would come in'
complete -c swarmctl -n '__swarmctl_at any import' -l claimed -d 'what is held there: hold, ready or keep (hold)' -r -k -a 'hold ready keep' -f
complete -c swarmctl -n '__swarmctl_at 0+ import' -F


complete -c swarmctl -n '__swarmctl_at any dashboard' -l live -d 'again and again, as `top` does'
complete -c swarmctl -n '__swarmctl_at any dashboard' -l every -d 'the time between two looks (2s)' -r -f
complete -c swarmctl -n '__swarmctl_at any dashboard' -l rows -d 'so many queues, agents and failures at most, instead of what fits' -r -f

complete -c swarmctl -n '__swarmctl_at any top' -l every -d 'the time between two looks (2s)' -r -f
complete -c swarmctl -n '__swarmctl_at any top' -l rows -d 'so many queues, agents and failures at most, instead of what fits' -r -f

complete -c swarmctl -n '__swarmctl_at any stats' -l watch -d 'again every second, until it is interrupted'


complete -c swarmctl -n '__swarmctl_at 0+ config show' -k -a 'BATCH_SIZE BATCH_TIMEOUT BATCH_MODE BATCH_FLUSH_INTERVAL ASYNC_OPERATIONS ASYNC_BUFFER_SIZE ASYNC_FLUSH_INTERVAL WAL_ENABLED WAL_SYNC_INTERVAL DIRECT_IO IO_BUFFER_SIZE MMAP_ENABLED JOURNAL_ROTATION_MB JOURNAL_RESERVE_MB MAX_DISK_MB JOURNAL_COMPRESSION_AGE_DAYS JOURNAL_RETENTION_DAYS ARCHIVE_MAX_MB FLOCK_TIMEOUT FLOCK_RETRIES FLOCK_BACKOFF_MS LOCK_RETRY_MULTIPLIER ADAPTIVE_LOCKING STOP_TIMEOUT LEASE LEASE_MAX STALL_AFTER MAX_ATTEMPTS BACKOFF_BASE BACKOFF_MAX CRASH_CAP RELEASE_CAP RETAIN_DONE RETAIN_DONE_ITEMS RETAIN_DONE_MB WORK_QUEUE_INDEX_ENABLED WORK_QUEUE_SHARDING MAX_ITEMS QUEUE_MAX_LENGTH QUEUES AGENTS PAYLOAD_MAX CHECKPOINT_MAX OUTPUT_TAIL DESCRIPTION_MAX KEYS_MAX WAITERS_MAX WATCH_RING IN_FLIGHT_MAX CACHE_ENABLED CACHE_TTL CACHE_MAX_SIZE CACHE_COMPRESSION PROCESS_MEMORY_LIMIT_MB MEMORY_WARNING_THRESHOLD_PCT MEMORY_CRITICAL_THRESHOLD_PCT GC_ENABLED GC_INTERVAL GC_THRESHOLD_MB GC_AGGRESSIVE PARALLEL_WORKERS MAX_CONNECTIONS FRAME_MAX CONNECTION_POOL_SIZE CONNECTION_POOL_TIMEOUT CONNECTION_REUSE_ENABLED SOCKET_BUFFER_SIZE PARALLEL_JOBS SOCKET_MODE REQUIRE_TOKEN ACCESS_READ ACCESS_WORK ACCESS_ADMIN LOG_LEVEL' -f

complete -c swarmctl -n '__swarmctl_at 0+ config get' -k -a 'BATCH_SIZE BATCH_TIMEOUT BATCH_MODE BATCH_FLUSH_INTERVAL ASYNC_OPERATIONS ASYNC_BUFFER_SIZE ASYNC_FLUSH_INTERVAL WAL_ENABLED WAL_SYNC_INTERVAL DIRECT_IO IO_BUFFER_SIZE MMAP_ENABLED JOURNAL_ROTATION_MB JOURNAL_RESERVE_MB MAX_DISK_MB JOURNAL_COMPRESSION_AGE_DAYS JOURNAL_RETENTION_DAYS ARCHIVE_MAX_MB FLOCK_TIMEOUT FLOCK_RETRIES FLOCK_BACKOFF_MS LOCK_RETRY_MULTIPLIER ADAPTIVE_LOCKING STOP_TIMEOUT LEASE LEASE_MAX STALL_AFTER MAX_ATTEMPTS BACKOFF_BASE BACKOFF_MAX CRASH_CAP RELEASE_CAP RETAIN_DONE RETAIN_DONE_ITEMS RETAIN_DONE_MB WORK_QUEUE_INDEX_ENABLED WORK_QUEUE_SHARDING MAX_ITEMS QUEUE_MAX_LENGTH QUEUES AGENTS PAYLOAD_MAX CHECKPOINT_MAX OUTPUT_TAIL DESCRIPTION_MAX KEYS_MAX WAITERS_MAX WATCH_RING IN_FLIGHT_MAX CACHE_ENABLED CACHE_TTL CACHE_MAX_SIZE CACHE_COMPRESSION PROCESS_MEMORY_LIMIT_MB MEMORY_WARNING_THRESHOLD_PCT MEMORY_CRITICAL_THRESHOLD_PCT GC_ENABLED GC_INTERVAL GC_THRESHOLD_MB GC_AGGRESSIVE PARALLEL_WORKERS MAX_CONNECTIONS FRAME_MAX CONNECTION_POOL_SIZE CONNECTION_POOL_TIMEOUT CONNECTION_REUSE_ENABLED SOCKET_BUFFER_SIZE PARALLEL_JOBS SOCKET_MODE REQUIRE_TOKEN ACCESS_READ ACCESS_WORK ACCESS_ADMIN LOG_LEVEL' -f

complete -c swarmctl -n '__swarmctl_at any config set' -l persist -d 'write it into the daemon\'s file, so that a restart keeps it'
complete -c swarmctl -n '__swarmctl_at 0+ config set' -k -a 'BATCH_SIZE= BATCH_TIMEOUT= BATCH_MODE= BATCH_FLUSH_INTERVAL= ASYNC_OPERATIONS= ASYNC_BUFFER_SIZE= ASYNC_FLUSH_INTERVAL= WAL_ENABLED= WAL_SYNC_INTERVAL= DIRECT_IO= IO_BUFFER_SIZE= MMAP_ENABLED= JOURNAL_ROTATION_MB= JOURNAL_RESERVE_MB= MAX_DISK_MB= JOURNAL_COMPRESSION_AGE_DAYS= JOURNAL_RETENTION_DAYS= ARCHIVE_MAX_MB= FLOCK_TIMEOUT= FLOCK_RETRIES= FLOCK_BACKOFF_MS= LOCK_RETRY_MULTIPLIER= ADAPTIVE_LOCKING= STOP_TIMEOUT= LEASE= LEASE_MAX= STALL_AFTER= MAX_ATTEMPTS= BACKOFF_BASE= BACKOFF_MAX= CRASH_CAP= RELEASE_CAP= RETAIN_DONE= RETAIN_DONE_ITEMS= RETAIN_DONE_MB= WORK_QUEUE_INDEX_ENABLED= WORK_QUEUE_SHARDING= MAX_ITEMS= QUEUE_MAX_LENGTH= QUEUES= AGENTS= PAYLOAD_MAX= CHECKPOINT_MAX= OUTPUT_TAIL= DESCRIPTION_MAX= KEYS_MAX= WAITERS_MAX= WATCH_RING= IN_FLIGHT_MAX= CACHE_ENABLED= CACHE_TTL= CACHE_MAX_SIZE= CACHE_COMPRESSION= PROCESS_MEMORY_LIMIT_MB= MEMORY_WARNING_THRESHOLD_PCT= MEMORY_CRITICAL_THRESHOLD_PCT= GC_ENABLED= GC_INTERVAL= GC_THRESHOLD_MB= GC_AGGRESSIVE= PARALLEL_WORKERS= MAX_CONNECTIONS= FRAME_MAX= CONNECTION_POOL_SIZE= CONNECTION_POOL_TIMEOUT= CONNECTION_REUSE_ENABLED= SOCKET_BUFFER_SIZE= PARALLEL_JOBS= SOCKET_MODE= REQUIRE_TOKEN= ACCESS_READ= ACCESS_WORK= ACCESS_ADMIN= LOG_LEVEL=' -f

complete -c swarmctl -n '__swarmctl_at 0+ config unset' -k -a 'BATCH_SIZE BATCH_TIMEOUT BATCH_MODE BATCH_FLUSH_INTERVAL ASYNC_OPERATIONS ASYNC_BUFFER_SIZE ASYNC_FLUSH_INTERVAL WAL_ENABLED WAL_SYNC_INTERVAL DIRECT_IO IO_BUFFER_SIZE MMAP_ENABLED JOURNAL_ROTATION_MB JOURNAL_RESERVE_MB MAX_DISK_MB JOURNAL_COMPRESSION_AGE_DAYS JOURNAL_RETENTION_DAYS ARCHIVE_MAX_MB FLOCK_TIMEOUT FLOCK_RETRIES FLOCK_BACKOFF_MS LOCK_RETRY_MULTIPLIER ADAPTIVE_LOCKING STOP_TIMEOUT LEASE LEASE_MAX STALL_AFTER MAX_ATTEMPTS BACKOFF_BASE BACKOFF_MAX CRASH_CAP RELEASE_CAP RETAIN_DONE RETAIN_DONE_ITEMS RETAIN_DONE_MB WORK_QUEUE_INDEX_ENABLED WORK_QUEUE_SHARDING MAX_ITEMS QUEUE_MAX_LENGTH QUEUES AGENTS PAYLOAD_MAX CHECKPOINT_MAX OUTPUT_TAIL DESCRIPTION_MAX KEYS_MAX WAITERS_MAX WATCH_RING IN_FLIGHT_MAX CACHE_ENABLED CACHE_TTL CACHE_MAX_SIZE CACHE_COMPRESSION PROCESS_MEMORY_LIMIT_MB MEMORY_WARNING_THRESHOLD_PCT MEMORY_CRITICAL_THRESHOLD_PCT GC_ENABLED GC_INTERVAL GC_THRESHOLD_MB GC_AGGRESSIVE PARALLEL_WORKERS MAX_CONNECTIONS FRAME_MAX CONNECTION_POOL_SIZE CONNECTION_POOL_TIMEOUT CONNECTION_REUSE_ENABLED SOCKET_BUFFER_SIZE PARALLEL_JOBS SOCKET_MODE REQUIRE_TOKEN ACCESS_READ ACCESS_WORK ACCESS_ADMIN LOG_LEVEL' -f


complete -c swarmctl -n '__swarmctl_at any journal list' -l state-dir -d 'without asking a daemon: the state directory of one that does not run' -r -F

complete -c swarmctl -n '__swarmctl_at any journal check' -l state-dir -d 'without asking a daemon: the state directory of one that does not run' -r -F
complete -c swarmctl -n '__swarmctl_at any journal check' -l deep -d 'make the newest snapshot anew from the one before it, and compare'
complete -c swarmctl -n '__swarmctl_at any journal check' -l digest -d 'compare with the state that the daemon has at that position'
complete -c swarmctl -n '__swarmctl_at any journal check' -l no-measure -d 'do not measure the disk'

complete -c swarmctl -n '__swarmctl_at any journal dump' -l state-dir -d 'without asking a daemon: the state directory of one that does not run' -r -F
complete -c swarmctl -n '__swarmctl_at any journal dump' -l since -d 'only what happened after it' -r -f
complete -c swarmctl -n '__swarmctl_at any journal dump' -l id -d 'only what happened to this item' -r -k -a '(__swarmctl_ask items)' -f

complete -c swarmctl -n '__swarmctl_at any journal repair' -l state-dir -d 'without asking a daemon: the state directory of one that does not run' -r -F
complete -c swarmctl -n '__swarmctl_at any journal repair' -l to -d 'an empty directory, or one that is not there yet' -r -F

complete -c swarmctl -n '__swarmctl_at any journal archive' -l state-dir -d 'without asking a daemon: the state directory of one that does not run' -r -F
complete -c swarmctl -n '__swarmctl_at any journal archive' -l all -d 'compress all that is archived, whatever its age'
complete -c swarmctl -n '__swarmctl_at any journal archive' -l prune -d 'remove now what is older than that' -r -f
complete -c swarmctl -n '__swarmctl_at any journal archive' -l dry-run -d 'only say what would be done'

complete -c swarmctl -n '__swarmctl_at any journal upgrade' -l state-dir -d 'without asking a daemon: the state directory of one that does not run' -r -F



complete -c swarmctl -n '__swarmctl_at any backup' -l state-dir -d 'without asking a daemon: the state directory of one that does not run' -r -F
complete -c swarmctl -n '__swarmctl_at any backup' -l verify -d 'read the file instead, and say whether it can be restored'

complete -c swarmctl -n '__swarmctl_at any completion' -l of -d 'instead of a script, what there is now, a word and a tab and about it a line' -r -k -a 'queues agents items claimed buried types teams locks' -f
complete -c swarmctl -n '__swarmctl_at 0 completion' -k -a 'bash zsh fish' -f

complete -c swarmctl -n '__swarmctl_at any tune disk' -l device -d 'this disk, instead of those below PATH' -r -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l profile -d 'whose values: report has none and says what is not right (default); or journal' -r -k -a 'report journal' -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l scheduler -d 'one of none, mq-deadline, kyber, bfq' -r -k -a 'none mq-deadline kyber bfq' -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l nr-requests -d 'requests that may queue (4 to 2048)' -r -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l read-ahead-kb -d 'how far is read ahead' -r -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l rq-affinity -d 'where a request completes (0 to 2)' -r -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l nomerges -d 'how little requests are merged (0 to 2)' -r -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l wbt-lat-usec -d 'write-back throttling: 0 off, -1 the kernel\'s own' -r -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l yes -d 'with apply and bench: do it'
complete -c swarmctl -n '__swarmctl_at any tune disk' -l force -d 'with revert: also what somebody else has changed since'
complete -c swarmctl -n '__swarmctl_at any tune disk' -l rounds -d 'with bench: so many pairs (8)' -r -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l writes -d 'with bench: so many writes in each round (64)' -r -f
complete -c swarmctl -n '__swarmctl_at any tune disk' -l root -d 'look at a copy of a host\'s /sys and /proc' -r -F
complete -c swarmctl -n '__swarmctl_at 0 tune disk' -k -a 'show plan apply verify revert persist unpersist bench' -f
complete -c swarmctl -n '__swarmctl_at 1 tune disk' -F


complete -c swarmctl -n '__swarmctl_at any install-units' -l now -d 'enable and start the service as well'
complete -c swarmctl -n '__swarmctl_at any install-units' -l print -d 'print the files instead'
complete -c swarmctl -n '__swarmctl_at any install-units' -l uninstall -d 'stop the service and remove the files; the queue stays'
complete -c swarmctl -n '__swarmctl_at any install-units' -l user -d 'a service of your own, under your user\'s manager; needs no root'
complete -c swarmctl -n '__swarmctl_at any install-units' -l root -d 'write below this directory, for packagers; nothing is run' -r -F
complete -c swarmctl -n '__swarmctl_at any install-units' -l bin-dir -d 'the programs will be there (where this one is)' -r -F

complete -c swarmctl -n '__swarmctl_at any help' -l all -d 'every name that is accepted'
complete -c swarmctl -n '__swarmctl_at 0+ help' -k -a 'submit claim heartbeat progress complete fail release work lock unlock hold bury list show count get held explain deps locks wait watch history whoami kick cancel edit pause resume register limit export import status dashboard top stats health backup completion install-units help queue queues queue-stats snapshot drain clear agent agents config reload journal doctor quiet wake evict index tune exit agents' -f

complete -c swarmctl -n '__swarmctl_at any queue pause' -l all -d 'every queue'
complete -c swarmctl -n '__swarmctl_at any queue pause' -l hard -d 'with --all: running work is told to stop as well'
complete -c swarmctl -n '__swarmctl_at any queue pause' -l for -d 'it ends by itself after that time, over restarts too' -r -f
complete -c swarmctl -n '__swarmctl_at any queue pause' -s m -l message -d 'why' -r -f
complete -c swarmctl -n '__swarmctl_at 0+ queue pause' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any queue resume' -l all -d 'end the pause of every queue'
complete -c swarmctl -n '__swarmctl_at 0+ queue resume' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any queue list' -l stats -d 'what went through since the daemon started, who waits, and the index'
complete -c swarmctl -n '__swarmctl_at 0+ queue list' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any queues' -l stats -d 'what went through since the daemon started, who waits, and the index'
complete -c swarmctl -n '__swarmctl_at 0+ queues' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any queue-stats' -l stats -d 'what went through since the daemon started, who waits, and the index'
complete -c swarmctl -n '__swarmctl_at 0+ queue-stats' -k -a '(__swarmctl_ask queues)' -f



complete -c swarmctl -n '__swarmctl_at 0+ drain' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any clear' -l state -d 'only in these states (ready, scheduled, blocked, buried)' -r -k -a '(printf \'%s\\n\' scheduled blocked ready claimed buried done cancelled | __swarmctl_many)' -f
complete -c swarmctl -n '__swarmctl_at any clear' -l older -d 'only what was submitted longer ago than that' -r -f
complete -c swarmctl -n '__swarmctl_at any clear' -l held -d 'what agents hold as well; they learn it at their next word'
complete -c swarmctl -n '__swarmctl_at any clear' -s m -l message -d 'why' -r -f
complete -c swarmctl -n '__swarmctl_at any clear' -l yes -d 'do not ask'
complete -c swarmctl -n '__swarmctl_at 0 clear' -k -a '(__swarmctl_ask queues)' -f

complete -c swarmctl -n '__swarmctl_at any agent register' -l slots -d 'items that it may hold at a time (0: no limit)' -r -f
complete -c swarmctl -n '__swarmctl_at any agent register' -l label -d 'what it can do; items may require it' -r -f
complete -c swarmctl -n '__swarmctl_at any agent register' -l heartbeat -d 'it promises a word every D; without one it is suspect' -r -f
complete -c swarmctl -n '__swarmctl_at any agent register' -l pid -d 'the process to watch; auto: the nearest ancestor that is not a shell' -r -k -a 'auto' -f
complete -c swarmctl -n '__swarmctl_at any agent register' -l takeover -d 'fence off a living process that has this name'
complete -c swarmctl -n '__swarmctl_at 0 agent register' -k -a '(__swarmctl_ask agents)' -f
complete -c swarmctl -n '__swarmctl_at 1 agent register' -k -a '(__swarmctl_ask teams)' -f

complete -c swarmctl -n '__swarmctl_at 0+ agent list' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0+ agents' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0+ config ls' -k -a 'BATCH_SIZE BATCH_TIMEOUT BATCH_MODE BATCH_FLUSH_INTERVAL ASYNC_OPERATIONS ASYNC_BUFFER_SIZE ASYNC_FLUSH_INTERVAL WAL_ENABLED WAL_SYNC_INTERVAL DIRECT_IO IO_BUFFER_SIZE MMAP_ENABLED JOURNAL_ROTATION_MB JOURNAL_RESERVE_MB MAX_DISK_MB JOURNAL_COMPRESSION_AGE_DAYS JOURNAL_RETENTION_DAYS ARCHIVE_MAX_MB FLOCK_TIMEOUT FLOCK_RETRIES FLOCK_BACKOFF_MS LOCK_RETRY_MULTIPLIER ADAPTIVE_LOCKING STOP_TIMEOUT LEASE LEASE_MAX STALL_AFTER MAX_ATTEMPTS BACKOFF_BASE BACKOFF_MAX CRASH_CAP RELEASE_CAP RETAIN_DONE RETAIN_DONE_ITEMS RETAIN_DONE_MB WORK_QUEUE_INDEX_ENABLED WORK_QUEUE_SHARDING MAX_ITEMS QUEUE_MAX_LENGTH QUEUES AGENTS PAYLOAD_MAX CHECKPOINT_MAX OUTPUT_TAIL DESCRIPTION_MAX KEYS_MAX WAITERS_MAX WATCH_RING IN_FLIGHT_MAX CACHE_ENABLED CACHE_TTL CACHE_MAX_SIZE CACHE_COMPRESSION PROCESS_MEMORY_LIMIT_MB MEMORY_WARNING_THRESHOLD_PCT MEMORY_CRITICAL_THRESHOLD_PCT GC_ENABLED GC_INTERVAL GC_THRESHOLD_MB GC_AGGRESSIVE PARALLEL_WORKERS MAX_CONNECTIONS FRAME_MAX CONNECTION_POOL_SIZE CONNECTION_POOL_TIMEOUT CONNECTION_REUSE_ENABLED SOCKET_BUFFER_SIZE PARALLEL_JOBS SOCKET_MODE REQUIRE_TOKEN ACCESS_READ ACCESS_WORK ACCESS_ADMIN LOG_LEVEL' -f

complete -c swarmctl -n '__swarmctl_at 0+ config list' -k -a 'BATCH_SIZE BATCH_TIMEOUT BATCH_MODE BATCH_FLUSH_INTERVAL ASYNC_OPERATIONS ASYNC_BUFFER_SIZE ASYNC_FLUSH_INTERVAL WAL_ENABLED WAL_SYNC_INTERVAL DIRECT_IO IO_BUFFER_SIZE MMAP_ENABLED JOURNAL_ROTATION_MB JOURNAL_RESERVE_MB MAX_DISK_MB JOURNAL_COMPRESSION_AGE_DAYS JOURNAL_RETENTION_DAYS ARCHIVE_MAX_MB FLOCK_TIMEOUT FLOCK_RETRIES FLOCK_BACKOFF_MS LOCK_RETRY_MULTIPLIER ADAPTIVE_LOCKING STOP_TIMEOUT LEASE LEASE_MAX STALL_AFTER MAX_ATTEMPTS BACKOFF_BASE BACKOFF_MAX CRASH_CAP RELEASE_CAP RETAIN_DONE RETAIN_DONE_ITEMS RETAIN_DONE_MB WORK_QUEUE_INDEX_ENABLED WORK_QUEUE_SHARDING MAX_ITEMS QUEUE_MAX_LENGTH QUEUES AGENTS PAYLOAD_MAX CHECKPOINT_MAX OUTPUT_TAIL DESCRIPTION_MAX KEYS_MAX WAITERS_MAX WATCH_RING IN_FLIGHT_MAX CACHE_ENABLED CACHE_TTL CACHE_MAX_SIZE CACHE_COMPRESSION PROCESS_MEMORY_LIMIT_MB MEMORY_WARNING_THRESHOLD_PCT MEMORY_CRITICAL_THRESHOLD_PCT GC_ENABLED GC_INTERVAL GC_THRESHOLD_MB GC_AGGRESSIVE PARALLEL_WORKERS MAX_CONNECTIONS FRAME_MAX CONNECTION_POOL_SIZE CONNECTION_POOL_TIMEOUT CONNECTION_REUSE_ENABLED SOCKET_BUFFER_SIZE PARALLEL_JOBS SOCKET_MODE REQUIRE_TOKEN ACCESS_READ ACCESS_WORK ACCESS_ADMIN LOG_LEVEL' -f


complete -c swarmctl -n '__swarmctl_at any journal ls' -l state-dir -d 'without asking a daemon: the state directory of one that does not run' -r -F


complete -c swarmctl -n '__swarmctl_at 0+ quiet' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0+ wake' -k -a '(__swarmctl_ask agents)' -f

complete -c swarmctl -n '__swarmctl_at 0+ evict' -k -a '(__swarmctl_ask agents)' -f
