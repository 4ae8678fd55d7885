#!/usr/bin/env bash
# Vector quantisation against faiss, one thread each, in one run. Needs scripts/bootstrap --peer.
#
#   bench/rvq.sh
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

g++ -O3 -std=c++17 -fopenmp bench/peer/faiss_rvq.cpp -o "$scratch/faiss_rvq" -lfaiss -lopenblas
"$scratch/faiss_rvq" 64 256 > "$scratch/faiss"
build/release/mapl-bench --benchmark_filter=rvq/encode --benchmark_format=json \
  --benchmark_repetitions=9 2> /dev/null |
  jq -r '.benchmarks[] | select(.aggregate_name == "median")
         | [(.run_name | split("/")[2]), .items_per_second, .relative_error] | @tsv' > "$scratch/mapl"

printf '%-8s %14s %14s %8s %12s %12s\n' columns faiss_rows/s mapl_rows/s ratio faiss_error mapl_error
paste "$scratch/faiss" "$scratch/mapl" |
  awk '{printf "%-8s %14.0f %14.0f %8.1f %12.4f %12.4f\n", $1, $2, $5, $5 / $2, $3, $6}'
