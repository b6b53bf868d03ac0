version 1.0
# Files and directories' worth of files in and out, over several tasks at once.
workflow words {
    input {
        Array[File] texts
        String greeting
    }
    scatter (text in texts) {
        call count { input: text = text, greeting = greeting }
    }
    call join { input: counts = count.counted }
    output {
        Array[Int] numbers = count.number
        Array[String] said = count.said
        File together = join.together
    }
}

task count {
    input {
        File text
        String greeting
    }
    command <<<
        set -euo pipefail
        echo '~{greeting}'
        wc -w <'~{text}' >number.txt
        mkdir -p results
        sort '~{text}' >"results/$(basename '~{text}')"
        echo "$PWD of ~{greeting}" >&2
        echo kept >"${TMPDIR:-/tmp}/scratch"
    >>>
    output {
        Int number = read_int("number.txt")
        String said = read_string(stdout())
        File counted = "results/" + basename(text)
    }
    runtime { docker: "@IMAGE@" }
}

task join {
    input { Array[File] counts }
    command {
        cat '~{sep="' '" counts}' >together.txt
    }
    output { File together = "together.txt" }
    runtime { docker: "@IMAGE@" }
}
