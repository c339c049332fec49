# bash completion for swarmctl(1)
# Made by `swarmctl completion bash` from the table of verbs; do not edit.

# Each verb: its options, where $values has those that take a value; what its positionals are, one word for each.
_swarmctl_verb() {
    case $1 in
        'submit')
            options='-p --priority --queue --team --payload --delay --at --after --on-failure --require --group --ref --unique --unique-strict --max-attempts --lease --max-runtime --from --all-or-nothing'
            values+='-p=critical|high|medium|low --priority=critical|high|medium|low --queue=ask:queues --team=ask:teams --payload=files --delay=- --at=- --after=many:ask:items --on-failure=hold|cancel|run --require=many:- --group=- --ref=- --unique=- --unique-strict=- --max-attempts=- --lease=- --max-runtime=- --from=files '
            places='ask:types -'
            ;;
        'claim')
            options='--queue --type --team --count --wait --lease --resume --export --id --pid --payload --group --ref --max-runtime --max-attempts'
            values+='--queue=many:ask:queues --type=many:ask:types --team=many:ask:teams --count=- --wait=- --lease=- --id=ask:items --pid=auto --payload=files --group=- --ref=- --max-runtime=- --max-attempts=- '
            places='ask:types - critical|high|medium|low ask:teams'
            ;;
        'heartbeat')
            options='--async'
            places='ask:claimed...'
            ;;
        'progress')
            options='-m --message --checkpoint --async'
            values+='-m=- --message=- --checkpoint=files '
            places='ask:claimed - -'
            ;;
        'complete')
            options='--output --result --note'
            values+='--output=files --result=files --note=- '
            places='ask:claimed success|failed|blocked|ask:claimed ask:claimed...'
            ;;
        'fail')
            options='-m --message --retry-after --no-retry --output'
            values+='-m=- --message=- --retry-after=- --output=files '
            places='ask:claimed -'
            ;;
        'release')
            options='--delay --note --unbegun --mine'
            values+='--delay=- --note=- '
            places='ask:claimed...'
            ;;
        'work')
            options='-j --jobs --queue --type --team --lease --once --until-empty --max-failures --grace --tail'
            values+='-j=- --jobs=- --queue=many:ask:queues --type=many:ask:types --team=many:ask:teams --lease=- --max-failures=- --grace=- --tail=- '
            command=yes
            ;;
        'lock')
            options='--wait --lease --grace --conflict-exit'
            values+='--wait=- --lease=- --grace=- --conflict-exit=- '
            command=yes
            places='ask:locks'
            ;;
        'unlock')
            options='--force'
            places='ask:locks'
            ;;
        'hold')
            options='--pid'
            values+='--pid=auto '
            places='ask:claimed'
            ;;
        'bury')
            options='-m --message --output'
            values+='-m=- --message=- --output=files '
            places='ask:items -'
            ;;
        'list')
            options='--state --queue --type --team --agent --mine --group --older --since --limit --after-id --all'
            values+='--state=many:scheduled|blocked|ready|claimed|buried|done|cancelled --queue=many:ask:queues --type=many:ask:types --team=many:ask:teams --agent=ask:agents --group=- --older=- --since=- --limit=- --after-id=- '
            ;;
        'show')
            places='ask:items...'
            ;;
        'count')
            options='--state --queue --type --team --agent --mine --group --older --since --all --by'
            values+='--state=many:scheduled|blocked|ready|claimed|buried|done|cancelled --queue=many:ask:queues --type=many:ask:types --team=many:ask:teams --agent=ask:agents --group=- --older=- --since=- --by=state|queue|type|team|agent|group '
            ;;
        'get')
            options='-o --to'
            values+='-o=files --to=files '
            places='ask:items payload|checkpoint|output|result'
            ;;
        'held')
            ;;
        'explain')
            options='--agent --queue'
            values+='--agent=ask:agents --queue=ask:queues '
            places='ask:items...'
            ;;
        'deps')
            options='--mermaid'
            places='ask:items'
            ;;
        'locks')
            places='ask:locks...'
            ;;
        'wait')
            options='--group --any --timeout'
            values+='--group=- --timeout=- '
            places='ask:items...'
            ;;
        'watch')
            options='--since --queue --type --group --until-change --timeout'
            values+='--since=- --queue=many:ask:queues --type=many:ask:types --group=- --timeout=- '
            places='ask:items...'
            ;;
        'history')
            options='--since --until'
            values+='--since=- --until=- '
            places='ask:items...'
            ;;
        'whoami')
            ;;
        'kick')
            options='--queue --group --count'
            values+='--queue=ask:queues --group=- --count=- '
            places='ask:buried...'
            ;;
        'cancel')
            options='-m --message --group'
            values+='-m=- --message=- --group=- '
            places='ask:items...'
            ;;
        'edit')
            options='-p --priority --queue --delay'
            values+='-p=critical|high|medium|low --priority=critical|high|medium|low --queue=ask:queues --delay=- '
            places='ask:items...'
            ;;
        'pause')
            options='--all --hard --for -m --message'
            values+='--for=- -m=- --message=- '
            places='ask:queues...'
            ;;
        'resume')
            options='--all'
            places='ask:queues...'
            ;;
        'queue ls')
            options='--stats'
            places='ask:queues...'
            ;;
        'queue show')
            places='ask:queues...'
            ;;
        'queue set')
            places='ask:queues limit=|max-length=|lease=|max-attempts=|crash-cap=|stall-after=|closed=...'
            ;;
        'queue close')
            places='ask:queues...'
            ;;
        'queue clear')
            options='--state --older --held -m --message --yes'
            values+='--state=many:scheduled|blocked|ready|claimed|buried|done|cancelled --older=- -m=- --message=- '
            places='ask:queues'
            ;;
        'register')
            options='--slots --label --heartbeat --pid --takeover'
            values+='--slots=- --label=many:- --heartbeat=- --pid=auto '
            places='ask:agents ask:teams - -'
            ;;
        'agent ls')
            places='ask:agents...'
            ;;
        'agent show')
            places='ask:agents...'
            ;;
        'agent quiet')
            places='ask:agents...'
            ;;
        'agent wake')
            places='ask:agents...'
            ;;
        'agent evict')
            places='ask:agents...'
            ;;
        'limit')
            places='ask:queues -'
            ;;
        'export')
            options='--state --queue --type --team --group -o --to --legacy --force'
            values+='--state=many:scheduled|blocked|ready|claimed|buried|done|cancelled --queue=many:ask:queues --type=many:ask:types --team=many:ask:teams --group=- -o=files --to=files --legacy=files '
            ;;
        'import')
            options='--dry-run --claimed'
            values+='--claimed=hold|ready|keep '
            places='files...'
            ;;
        'status')
            ;;
        'dashboard')
            options='--live --every --rows'
            values+='--every=- --rows=- '
            ;;
        'top')
            options='--every --rows'
            values+='--every=- --rows=- '
            ;;
        'stats')
            options='--watch'
            places='-'
            ;;
        'health')
            ;;
        'config show')
            places='BATCH_SIZE|BATCH_TIMEOUT|BATCH_MODE|BATCH_FLUSH_INTERVAL|ASYNC_OPERATIONS|ASYNC_BUFFER_SIZE|ASYNC_FLUSH_INTERVAL|WAL_ENABLED|WAL_SYNC_INTERVAL|DIRECT_IO|IO_BUFFER_SIZE|MMAP_ENABLED|JOURNAL_ROTATION_MB|JOURNAL_RESERVE_MB|MAX_DISK_MB|JOURNAL_COMPRESSION_AGE_DAYS|JOURNAL_RETENTION_DAYS|ARCHIVE_MAX_MB|FLOCK_TIMEOUT|FLOCK_RETRIES|FLOCK_BACKOFF_MS|LOCK_RETRY_MULTIPLIER|ADAPTIVE_LOCKING|STOP_TIMEOUT|LEASE|LEASE_MAX|STALL_AFTER|MAX_ATTEMPTS|BACKOFF_BASE|BACKOFF_MAX|CRASH_CAP|RELEASE_CAP|RETAIN_DONE|RETAIN_DONE_ITEMS|RETAIN_DONE_MB|WORK_QUEUE_INDEX_ENABLED|WORK_QUEUE_SHARDING|MAX_ITEMS|QUEUE_MAX_LENGTH|QUEUES|AGENTS|PAYLOAD_MAX|CHECKPOINT_MAX|OUTPUT_TAIL|DESCRIPTION_MAX|KEYS_MAX|WAITERS_MAX|WATCH_RING|IN_FLIGHT_MAX|CACHE_ENABLED|CACHE_TTL|CACHE_MAX_SIZE|CACHE_COMPRESSION|PROCESS_MEMORY_LIMIT_MB|MEMORY_WARNING_THRESHOLD_PCT|MEMORY_CRITICAL_THRESHOLD_PCT|GC_ENABLED|GC_INTERVAL|GC_THRESHOLD_MB|GC_AGGRESSIVE|PARALLEL_WORKERS|MAX_CONNECTIONS|FRAME_MAX|CONNECTION_POOL_SIZE|CONNECTION_POOL_TIMEOUT|CONNECTION_REUSE_ENABLED|SOCKET_BUFFER_SIZE|PARALLEL_JOBS|SOCKET_MODE|REQUIRE_TOKEN|ACCESS_READ|ACCESS_WORK|ACCESS_ADMIN|LOG_LEVEL...'
            ;;
        'config get')
            places='BATCH_SIZE|BATCH_TIMEOUT|BATCH_MODE|BATCH_FLUSH_INTERVAL|ASYNC_OPERATIONS|ASYNC_BUFFER_SIZE|ASYNC_FLUSH_INTERVAL|WAL_ENABLED|WAL_SYNC_INTERVAL|DIRECT_IO|IO_BUFFER_SIZE|MMAP_ENABLED|JOURNAL_ROTATION_MB|JOURNAL_RESERVE_MB|MAX_DISK_MB|JOURNAL_COMPRESSION_AGE_DAYS|JOURNAL_RETENTION_DAYS|ARCHIVE_MAX_MB|FLOCK_TIMEOUT|FLOCK_RETRIES|FLOCK_BACKOFF_MS|LOCK_RETRY_MULTIPLIER|ADAPTIVE_LOCKING|STOP_TIMEOUT|LEASE|LEASE_MAX|STALL_AFTER|MAX_ATTEMPTS|BACKOFF_BASE|BACKOFF_MAX|CRASH_CAP|RELEASE_CAP|RETAIN_DONE|RETAIN_DONE_ITEMS|RETAIN_DONE_MB|WORK_QUEUE_INDEX_ENABLED|WORK_QUEUE_SHARDING|MAX_ITEMS|QUEUE_MAX_LENGTH|QUEUES|AGENTS|PAYLOAD_MAX|CHECKPOINT_MAX|OUTPUT_TAIL|DESCRIPTION_MAX|KEYS_MAX|WAITERS_MAX|WATCH_RING|IN_FLIGHT_MAX|CACHE_ENABLED|CACHE_TTL|CACHE_MAX_SIZE|CACHE_COMPRESSION|PROCESS_MEMORY_LIMIT_MB|MEMORY_WARNING_THRESHOLD_PCT|MEMORY_CRITICAL_THRESHOLD_PCT|GC_ENABLED|GC_INTERVAL|GC_THRESHOLD_MB|GC_AGGRESSIVE|PARALLEL_WORKERS|MAX_CONNECTIONS|FRAME_MAX|CONNECTION_POOL_SIZE|CONNECTION_POOL_TIMEOUT|CONNECTION_REUSE_ENABLED|SOCKET_BUFFER_SIZE|PARALLEL_JOBS|SOCKET_MODE|REQUIRE_TOKEN|ACCESS_READ|ACCESS_WORK|ACCESS_ADMIN|LOG_LEVEL...'
            ;;
        'config set')
            options='--persist'
            places='BATCH_SIZE=|BATCH_TIMEOUT=|BATCH_MODE=|BATCH_FLUSH_INTERVAL=|ASYNC_OPERATIONS=|ASYNC_BUFFER_SIZE=|ASYNC_FLUSH_INTERVAL=|WAL_ENABLED=|WAL_SYNC_INTERVAL=|DIRECT_IO=|IO_BUFFER_SIZE=|MMAP_ENABLED=|JOURNAL_ROTATION_MB=|JOURNAL_RESERVE_MB=|MAX_DISK_MB=|JOURNAL_COMPRESSION_AGE_DAYS=|JOURNAL_RETENTION_DAYS=|ARCHIVE_MAX_MB=|FLOCK_TIMEOUT=|FLOCK_RETRIES=|FLOCK_BACKOFF_MS=|LOCK_RETRY_MULTIPLIER=|ADAPTIVE_LOCKING=|STOP_TIMEOUT=|LEASE=|LEASE_MAX=|STALL_AFTER=|MAX_ATTEMPTS=|BACKOFF_BASE=|BACKOFF_MAX=|CRASH_CAP=|RELEASE_CAP=|RETAIN_DONE=|RETAIN_DONE_ITEMS=|RETAIN_DONE_MB=|WORK_QUEUE_INDEX_ENABLED=|WORK_QUEUE_SHARDING=|MAX_ITEMS=|QUEUE_MAX_LENGTH=|QUEUES=|AGENTS=|PAYLOAD_MAX=|CHECKPOINT_MAX=|OUTPUT_TAIL=|DESCRIPTION_MAX=|KEYS_MAX=|WAITERS_MAX=|WATCH_RING=|IN_FLIGHT_MAX=|CACHE_ENABLED=|CACHE_TTL=|CACHE_MAX_SIZE=|CACHE_COMPRESSION=|PROCESS_MEMORY_LIMIT_MB=|MEMORY_WARNING_THRESHOLD_PCT=|MEMORY_CRITICAL_THRESHOLD_PCT=|GC_ENABLED=|GC_INTERVAL=|GC_THRESHOLD_MB=|GC_AGGRESSIVE=|PARALLEL_WORKERS=|MAX_CONNECTIONS=|FRAME_MAX=|CONNECTION_POOL_SIZE=|CONNECTION_POOL_TIMEOUT=|CONNECTION_REUSE_ENABLED=|SOCKET_BUFFER_SIZE=|PARALLEL_JOBS=|SOCKET_MODE=|REQUIRE_TOKEN=|ACCESS_READ=|ACCESS_WORK=|ACCESS_ADMIN=|LOG_LEVEL=...'
            ;;
        'config unset')
            places='BATCH_SIZE|BATCH_TIMEOUT|BATCH_MODE|BATCH_FLUSH_INTERVAL|ASYNC_OPERATIONS|ASYNC_BUFFER_SIZE|ASYNC_FLUSH_INTERVAL|WAL_ENABLED|WAL_SYNC_INTERVAL|DIRECT_IO|IO_BUFFER_SIZE|MMAP_ENABLED|JOURNAL_ROTATION_MB|JOURNAL_RESERVE_MB|MAX_DISK_MB|JOURNAL_COMPRESSION_AGE_DAYS|JOURNAL_RETENTION_DAYS|ARCHIVE_MAX_MB|FLOCK_TIMEOUT|FLOCK_RETRIES|FLOCK_BACKOFF_MS|LOCK_RETRY_MULTIPLIER|ADAPTIVE_LOCKING|STOP_TIMEOUT|LEASE|LEASE_MAX|STALL_AFTER|MAX_ATTEMPTS|BACKOFF_BASE|BACKOFF_MAX|CRASH_CAP|RELEASE_CAP|RETAIN_DONE|RETAIN_DONE_ITEMS|RETAIN_DONE_MB|WORK_QUEUE_INDEX_ENABLED|WORK_QUEUE_SHARDING|MAX_ITEMS|QUEUE_MAX_LENGTH|QUEUES|AGENTS|PAYLOAD_MAX|CHECKPOINT_MAX|OUTPUT_TAIL|DESCRIPTION_MAX|KEYS_MAX|WAITERS_MAX|WATCH_RING|IN_FLIGHT_MAX|CACHE_ENABLED|CACHE_TTL|CACHE_MAX_SIZE|CACHE_COMPRESSION|PROCESS_MEMORY_LIMIT_MB|MEMORY_WARNING_THRESHOLD_PCT|MEMORY_CRITICAL_THRESHOLD_PCT|GC_ENABLED|GC_INTERVAL|GC_THRESHOLD_MB|GC_AGGRESSIVE|PARALLEL_WORKERS|MAX_CONNECTIONS|FRAME_MAX|CONNECTION_POOL_SIZE|CONNECTION_POOL_TIMEOUT|CONNECTION_REUSE_ENABLED|SOCKET_BUFFER_SIZE|PARALLEL_JOBS|SOCKET_MODE|REQUIRE_TOKEN|ACCESS_READ|ACCESS_WORK|ACCESS_ADMIN|LOG_LEVEL...'
            ;;
        'config reload')
            ;;
        'journal list')
            options='--state-dir'
            values+='--state-dir=files '
            ;;
        'journal check')
            options='--state-dir --deep --digest --no-measure'
            values+='--state-dir=files '
            ;;
        'journal dump')
            options='--state-dir --since --id'
            values+='--state-dir=files --since=- --id=ask:items '
            ;;
        'journal repair')
            options='--state-dir --to'
            values+='--state-dir=files --to=files '
            ;;
        'journal archive')
            options='--state-dir --all --prune --dry-run'
            values+='--state-dir=files --prune=- '
            ;;
        'journal upgrade')
            options='--state-dir'
            values+='--state-dir=files '
            ;;
        'journal snapshot')
            ;;
        'journal reindex')
            ;;
        'backup')
            options='--state-dir --verify'
            values+='--state-dir=files '
            places='-'
            ;;
        'completion')
            options='--of'
            values+='--of=queues|agents|items|claimed|buried|types|teams|locks '
            places='bash|zsh|fish'
            ;;
        'tune disk')
            options='--device --profile --scheduler --nr-requests --read-ahead-kb --rq-affinity --nomerges --wbt-lat-usec --yes --force --rounds --writes --root'
            values+='--device=- --profile=report|journal --scheduler=none|mq-deadline|kyber|bfq --nr-requests=- --read-ahead-kb=- --rq-affinity=- --nomerges=- --wbt-lat-usec=- --rounds=- --writes=- --root=files '
            places='show|plan|apply|verify|revert|persist|unpersist|bench files'
            ;;
        'tune check')
            ;;
        'install-units')
            options='--now --print --uninstall --user --root --bin-dir'
            values+='--root=files --bin-dir=files '
            ;;
        'help')
            options='--all'
            places='submit|claim|heartbeat|progress|complete|fail|release|work|lock|unlock|hold|bury|list|show|count|get|held|explain|deps|locks|wait|watch|history|whoami|kick|cancel|edit|pause|resume|register|limit|export|import|status|dashboard|top|stats|health|backup|completion|install-units|help|queue|queues|queue-stats|snapshot|drain|clear|agent|agents|config|reload|journal|doctor|quiet|wake|evict|index|tune|exit|agents...'
            ;;
        'queue pause')
            options='--all --hard --for -m --message'
            values+='--for=- -m=- --message=- '
            places='ask:queues...'
            ;;
        'queue resume')
            options='--all'
            places='ask:queues...'
            ;;
        'queue list')
            options='--stats'
            places='ask:queues...'
            ;;
        'queues')
            options='--stats'
            places='ask:queues...'
            ;;
        'queue-stats')
            options='--stats'
            places='ask:queues...'
            ;;
        'snapshot')
            ;;
        'index rebuild')
            ;;
        'drain')
            places='ask:queues...'
            ;;
        'clear')
            options='--state --older --held -m --message --yes'
            values+='--state=many:scheduled|blocked|ready|claimed|buried|done|cancelled --older=- -m=- --message=- '
            places='ask:queues'
            ;;
        'agent register')
            options='--slots --label --heartbeat --pid --takeover'
            values+='--slots=- --label=many:- --heartbeat=- --pid=auto '
            places='ask:agents ask:teams - -'
            ;;
        'agent list')
            places='ask:agents...'
            ;;
        'agents')
            places='ask:agents...'
            ;;
        'config ls')
            places='BATCH_SIZE|BATCH_TIMEOUT|BATCH_MODE|BATCH_FLUSH_INTERVAL|ASYNC_OPERATIONS|ASYNC_BUFFER_SIZE|ASYNC_FLUSH_INTERVAL|WAL_ENABLED|WAL_SYNC_INTERVAL|DIRECT_IO|IO_BUFFER_SIZE|MMAP_ENABLED|JOURNAL_ROTATION_MB|JOURNAL_RESERVE_MB|MAX_DISK_MB|JOURNAL_COMPRESSION_AGE_DAYS|JOURNAL_RETENTION_DAYS|ARCHIVE_MAX_MB|FLOCK_TIMEOUT|FLOCK_RETRIES|FLOCK_BACKOFF_MS|LOCK_RETRY_MULTIPLIER|ADAPTIVE_LOCKING|STOP_TIMEOUT|LEASE|LEASE_MAX|STALL_AFTER|MAX_ATTEMPTS|BACKOFF_BASE|BACKOFF_MAX|CRASH_CAP|RELEASE_CAP|RETAIN_DONE|RETAIN_DONE_ITEMS|RETAIN_DONE_MB|WORK_QUEUE_INDEX_ENABLED|WORK_QUEUE_SHARDING|MAX_ITEMS|QUEUE_MAX_LENGTH|QUEUES|AGENTS|PAYLOAD_MAX|CHECKPOINT_MAX|OUTPUT_TAIL|DESCRIPTION_MAX|KEYS_MAX|WAITERS_MAX|WATCH_RING|IN_FLIGHT_MAX|CACHE_ENABLED|CACHE_TTL|CACHE_MAX_SIZE|CACHE_COMPRESSION|PROCESS_MEMORY_LIMIT_MB|MEMORY_WARNING_THRESHOLD_PCT|MEMORY_CRITICAL_THRESHOLD_PCT|GC_ENABLED|GC_INTERVAL|GC_THRESHOLD_MB|GC_AGGRESSIVE|PARALLEL_WORKERS|MAX_CONNECTIONS|FRAME_MAX|CONNECTION_POOL_SIZE|CONNECTION_POOL_TIMEOUT|CONNECTION_REUSE_ENABLED|SOCKET_BUFFER_SIZE|PARALLEL_JOBS|SOCKET_MODE|REQUIRE_TOKEN|ACCESS_READ|ACCESS_WORK|ACCESS_ADMIN|LOG_LEVEL...'
            ;;
        'config list')
            places='BATCH_SIZE|BATCH_TIMEOUT|BATCH_MODE|BATCH_FLUSH_INTERVAL|ASYNC_OPERATIONS|ASYNC_BUFFER_SIZE|ASYNC_FLUSH_INTERVAL|WAL_ENABLED|WAL_SYNC_INTERVAL|DIRECT_IO|IO_BUFFER_SIZE|MMAP_ENABLED|JOURNAL_ROTATION_MB|JOURNAL_RESERVE_MB|MAX_DISK_MB|JOURNAL_COMPRESSION_AGE_DAYS|JOURNAL_RETENTION_DAYS|ARCHIVE_MAX_MB|FLOCK_TIMEOUT|FLOCK_RETRIES|FLOCK_BACKOFF_MS|LOCK_RETRY_MULTIPLIER|ADAPTIVE_LOCKING|STOP_TIMEOUT|LEASE|LEASE_MAX|STALL_AFTER|MAX_ATTEMPTS|BACKOFF_BASE|BACKOFF_MAX|CRASH_CAP|RELEASE_CAP|RETAIN_DONE|RETAIN_DONE_ITEMS|RETAIN_DONE_MB|WORK_QUEUE_INDEX_ENABLED|WORK_QUEUE_SHARDING|MAX_ITEMS|QUEUE_MAX_LENGTH|QUEUES|AGENTS|PAYLOAD_MAX|CHECKPOINT_MAX|OUTPUT_TAIL|DESCRIPTION_MAX|KEYS_MAX|WAITERS_MAX|WATCH_RING|IN_FLIGHT_MAX|CACHE_ENABLED|CACHE_TTL|CACHE_MAX_SIZE|CACHE_COMPRESSION|PROCESS_MEMORY_LIMIT_MB|MEMORY_WARNING_THRESHOLD_PCT|MEMORY_CRITICAL_THRESHOLD_PCT|GC_ENABLED|GC_INTERVAL|GC_THRESHOLD_MB|GC_AGGRESSIVE|PARALLEL_WORKERS|MAX_CONNECTIONS|FRAME_MAX|CONNECTION_POOL_SIZE|CONNECTION_POOL_TIMEOUT|CONNECTION_REUSE_ENABLED|SOCKET_BUFFER_SIZE|PARALLEL_JOBS|SOCKET_MODE|REQUIRE_TOKEN|ACCESS_READ|ACCESS_WORK|ACCESS_ADMIN|LOG_LEVEL...'
            ;;
        'reload')
            ;;
        'journal ls')
            options='--state-dir'
            values+='--state-dir=files '
            ;;
        'doctor')
            ;;
        'quiet')
            places='ask:agents...'
            ;;
        'wake')
            places='ask:agents...'
            ;;
        'evict')
            places='ask:agents...'
            ;;
        *) return 1 ;;
    esac
}

