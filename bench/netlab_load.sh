#!/usr/bin/env bash
# Why a step takes longer over scripts/netlab than over mapl's `shaped` links: what TCP over devices
# that pass a frame at a time takes from the stages' processors. Measures what the machine uses in a
# step of both; then `shaped` again, beside three processes of real-time priority that use up the
# difference.
#
#   bench/netlab_load.sh [MODEL]     as root, on a machine that does nothing else
#
# environment  RATES="100 200" (Mbit/s)  LATENCY_MS=20  ARM=uncompressed  MAPL=build/release/mapl
#
# columns      shaped_cpu, lab_cpu         core-seconds of a step
#              shaped_s, loaded_s, lab_s   median of step_seconds; loaded: `shaped` with that load
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
mapl=${MAPL:-build/release/mapl}
latency=${LATENCY_MS:-20}
model=${1:-tiny}
arm=${ARM:-uncompressed}
vq_warm_up=4
scratch=$(mktemp -d)
loads=()
stop_loads() { [ ${#loads[@]} = 0 ] || kill "${loads[@]}"; loads=(); }
trap 'stop_loads; rm -rf "$scratch"' EXIT
source bench/netlab_train.sh

start_loads() {  # share of a core, for three together
  local k
  for k in 1 2 3; do
    python3 - "$1" << 'END' &
import os, sys, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
piece, share = 0.00025, float(sys.argv[1]) / 3
while True:
    end = time.perf_counter() + piece
    while time.perf_counter() < end:
        pass
    time.sleep(piece * (1 / share - 1))
END
    loads+=($!)
  done
}

busy() { awk '/^cpu / { print ($2 + $3 + $4 + $6 + $7 + $8) / '"$(getconf CLK_TCK)"' }' /proc/stat; }

run() {  # lab or shaped, rate, steps -> median of a step and what the machine used, seconds
  local before after
  steps=$3
  rm -rf "${scratch:?}"/*
  before=$(busy)
  train "$1" "$model" "$arm" "$2" 1
  after=$(busy)
  jq -rs --argjson used "$(awk "BEGIN { print $after - $before }")" '[.[] | select(.step > 2).step_seconds]
    | sort | "\(.[length / 2 | floor]) \($used)"' "$scratch/$1-$arm-1/metrics.jsonl"
}

# Two lengths: their difference is without the start.
of_a_step() {  # lab or shaped, rate -> its median and core-seconds
  local median used short
  read -r _ short <<< "$(run "$1" "$2" 10)"
  read -r median used <<< "$(run "$1" "$2" 40)"
  echo "$median $(awk "BEGIN { print ($used - $short) / 30 }")"
}

printf '%6s %10s %8s %9s %9s %7s\n' Mbit/s shaped_cpu lab_cpu shaped_s loaded_s lab_s
for rate in ${RATES:-100 200}; do
  read -r shaped_s shaped_cpu <<< "$(of_a_step shaped "$rate")"
  read -r lab_s lab_cpu <<< "$(of_a_step lab "$rate")"
  start_loads "$(awk "BEGIN { print ($lab_cpu - $shaped_cpu) / $lab_s }")"
  read -r loaded_s _ <<< "$(run shaped "$rate" 25)"
  stop_loads
  printf '%6s %10.3f %8.3f %9.3f %9.3f %7.3f\n' \
    "$rate" "$shaped_cpu" "$lab_cpu" "$shaped_s" "$loaded_s" "$lab_s"
done
