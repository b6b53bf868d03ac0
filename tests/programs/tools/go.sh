# A static program that is built here: goroutines, files, programs.
set -e
cat >main.go <<'END'
package main

import (
    "fmt"
    "os"
    "os/exec"
    "path/filepath"
    "sync"
)

func main() {
    var group sync.WaitGroup
    var lock sync.Mutex
    total := 0
    for i := 0; i < 50; i++ {
        group.Add(1)
        go func(i int) {
            defer group.Done()
            name := fmt.Sprintf("file%d", i)
            if err := os.WriteFile(name, []byte(name), 0o644); err != nil {
                panic(err)
            }
            text, err := exec.Command("cat", name).Output()
            if err != nil || string(text) != name {
                panic(name)
            }
            lock.Lock()
            total += i
            lock.Unlock()
        }(i)
    }
    group.Wait()
    count := 0
    filepath.WalkDir("/etc", func(string, os.DirEntry, error) error { count++; return nil })
    exe, _ := os.Executable()
    cwd, _ := os.Getwd()
    fmt.Println(total, count > 50, filepath.Base(exe), filepath.Base(cwd) != "")
}
END
cat >go.mod <<'END'
module example.org/try
END
go build -o try . && ./try && go vet . && echo vetted
