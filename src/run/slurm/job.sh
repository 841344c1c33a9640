#!/bin/bash
# Makes one stage within a job of Slurm; written and submitted by mtorec.
# job.sh FOLDER ARRAY REQUEUE: the submission's folder, the array's number in it, and how often a job may start itself again.
folder=$1 array=$2 requeue=$3
job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
outcome="$folder/outcomes/$array-$SLURM_ARRAY_TASK_ID"
# as many threads as cores were given, whatever the node has
export RAYON_NUM_THREADS="${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}"

rm -f "$outcome.died"
"$folder/mtorec" job "$folder" "$array" "$SLURM_ARRAY_TASK_ID" &
stage=$!

short= signalled= last=
# the time limit is near: the stage stops at the next safe point, or else where it is, and goes on from its checkpoint
trap 'short=1 signalled=1; kill -TERM "$stage"; (sleep 30; kill -KILL "$stage") 2>/dev/null & last=$!' USR1
trap 'signalled=1; kill -TERM "$stage"' TERM INT

# a signal ends `wait`, but not the stage
while true; do
    signalled=
    wait "$stage"
    code=$?
    [ -n "$signalled" ] || break
done
# what comes now is not for the stage: its number may soon be another process's
trap - USR1 TERM INT
[ -z "$last" ] || kill "$last" 2>/dev/null
[ "$code" -ne 0 ] || exit 0

# Slurm counts the restarts that others wanted too, as for a job with a higher priority: those are no reason to give up
restarts=$(cat "$outcome.restarts" 2>/dev/null)
restarts=${restarts:-0}
# killed (128 and the signal's number), by whomever: `scancel` and the node's end take this script along
if [ -n "$short" ] && [ "$code" -ne 1 ] || [ "$code" -gt 130 ]; then
    echo "job $job: ended with $code${short:+ as its time ran out}; it has started itself again $restarts of at most $requeue times"
    if [ "$restarts" -lt "$requeue" ]; then
        echo $((restarts + 1)) >"$outcome.restarts"
        # the job keeps its number, so what waits for it goes on waiting; a controller that is away comes back
        for _ in {1..30}; do
            scontrol requeue "$job" && exit 0
            sleep 10
        done
    fi
fi
# whoever waits for the stage need not wait for a word of it
[ -e "$outcome.json" ] || echo "$code $restarts ${short:-0}" >"$outcome.died"
exit "$code"
