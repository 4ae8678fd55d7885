# shellcheck shell=bash disable=SC2154  # what it wants, below
# Sourced by bench/netlab.sh and bench/netlab_load.sh: a run in the lab and the same over `shaped` links.
# Wants mapl, latency, steps, vq_warm_up and the folder scratch.

# Four stages as scripts/netlab starts them, without its namespaces and lines.
train_shaped() {  # recipe, run, rate, options
  local recipe=$1 run=$2 rate=$3 k public endpoint='' peers='' pids=() code=0
  shift 3
  for k in 0 1 2 3; do
    rm -f "$scratch/key-$k"
    public=$("$mapl" keygen "$scratch/key-$k")
    [ "$k" = 0 ] || endpoint="endpoint = \"tcp://127.0.0.1:$((5550 + k))\", "
    peers+="${peers:+, }{$endpoint$public}"
  done
  for k in 0 1 2 3; do
    "$mapl" stage "$recipe" --stage "$k" --key "$scratch/key-$k" --run "$run/$k" "$@" \
      --set link.stages="[$peers]" --set link.kind=zmq --set link.meter=pipelined \
      --set link.bandwidth_mbps="$rate" --set link.latency_ms="$latency" 2> "$run-$k.err" &
    pids+=($!)
  done
  for k in "${pids[@]}"; do wait "$k" || code=$?; done
  [ "$code" = 0 ] || cat "$run"-?.err >&2
  mv "$run"/0/metrics.jsonl "$run"
  return "$code"
}

train() {  # lab or shaped, model, arm, rate, round
  local run="$scratch/$1-$3-$5" options=(--quiet) keys key
  IFS=+ read -ra keys <<< "method=$3"
  for key in training.steps="$steps" metrics.log_freq=1 validation.num_sequences=4 \
    boundary.rvq_warmup_steps="$vq_warm_up" "${keys[@]/#/boundary.}"; do
    options+=(--set "$key")
  done
  if [ "$1" = lab ]; then
    # shellcheck disable=SC2086  # a list of options
    MAPL=$mapl scripts/netlab run "recipes/$2.toml" --mbps "$4" --ms "$latency" --run "$run" \
      ${NETLAB_OPTIONS:-} "${options[@]}"
  else
    train_shaped "recipes/$2.toml" "$run" "$4" "${options[@]}"
  fi
}
