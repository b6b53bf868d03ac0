# Ends with the status that it is told, which the workflow program looks up in its lists.
cwlVersion: v1.2
class: CommandLineTool
requirements:
  DockerRequirement: {dockerPull: "@IMAGE@"}
inputs:
  status: {type: int, inputBinding: {position: 1}}
baseCommand: [sh, -c, 'echo "ending with $0"; exit $0']
stdout: said.txt
successCodes: [0, 3]
temporaryFailCodes: [75]
permanentFailCodes: [4]
outputs:
  said: {type: stdout}
