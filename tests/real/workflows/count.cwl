# Standard input and output, files in and out, variables, and a prepared working directory.
cwlVersion: v1.2
class: CommandLineTool
requirements:
  DockerRequirement: {dockerPull: "@IMAGE@"}
  EnvVarRequirement:
    envDef: {GREETING: "hello  world = 'quoted' $HOME"}
  InitialWorkDirRequirement:
    listing:
      - {entryname: settings.txt, entry: "made by the workflow\n"}
      - {entry: $(inputs.changed), writable: true}
      - {entry: $(inputs.staged), entryname: seen.txt}
inputs:
  words: {type: File, inputBinding: {position: 1}}
  tree: {type: Directory, inputBinding: {position: 2}}
  piped: File
  changed: File
  staged: File
stdin: $(inputs.piped.path)
stdout: report.txt
stderr: errors.txt
baseCommand: [sh, -c]
arguments:
  - position: 0
    valueFrom: |
      set -e
      [ "$PWD" = "$HOME" ] && echo "home is the working directory; TMPDIR=$TMPDIR"
      echo "greeting: [$GREETING]"
      echo "words: `tr '\n' ' ' <"$1"`"
      echo "tree: `cat "$2/deep/er/leaf"`"
      echo "stdin: `cat`"
      echo "settings: `cat settings.txt`"
      echo "seen: `cat seen.txt`"
      echo "changed inside" >>changed.txt
      echo scratch >"$TMPDIR/scratch"
      mkdir "out put"; echo one >"out put/one.dat"; echo two >"out put/two.dat"
      echo "to stderr" >&2
  - {position: 0, valueFrom: name of the shell}
outputs:
  report: {type: stdout}
  errors: {type: stderr}
  data: {type: "File[]", outputBinding: {glob: "out put/*.dat"}}
  folder: {type: Directory, outputBinding: {glob: "out put"}}
  edited: {type: File, outputBinding: {glob: changed.txt}}
