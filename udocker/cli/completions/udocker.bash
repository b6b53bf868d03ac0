# Completion of udocker's command lines in bash: eval "$(udocker completion bash)", in ~/.bashrc for example.
# Names are compared and quoted here and never expanded: a container may be called anything.

_udocker_add() {  # adds those of its arguments to COMPREPLY that begin with $cur
    local name
    for name; do
        if [[ $name == "$cur"* ]]; then COMPREPLY+=("$name"); fi
    done
}

_udocker_names() {  # adds what udocker lists, one a line
    local names
    mapfile -t names < <(command udocker "${store[@]}" completion "$1" 2>/dev/null)
    _udocker_add "${names[@]}"
}

_udocker_kind() {  # completes $cur as one of the kinds that $1 lists, separated by commas
    local kind
    for kind in ${1//,/ }; do
        case $kind in
            containers | images) _udocker_names "$kind" ;;
            commands) _udocker_add "${commands[@]}" ;;
            files)
                compopt -o filenames 2>/dev/null
                filenames=1
                mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
                ;;
            word:*) _udocker_add "${kind#word:}" ;;
        esac
    done
}

_udocker_words() {  # the words up to the cursor, with those whole again that bash splits at : and =
    local i word joins=
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -n $joins || $word == [:=]* ]] && ((${#words[@]} > 1)) && [[ $i -lt $COMP_CWORD || -n $word || -n $joins ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        joins=
        if [[ $word == *[:=] ]]; then joins=1; fi
    done
}

_udocker() {
    local words=() flags=() valued=() places=() store=() commands=() command= filenames=
    local word cur wanted= seen=0 entry i
    COMPREPLY=()
    _udocker_words
    cur=${words[-1]}
    _udocker_table ''
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ -n $wanted ]]; then
            if [[ -z $command && $wanted == --repo ]]; then store=("--repo=$word"); fi
            wanted=
            continue
        fi
        if [[ -z $command && $word == --repo=* ]]; then store=("$word"); fi
        if [[ $word == -?* && ! ($command == @(run|exec) && $seen -gt 0) ]]; then
            for entry in "${valued[@]}"; do
                if [[ ${entry%%:*} == "$word" ]]; then wanted=$word; fi
            done
        elif [[ -z $command ]]; then
            command=$word
            _udocker_table "$command"
        else
            seen=$((seen + 1))
        fi
    done
    if [[ $cur == --*=* ]]; then
        wanted=${cur%%=*}
        word=$wanted=
        cur=${cur#*=}
    else
        word=
    fi
    if [[ -n $wanted ]]; then
        for entry in "${valued[@]}"; do
            if [[ ${entry%%:*} == "$wanted" ]]; then _udocker_kind "${entry#*:}"; fi
        done
    elif [[ $cur == -* && ! ($command == @(run|exec) && $seen -gt 0) ]]; then
        _udocker_add "${flags[@]}"
    elif ((${#places[@]})); then
        if ((seen >= ${#places[@]})); then seen=$((${#places[@]} - 1)); fi
        _udocker_kind "${places[seen]}"
    fi
    # What bash has split off at the last : or = is on the line already.
    local before=${cur%"${cur##*[:=]}"}
    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$before"}
        if [[ -z $filenames ]]; then printf -v "COMPREPLY[$i]" %q "${COMPREPLY[i]}"; fi
    done
}

complete -F _udocker udocker
