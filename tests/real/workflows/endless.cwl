# Longer than it may last.
cwlVersion: v1.2
class: CommandLineTool
requirements:
  DockerRequirement: {dockerPull: "@IMAGE@"}
  ToolTimeLimit: {timelimit: 1}
inputs:
  seconds: {type: string, inputBinding: {position: 1}}
baseCommand: sleep
outputs: []
