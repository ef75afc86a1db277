#!/usr/bin/env bash
# Everything that is measured on a GPU, in one command of under 10 minutes:
#
#     benchmarks/gpu.sh FOLDER             # one CUDA GPU; PYTHON=/path/to/python instead of `uv run python`
#     DRY_RUN=1 benchmarks/gpu.sh FOLDER   # the same commands, tiny, on Warp's CPU device
#
# FOLDER gets start.json, throughput.json and transfer.json, table.txt with the goals beside what was reached, and a log of
# each part. A part that fails or runs out of its time is said so, and the others go on. Kernels are compiled into
# FOLDER/kernels, so that the first start is a cold one, unless WARP_CACHE_PATH says where there are some.
set -uo pipefail
folder=${1:?usage: benchmarks/gpu.sh FOLDER}
mkdir -p "$folder" && folder=$(cd "$folder" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
python=${PYTHON:-uv run python}

if [[ -n "${DRY_RUN:-}" ]]; then
  device=cpu sizes="2 4" few="2" episodes=2 seconds=0.3 steps=3 rounds=1 patience=3
else
  device=cuda sizes="1024 4096 16384" few="4096" episodes=256 seconds=10 steps=20 rounds=3 patience=1
fi
if [[ -n "${WARP_CACHE_PATH:-}" ]]; then
  start=(--warm-only)
else
  export WARP_CACHE_PATH="$folder/kernels"
  start=(--cache "$WARP_CACHE_PATH")
fi
engine=(--backend mujoco_warp --device "$device")
failed=0

part() { # name, seconds that it may take, command
  local name=$1 limit=$(($2 * patience)) began=$SECONDS
  shift 2
  # shellcheck disable=SC2086 # PYTHON may be several words
  timeout --kill-after=5 "$limit" $python "$@" >"$folder/$name.log" 2>&1
  local code=$?
  if ((code)); then
    failed=1
    echo "$name: $([[ $code == 124 || $code == 137 ]] && echo "stopped after $limit s" || echo "failed ($code)"), see $name.log"
    tail -3 "$folder/$name.log"
  else
    echo "$name: $((SECONDS - began)) s"
  fi
}

measure() { # name, seconds, environment, sizes, flags
  local name=$1 limit=$2 env=$3 sizes=$4
  shift 4
  # shellcheck disable=SC2086 # sizes are words
  part "$name" "$limit" throughput.py --env "$env" "${engine[@]}" --num-envs $sizes --steps $steps --rounds $rounds \
    --output "$folder/throughput.json" "$@"
}

part start 150 start.py --env ProtoMimic-SMPL-v0 "${engine[@]}" --num-envs 64 "${start[@]}" --output "$folder/start.json"
measure smpl 120 ProtoMimic-SMPL-v0 "$sizes"
measure g1 120 ProtoMimic-G1-v0 "$sizes"
measure amp 70 ProtoMimic-AMP-v0 "$few"
part transfer 110 transfer.py --engines mujoco mujoco_warp --device "$device" --episodes $episodes --seconds $seconds \
  --output "$folder/transfer.json"
part table 20 gpu_table.py "$folder"
cat "$folder/table.log" | tee "$folder/table.txt"
exit $failed
