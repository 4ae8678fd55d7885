#!/usr/bin/env bash
# The pipeline against one process, bit for bit, at every number of stages, schedule and link.
#
#   bench/verify.sh [RECIPE]      environment: STEPS=10, above the 4 of the warm-up of codes
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
recipe=${1:-recipes/tiny.toml}

check() {
  printf '%-60s ' "$*"
  local keys=()
  for key in "$@"; do keys+=(--set "$key"); done
  build/release/mapl verify "$recipe" --steps "${STEPS:-10}" --set link.bandwidth_mbps=0 \
    --set link.latency_ms=0 "${keys[@]}" | tail -1
}

for stages in 2 4 8; do
  for schedule in gpipe 1f1b; do
    for kind in inproc zmq; do
      check pipeline.stages=$stages pipeline.schedule=$schedule link.kind=$kind \
        boundary.method=uncompressed boundary.activation=f32 boundary.gradient=f32
    done
  done
done
for method in mapl mapl-int8 mapl-int4 mapl-vq frozen free quantised topk ssn reparam-ssn resbm; do
  check boundary.method=$method link.kind=zmq boundary.rvq_warmup_steps=4
done
