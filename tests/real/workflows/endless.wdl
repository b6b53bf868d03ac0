version 1.0
task endless {
    input { String seconds }
    # A child of the shell, which a signal to the shell does not reach.
    command {
        sleep ${seconds}
        echo never
    }
    output { String said = read_string(stdout()) }
    runtime { docker: "@IMAGE@" }
}
