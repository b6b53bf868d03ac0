#!/bin/sh
# A task of a job made by udocker-batch.  The line below describes it in JSON: image, command, environment.
UDOCKER_BATCH_TASK={{ task | q }}
export UDOCKER_BATCH_TASK
exec {{ program | q }} task
