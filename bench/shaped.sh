#!/usr/bin/env bash
# Step time over shaped links, MAPL against uncompressed, and how much of the bytes' ratio it turns into.
#
#   bench/shaped.sh [MODEL...]        environment: RATES="100 20 5" (Mbit/s) LATENCY_MS=10 STEPS=8
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

run() {  # model method rate -> "median step seconds, bytes per token"
  rm -rf "$scratch/run"
  build/release/mapl train "recipes/$1.toml" --quiet --run "$scratch/run" \
    --set boundary.method="$2" --set training.steps="${STEPS:-8}" \
    --set validation.num_sequences=4 --set link.bandwidth_mbps="$3" \
    --set link.latency_ms="${LATENCY_MS:-10}"
  echo "$(jq -s '[.[2:][].step_seconds] | sort | .[length / 2 | floor]' "$scratch/run/metrics.jsonl")" \
    "$(jq .bytes_per_token "$scratch/run/summary.json")"
}

printf '%-6s %8s %14s %10s %8s %8s %8s\n' model Mbit/s uncompressed_s mapl_s speedup bytes share
for model in "${@:-tiny}"; do
  for rate in ${RATES:-100 20 5}; do
    read -r full full_bytes <<< "$(run "$model" uncompressed "$rate")"
    read -r small small_bytes <<< "$(run "$model" mapl "$rate")"
    awk -v m="$model" -v r="$rate" -v a="$full" -v b="$small" -v x="$full_bytes" -v y="$small_bytes" \
      'BEGIN {printf "%-6s %8s %14.3f %10.3f %8.2f %8.2f %8.2f\n", m, r, a, b, a / b, x / y, (a / b) / (x / y)}'
  done
done
