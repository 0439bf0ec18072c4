#!/usr/bin/env bash
# Runs the example programs in $1 on a small folder of pictures (BMP files of two classes, written here), as
# examples/README.md says users do.
set -euo pipefail
bin=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# bmp FILE VALUE...: an 8x8 grey picture (24-bit BMP) that is dark on the left or on the right.
bmp() {
  local file=$1 left=$2 right=$3 row i
  {
    printf 'BM\xf6\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00\x00\x01\x00\x18\x00'
    printf '\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'
    for row in 1 2 3 4 5 6 7 8; do
      for i in 1 2 3 4; do printf "\\x$left\\x$left\\x$left"; done
      for i in 1 2 3 4; do printf "\\x$right\\x$right\\x$right"; done
    done
  } >"$file"
}
mkdir -p "$work/data/top" "$work/data/plain"
for i in $(seq 10 59); do
  bmp "$work/data/plain/$i.bmp" "$i" "$i"
  bmp "$work/data/top/$i.bmp" "$i" f0
done

"$bin/example_train_pictures" "$work/data" "$work/model.fovea" 6 | tee "$work/train.log"
grep -qE '^test accuracy (9[0-9]|100)' "$work/train.log"
"$bin/example_classify" "$work/model.fovea" "$work/data/top/20.bmp" "$work/data/plain/30.bmp" | tee "$work/classify.log"
grep -q '20.bmp  top' "$work/classify.log"
grep -q '30.bmp  plain' "$work/classify.log"
if "$bin/example_classify" "$work/model.fovea" "$work/none.bmp"; then
  echo "a missing picture must be an error" >&2
  exit 1
fi
"$bin/example_training_loop" "$work/data" 30