# What can stand in a place: words, or `ask:WHAT`, `files`, `commands`; several with commas between them after `many:`.
_swarmctl_place() {
    local place=$1 stem= word about
    if [[ $place == many:* ]]; then
        place=${place#many:}
        [[ $current == *,* ]] && stem=${current%,*},
    fi
    local typed=${current#"$stem"}
    for word in ${place//|/ }; do
        case $word in
            -) ;;
            files | commands)
                [[ $word == files ]] && compopt -o filenames 2>/dev/null
                while IFS= read -r word; do
                    found+=("$word")
                done < <(if [[ $word == files ]]; then compgen -f -- "$typed"; else compgen -c -- "$typed"; fi)
                ;;
            ask:*)
                while IFS=$'\t' read -r word about; do
                    [[ $word == "$typed"* ]] && found+=("$stem$word")
                done < <("${words[0]}" "${where[@]}" completion --of "${word#ask:}" 2>/dev/null)
                ;;
            *) [[ $word == "$typed"* ]] && found+=("$stem$word") ;;
        esac
    done
    [[ ${#found[@]} -eq 1 && ${found[0]} == *= ]] && compopt -o nospace 2>/dev/null
}

_swarmctl() {
    local -a words=() where=() found=()
    local at piece glued= word current verb= noun= options= values= places= command= pending= count=0 ended=
    for ((at = 0; at <= COMP_CWORD; at++)); do
        piece=${COMP_WORDS[at]}
        if [[ ${#words[@]} -gt 1 && ( -n $glued || $piece == [=:]* ) ]]; then
            words[${#words[@]} - 1]+=$piece
        else
            words+=("$piece")
        fi
        glued=
        [[ $piece == *[=:] && $at -lt $COMP_CWORD ]] && glued=yes
    done
    current=${words[${#words[@]} - 1]}
    values=' --agent=ask:agents --token=- --key=- --socket=files --timeout=- '
    for ((at = 1; at < ${#words[@]} - 1; at++)); do
        word=${words[at]}
        if [[ -n $pending ]]; then
            [[ $pending == --socket ]] && where=(--socket "$word")
            pending=
        elif [[ -n $ended ]]; then
            ((count++))
        elif [[ $word == -- ]]; then
            ended=yes
            [[ -n $command ]] && count=0 places='commands files...'
        elif [[ $word == --socket=* ]]; then
            where=("$word")
        elif [[ $word == -?* ]]; then
            [[ $values == *" $word="* ]] && pending=$word
        elif [[ -n $noun ]]; then
            verb="$noun $word" noun=
            _swarmctl_verb "$verb" || return
        elif [[ -z $verb ]]; then
            case $word in
                queue | agent | config | journal | index | tune) noun=$word ;;
                *) verb=$word; _swarmctl_verb "$verb" || return ;;
            esac
        else
            ((count++))
        fi
    done

    if [[ -n $pending ]]; then
        word=${values#*" $pending="}
        _swarmctl_place "${word%% *}"
    elif [[ -z $ended && $current == --*=* ]]; then
        word=${current%%=*}
        if [[ $values == *" $word="* ]]; then
            piece=${values#*" $word="}
            current=${current#*=}
            _swarmctl_place "${piece%% *}"
            found=("${found[@]/#/$word=}")
            current=$word=$current
        fi
    elif [[ -z $ended && $current == -* ]]; then
        _swarmctl_place "$(printf '%s|' --agent --token --key --socket --timeout --json -q --quiet -h --help --version $options)"
    elif [[ -n $noun ]]; then
        case $noun in
            queue) _swarmctl_place 'ls|show|set|close|clear|pause|resume|list' ;;
            agent) _swarmctl_place 'ls|show|quiet|wake|evict|register|list' ;;
            config) _swarmctl_place 'show|get|set|unset|reload|ls|list' ;;
            journal) _swarmctl_place 'list|check|dump|repair|archive|upgrade|snapshot|reindex|ls' ;;
            index) _swarmctl_place 'rebuild' ;;
            tune) _swarmctl_place 'disk|check' ;;
        esac
    elif [[ -z $verb ]]; then
        _swarmctl_place 'submit|claim|heartbeat|progress|complete|fail|release|work|lock|unlock|hold|bury|list|show|count|get|held|explain|deps|locks|wait|watch|history|whoami|kick|cancel|edit|pause|resume|register|limit|export|import|status|dashboard|top|stats|health|backup|completion|install-units|help|queue|queues|queue-stats|snapshot|drain|clear|agent|agents|config|reload|journal|doctor|quiet|wake|evict|index|tune'
    else
        for word in $places; do
            [[ $count -eq 0 || $word == *... ]] && break
            ((count--))
        done
        [[ $count -eq 0 || $word == *... ]] && _swarmctl_place "${word%...}"
    fi

    piece=
    [[ $COMP_WORDBREAKS == *:* ]] && piece=${current%"${current##*:}"}
    [[ $COMP_WORDBREAKS == *=* && $current == *=* ]] && word=${current%"${current##*=}"} &&
        [[ ${#word} -gt ${#piece} ]] && piece=$word
    COMPREPLY=("${found[@]#"$piece"}")
}

complete -F _swarmctl swarmctl
