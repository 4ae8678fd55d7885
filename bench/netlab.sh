#!/usr/bin/env bash
# Step time over real slow links (scripts/netlab, four network namespaces) beside that over mapl's
# own shaped links (four processes, the meter `pipelined`), run in turn; what methods gain on them.
#
#   bench/netlab.sh [MODEL...]     as root
#
# environment  RATES="20 50 100 200" (Mbit/s)  LATENCY_MS=20  STEPS=12  ROUNDS=1
#              METHODS="uncompressed mapl-int8 mapl mapl-vq", uncompressed first
#              SET="KEY=VALUE ..." for every run  NETLAB_OPTIONS="--sysctl ..."
#              MAPL=build/release/mapl
#
# columns      shaped_s, lab_s   median of step_seconds, the first steps apart
#              ratio             lab / shaped
#              B/token           bytes per token and boundary, both legs, of those steps
#              speed-up          over uncompressed, in the lab
#              share             of what the bytes allow
#              to_loss           seconds of steps in the lab until the loss, a mean of ten steps, is
#                                that of the end of uncompressed: STEPS must be a whole training
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
mapl=${MAPL:-build/release/mapl}
latency=${LATENCY_MS:-20}
steps=${STEPS:-12}
methods=${METHODS:-uncompressed mapl-int8 mapl mapl-vq}
# Codebooks are fitted after a warm-up in bf16; only steps after it are counted.
vq_warm_up=4
[ "$steps" -lt 200 ] || vq_warm_up=100
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

read -ra settings <<< "${SET:-}"

train() {  # lab or shaped, model, method, rate, round
  local run="$scratch/$1-$3-$5" options=(--quiet) key
  for key in training.steps="$steps" metrics.log_freq=1 validation.num_sequences=4 \
    boundary.method="$3" boundary.rvq_warmup_steps="$vq_warm_up" "${settings[@]}"; do
    options+=(--set "$key")
  done
  if [ "$1" = lab ]; then
    # shellcheck disable=SC2086  # a list of options
    MAPL=$mapl scripts/netlab run "recipes/$2.toml" --mbps "$4" --ms "$latency" --run "$run" \
      ${NETLAB_OPTIONS:-} "${options[@]}"
  else
    "$mapl" train "recipes/$2.toml" --run "$run" "${options[@]}" --set link.bandwidth_mbps="$4" \
      --set link.latency_ms="$latency" --set link.meter=pipelined
  fi
}

steady() {  # method -> the first step that counts
  if [ "$1" = mapl-vq ]; then echo $((vq_warm_up + 3)); else echo 2; fi
}

step_seconds() {  # lab or shaped, method
  jq -s --argjson from "$(steady "$2")" '[.[] | select(.step > $from).step_seconds] | sort
    | .[length / 2 | floor]' "$scratch/$1-$2"-*/metrics.jsonl
}

bytes_per_token() {  # method
  jq -s --argjson from "$(steady "$1")" --argjson lines 3 '(.[0].tokens / .[0].step) as $tokens
    | [.[] | select(.step > $from) | .activation_bytes + .gradient_bytes + .token_id_bytes
       + .sync_bytes + .header_bytes] | add / length / $tokens / $lines' \
    "$scratch/lab-$1-1/metrics.jsonl"
}

seconds_to_loss() {  # method -> seconds, or a dash where it does not get there
  jq -rn --slurpfile goal "$scratch/lab-uncompressed-1/metrics.jsonl" \
    --slurpfile log "$scratch/lab-$1-1/metrics.jsonl" '
    def smoothed: . as $l | ([10, ($l | length)] | min) as $n | [range($n; ($l | length) + 1) as $i
      | {loss: ([$l[$i - $n:$i][].loss] | add / $n), seconds: ([$l[:$i][].step_seconds] | add)}];
    ($goal | smoothed[-1].loss) as $loss
    | first(($log | smoothed[] | select(.loss <= $loss) | .seconds * 10 | round / 10), "-")'
}

printf '%-6s %6s %-12s %9s %9s %6s %8s %8s %6s %8s\n' \
  model Mbit/s method shaped_s lab_s ratio B/token speed-up share to_loss
for model in "${@:-tiny}"; do
  for rate in ${RATES:-20 50 100 200}; do
    rm -rf "${scratch:?}"/*
    for method in $methods; do
      for ((round = 1; round <= ${ROUNDS:-1}; round++)); do
        train lab "$model" "$method" "$rate" "$round"
        train shaped "$model" "$method" "$rate" "$round"
      done
      lab=$(step_seconds lab "$method")
      bytes=$(bytes_per_token "$method")
      if [ "$method" = uncompressed ]; then full=$lab full_bytes=$bytes; fi
      awk -v model="$model" -v rate="$rate" -v method="$method" -v lab="$lab" -v bytes="$bytes" \
        -v shaped="$(step_seconds shaped "$method")" -v full="$full" -v full_bytes="$full_bytes" \
        -v to_loss="$(seconds_to_loss "$method")" 'BEGIN {
          gain = full / lab
          printf "%-6s %6s %-12s %9.3f %9.3f %6.3f %8.1f %8.2f %6.2f %8s\n", model, rate, method,
            shaped, lab, lab / shaped, bytes, gain, gain / (full_bytes / bytes), to_loss
        }'
    done
  done
done
