#!/usr/bin/env bash
# Training speed beside the plain Python peer (bench/peer) on the same LibTorch, in turn, one thread:
# forward, backward and optimiser on 16 x 256 tokens in micro-batches of 4 x 256. Needs python3-torch.
#
#   bench/speed.sh [ROUNDS] [PYTHON]        prints a line per run, then the medians and their ratio
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
rounds=${1:-3}
python=${2:-/usr/bin/python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

# Median tokens/s of a run, its first two steps apart.
mapl() {
  local model=$1 stages=$2
  rm -rf "$scratch/run"
  build/release/mapl train "recipes/$model.toml" --quiet --run "$scratch/run" \
    --set boundary.method=mapl --set pipeline.stages="$stages" --set training.steps=8 \
    --set link.bandwidth_mbps=0 --set link.latency_ms=0 --set validation.num_sequences=4
  jq -s '[.[2:][].tokens_per_second] | sort | .[length / 2 | floor]' "$scratch/run/metrics.jsonl"
}
peer() { "$python" bench/peer/plain_llama.py --model "$1" --microbatch 4 | jq .tokens_per_second; }

for model in tiny small; do
  for ((i = 0; i < rounds; i++)); do
    echo "$model peer $(peer "$model")"
    echo "$model mapl_P1 $(mapl "$model" 1)"
    echo "$model mapl_P4 $(mapl "$model" 4)"
  done
done | tee "$scratch/all"

for model in tiny small; do
  for who in peer mapl_P1 mapl_P4; do
    awk -v m="$model" -v w="$who" '$1 == m && $2 == w {print $3}' "$scratch/all" | sort -n |
      awk -v m="$model" -v w="$who" '{v[NR] = $1} END {printf "median %s %s %.0f\n", m, w, v[int((NR + 1) / 2)]}'
  done
done | tee "$scratch/medians"
awk '{v[$2, $3] = $4} END {split("tiny small", ms, " ");
  for (i = 1; i <= 2; i++) printf "ratio %s P1 %.2f P4 %.2f\n", ms[i],
    v[ms[i], "mapl_P1"] / v[ms[i], "peer"], v[ms[i], "mapl_P4"] / v[ms[i], "peer"]}' "$scratch/medians"
