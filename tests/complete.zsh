# Type a command line into an interactive zsh and print what it would offer, one candidate a line:
#
#     zsh -f tests/complete.zsh SCRIPT 'swarmctl sub'
#
# The zsh has a pseudo terminal. Its compadd is replaced by one that says, between < and >, what of the words that it was
# given fits; the key that completes says when it is done.
zmodload zsh/zpty || exit 1
setopt extended_glob

say() { zpty -w shell "$1" }

zpty shell zsh -f -i
say 'PROMPT= RPROMPT= TERM=dumb'
say "autoload -Uz compinit; compinit -u -D; source ${(q)1}"
say 'compadd() { local -a fit; [[ " $* " == *" -"[OAD]" "* ]] && { builtin compadd "$@"; return }
    builtin compadd -O fit "$@"; local each; print; for each in $fit; do print -r -- "<$each>"; done; (( $#fit == 0 )) }'
say 'offer() { zle complete-word; print -r -- "done-$((6 * 7))" }; zle -N offer; bindkey "^I" offer'
say 'print -r -- "ready-$((6 * 7))"'

seen=
while [[ $seen != *ready-42* ]]; do
    zpty -r shell line || exit 1
    seen+=$line
done
zpty -w -n shell "$2"$'\t'
seen=
while [[ $seen != *done-42* ]]; do
    zpty -r shell line || exit 1
    seen+=$line
done
zpty -d shell
print -rl -- ${${(M)${(f)${seen//$'\r'/$'\n'}}:#\<*\>}//[<>]/}
