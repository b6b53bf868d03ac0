#compdef udocker
# Completion of udocker's command lines in zsh: eval "$(udocker completion zsh)" after compinit, or this output as the
# file _udocker in a directory of $fpath.  compadd quotes names: a container may be called anything.

_udocker_kind() {  # completes the word as one of the kinds that $1 lists, separated by commas
    local kind
    local -a names
    for kind in ${(s:,:)1}; do
        case $kind in
            containers|images)
                names=("${(@f)$(command udocker $store completion $kind 2>/dev/null)}")
                compadd -a names
                ;;
            commands) compadd -a commands ;;
            files) _files ;;
            word:*) compadd -- ${kind#word:} ;;
        esac
    done
}

_udocker() {
    local -a flags valued places store commands
    local word current command wanted entry
    local -i seen=0 i
    _udocker_table ''
    for ((i = 2; i < CURRENT; i++)); do
        word=$words[i]
        if [[ -n $wanted ]]; then
            if [[ -z $command && $wanted == --repo ]]; then store=("--repo=$word"); fi
            wanted=
            continue
        fi
        if [[ -z $command && $word == --repo=* ]]; then store=("$word"); fi
        if [[ $word == -?* && ! ($command == (run|exec) && $seen -gt 0) ]]; then
            for entry in $valued; do
                if [[ ${entry%%:*} == "$word" ]]; then wanted=$word; fi
            done
        elif [[ -z $command ]]; then
            command=$word
            _udocker_table "$command"
        else
            seen=$((seen + 1))
        fi
    done
    current=$words[CURRENT]
    if [[ $current == --*=* ]]; then
        wanted=${current%%=*}
        compset -P '--*='
    fi
    if [[ -n $wanted ]]; then
        for entry in $valued; do
            if [[ ${entry%%:*} == "$wanted" ]]; then _udocker_kind "${entry#*:}"; fi
        done
    elif [[ $current == -* && ! ($command == (run|exec) && $seen -gt 0) ]]; then
        compadd -a flags
    elif (($#places)); then
        if ((seen >= $#places)); then seen=$(($#places - 1)); fi
        _udocker_kind "$places[seen+1]"
    fi
}

if [[ $funcstack[1] == _udocker ]]; then _udocker "$@"; else compdef _udocker udocker; fi
