#!/usr/bin/env bash
# What it costs to keep a run's state: checkpoints on disk, and copies in neighbours' memory.
#
#   bench/checkpoint.sh [MODEL...]      environment: ROUNDS=3 STEPS=50
#
# Seconds per step from wall time between steps 10 and STEPS, saving included; the arms take turns,
# medians over rounds.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
steps=${STEPS:-50}
arms=("" checkpoint.interval=10 checkpoint.mirror_interval=10 checkpoint.mirror_interval=1)

run() {  # model setting -> seconds per step
  rm -rf "$scratch/run"
  build/release/mapl train "recipes/$1.toml" --quiet --run "$scratch/run" --set training.steps=$((steps + 1)) \
    --set validation.num_sequences=4 --set link.bandwidth_mbps=0 --set link.latency_ms=0 ${2:+--set "$2"}
  jq -s --argjson n "$steps" '(.[$n - 1]._timestamp - .[9]._timestamp) / ($n - 10)' "$scratch/run/metrics.jsonl"
}

median() { sort -g | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

printf '%-6s %-30s %10s %8s\n' model kept s/step ratio
for model in "${@:-tiny}"; do
  for ((round = 0; round < ${ROUNDS:-3}; ++round)); do
    for arm in "${arms[@]}"; do run "$model" "$arm" >> "$scratch/$model-$arm"; done
  done
  none=$(median < "$scratch/$model-")
  for arm in "${arms[@]}"; do
    awk -v m="$model" -v a="${arm:-nothing}" -v s="$(median < "$scratch/$model-$arm")" -v n="$none" \
      'BEGIN {printf "%-6s %-30s %10.3f %8.3f\n", m, a, s, s / n}'
  done
done
