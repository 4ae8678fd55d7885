#!/usr/bin/env bash
# Step time over real slow links (scripts/netlab, four network namespaces) beside that over mapl's
# own shaped links (four stages on the loopback with keys as there, the meter `pipelined`), run in
# turn; what methods gain on them.
#
#   bench/netlab.sh [MODEL...]     as root
#
# environment  RATES="20 50 100 200" (Mbit/s)  LATENCY_MS=20  STEPS=12  ROUNDS=1
#              ARMS="uncompressed mapl-int8 mapl mapl-vq", methods with the keys that they change as
#              for mapl compare (mapl+rank=16), uncompressed first
#              CURVES=FOLDER of a mapl compare of these arms, for to_loss
#              NETLAB_OPTIONS="--sysctl ..."  MAPL=build/release/mapl
#
# columns      shaped_s, lab_s   median of step_seconds, the first steps apart
#              ratio             lab / shaped
#              B/token           bytes per token and boundary, both legs, of those steps
#              speed-up          over uncompressed, in the lab
#              share             of what the bytes allow
#              to_loss           seconds in the lab until the loss, a mean of 10 steps, is that of
#                                uncompressed after 0.8 of its steps: how many steps that takes does
#                                not depend on the link, so they come from CURVES
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
mapl=${MAPL:-build/release/mapl}
latency=${LATENCY_MS:-20}
steps=${STEPS:-12}
arms=${ARMS:-uncompressed mapl-int8 mapl mapl-vq}
# Codebooks are fitted after a warm-up in bf16; only steps after it are counted.
vq_warm_up=4
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

source bench/netlab_train.sh

steady() {  # arm -> the first step that counts
  if [[ $1 = *vq* ]]; then echo $((vq_warm_up + 3)); else echo 2; fi
}

step_seconds() {  # lab or shaped, arm
  jq -s --argjson from "$(steady "$2")" '[.[] | select(.step > $from).step_seconds] | sort
    | .[length / 2 | floor]' "$scratch/$1-$2"-*/metrics.jsonl
}

bytes_per_token() {  # arm
  jq -s --argjson from "$(steady "$1")" --argjson lines 3 '(.[0].tokens / .[0].step) as $tokens
    | [.[] | select(.step > $from) | .activation_bytes + .gradient_bytes + .token_id_bytes
       + .sync_bytes + .header_bytes] | add / length / $tokens / $lines' \
    "$scratch/lab-$1-1/metrics.jsonl"
}

seconds_to_loss() {  # arm, seconds of a step -> seconds, or a dash where it does not get there
  local goal="${CURVES:-}/uncompressed/seed-0/metrics.jsonl" log="${CURVES:-}/$1/seed-0/metrics.jsonl"
  if [ ! -e "$goal" ] || [ ! -e "$log" ]; then echo -; return; fi
  jq -rn --slurpfile goal "$goal" --slurpfile log "$log" --argjson seconds "$2" '
    def smoothed: . as $l | [range(10; ($l | length) + 1) as $i
      | {step: $l[$i - 1].step, loss: ([$l[$i - 10:$i][].loss] | add / 10)}];
    ($goal | smoothed | map(select(.step <= ($goal | length) * 0.8))[-1].loss) as $loss
    | first(($log | smoothed[] | select(.loss <= $loss) | .step * $seconds | round), "-")'
}

for arm in $arms; do
  if [ "$steps" -le "$(steady "$arm")" ]; then
    echo "netlab.sh: STEPS=$steps leaves $arm no step to count; at least $(($(steady "$arm") + 1))" >&2
    exit 2
  fi
done

printf '%-6s %6s %-32s %9s %9s %6s %8s %8s %6s %8s\n' \
  model Mbit/s arm shaped_s lab_s ratio B/token speed-up share to_loss
for model in "${@:-tiny}"; do
  for rate in ${RATES:-20 50 100 200}; do
    rm -rf "${scratch:?}"/*
    for arm in $arms; do
      for ((round = 1; round <= ${ROUNDS:-1}; round++)); do
        train lab "$model" "$arm" "$rate" "$round"
        train shaped "$model" "$arm" "$rate" "$round"
      done
      lab=$(step_seconds lab "$arm")
      bytes=$(bytes_per_token "$arm")
      if [ "$arm" = uncompressed ]; then full=$lab full_bytes=$bytes; fi
      awk -v model="$model" -v rate="$rate" -v arm="$arm" -v lab="$lab" -v bytes="$bytes" \
        -v shaped="$(step_seconds shaped "$arm")" -v full="$full" -v full_bytes="$full_bytes" \
        -v to_loss="$(seconds_to_loss "$arm" "$lab")" 'BEGIN {
          gain = full / lab
          printf "%-6s %6s %-32s %9.3f %9.3f %6.3f %8.1f %8.2f %6.2f %8s\n", model, rate, arm,
            shaped, lab, lab / shaped, bytes, gain, gain / (full_bytes / bytes), to_loss
        }'
    done
  done
done
