# Jobs that start at the same time, and one that takes what they made.
cwlVersion: v1.2
class: Workflow
requirements:
  ScatterFeatureRequirement: {}
  DockerRequirement: {dockerPull: "@IMAGE@"}
inputs:
  numbers: string[]
outputs:
  together: {type: File, outputSource: join/together}
steps:
  each:
    scatter: number
    in: {number: numbers}
    out: [made]
    run:
      class: CommandLineTool
      inputs:
        number: {type: string, inputBinding: {position: 1}}
      baseCommand: [echo, part]
      stdout: part-$(inputs.number).txt
      outputs:
        made: {type: stdout}
  join:
    in: {parts: each/made}
    out: [together]
    run:
      class: CommandLineTool
      inputs:
        parts: {type: "File[]", inputBinding: {position: 1}}
      baseCommand: cat
      stdout: together.txt
      outputs:
        together: {type: stdout}
