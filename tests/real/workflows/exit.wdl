version 1.0
task fail {
    input { Int status }
    command {
        echo "about to fail" >&2
        exit ${status}
    }
    output { String said = read_string(stdout()) }
    runtime { docker: "@IMAGE@" returnCodes: [0, 3] }
}
