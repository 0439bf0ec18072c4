#!/bin/sh
# Ranks against threads: a training step on N ranks of one thread each (mpirun, this machine) beside one rank of N threads,
# taking turns. Prints each round's figures and the ratio of speeds, threads' time by ranks' time: 1 is equal.
#
#   bench/ranks.sh BUILD_DIR [NETWORK] [BATCH] [N] [ROUNDS] [STEPS] [MODE]
set -eu
ranks=$1/bin/ranks network=${2:-mobilenet_v2} batch=${3:-16} n=${4:-2} rounds=${5:-3} steps=${6:-15} mode=${7:-overlapped}
root=""
[ "$(id -u)" = 0 ] && root=--allow-run-as-root
field() { sed -n "s/.* $1 \([0-9.]*\) ms.*/\1/p"; }
list=""
for round in $(seq "$rounds"); do
  threads=$(FOVEA_NUM_THREADS=$n "$ranks" "$network" "$batch" "$steps")
  parts=$(mpirun $root -n "$n" "$ranks" "$network" "$batch" "$steps" "$mode")
  echo "$threads"
  echo "$parts"
  list="$list $(echo "$threads" | field least) $(echo "$parts" | field least) $(echo "$threads" | field median) $(echo "$parts" | field median)"
done
echo "$list" | tr ' ' '\n' | grep . | awk '
  { v[(NR - 1) % 4, int((NR - 1) / 4)] = $1; rounds = int((NR + 3) / 4) }
  END {
    least_t = v[0, 0]; least_p = v[1, 0]
    for (r = 0; r < rounds; ++r) {
      if (v[0, r] < least_t) least_t = v[0, r]
      if (v[1, r] < least_p) least_p = v[1, r]
      ratio[r] = v[2, r] / v[3, r]
    }
    for (i = 0; i < rounds; ++i) for (j = i + 1; j < rounds; ++j) if (ratio[j] < ratio[i]) { t = ratio[i]; ratio[i] = ratio[j]; ratio[j] = t }
    printf "ratio: %.3f of least times, %.3f median over the rounds of medians\n", least_t / least_p, ratio[int(rounds / 2)]
  }'
