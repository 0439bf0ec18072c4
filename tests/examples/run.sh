#!/usr/bin/env bash
# Runs the example programs in $1 on small data (BMP files of two classes and IDX files, written here), as their READMEs
# say users do. $2: only these steps.
set -euo pipefail
# So small a network gains nothing from a second thread, and loses much where other tests run beside this one.
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
bin=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# bmp FILE LEFT RIGHT: an 8x8 picture (24-bit BMP) of two grey halves; values are two hexadecimal digits.
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

fail() {
  echo "$*" >&2
  exit 1
}
# refused TEXT COMMAND...: the command fails and says TEXT.
refused() {
  local text=$1
  shift
  if "$@" >"$work/refused.log" 2>&1; then fail "should have failed: $*"; fi
  grep -qF -- "$text" "$work/refused.log" || fail "expected: $text, got: $(cat "$work/refused.log")"
}
# says PATTERN FILE: a line of the file matches.
says() { grep -qE -- "$1" "$2" || fail "no line like: $1 in: $(cat "$2")"; }
# holds FILE...: they are there and not empty.
holds() {
  local file
  for file in "$@"; do [ -s "$file" ] || fail "missing: $file"; done
}

# 50 pictures a class: grey all over, or bright on the right. Names 10 to 59.
data=$work/data
mkdir -p "$data/top" "$data/plain"
for i in $(seq 10 59); do
  bmp "$data/plain/$i.bmp" "$i" "$i"
  bmp "$data/top/$i.bmp" "$i" f0
done

first_steps() {
  "$bin/example_train_pictures" "$data" "$work/model.fovea" 6 | tee "$work/train.log"
  says '^test accuracy (9[0-9]|100)' "$work/train.log"
  "$bin/example_classify" "$work/model.fovea" "$data/top/20.bmp" "$data/plain/30.bmp" | tee "$work/classify.log"
  says '20.bmp  top' "$work/classify.log"
  says '30.bmp  plain' "$work/classify.log"
  refused 'none.bmp' "$bin/example_classify" "$work/model.fovea" "$work/none.bmp"
  "$bin/example_training_loop" "$data" 30
}

usage() {
  local example
  for example in fashion_mnist transfer_learning wildlife quality_inspection chest_xray; do
    "$bin/example_$example" --help >"$work/help.log"
    says "^usage: example_$example" "$work/help.log"
    if grep '.\{81,\}' "$work/help.log"; then fail "$example --help is wider than 80 columns"; fi
    refused 'is no argument of this program' "$bin/example_$example" "$data" --colour red
    refused "'many' is no number from" "$bin/example_$example" "$data" --epochs many
    refused 'needs a value' "$bin/example_$example" "$data" --epochs
    case $example in
      transfer_learning) refused 'there is no such folder' "$bin/example_$example" "$work/none" --weights x ;;
      *) refused 'there is no such folder' "$bin/example_$example" "$work/none" ;;
    esac
  done
  refused 'give a file of pretrained weights' "$bin/example_transfer_learning" "$data"
}

# Every place has pictures of both classes; one file of the list is missing.
wildlife() {
  local class i
  {
    printf '{"images":[{"id":"gone","file_name":"top/99.bmp"}'
    for class in plain top; do
      for i in $(seq 10 59); do
        printf ',\n{"id":"%s%d","file_name":"%s/%d.bmp","location":%d}' $class "$i" $class "$i" $((i % 10))
      done
    done
    printf '],\n"annotations":[{"image_id":"gone","category_id":5}'
    for i in $(seq 10 59); do
      printf ',\n{"image_id":"plain%d","category_id":0},{"image_id":"top%d","category_id":5}' "$i" "$i"
    done
    printf '],\n"categories":[{"id":0,"name":"empty"},{"id":5,"name":"fox"}]}\n'
  } >"$work/traps.json"
  "$bin/example_wildlife" "$work/traps.json" --images "$data" --epochs 6 --right 0.9 --out "$work/wildlife" 2>&1 |
    tee "$work/wildlife.log"
  says '1 picture left out: there is no such file \(top/99.bmp\)' "$work/wildlife.log"
  says '^learning +60 pictures of +6 places: 30 empty 30 fox' "$work/wildlife.log"
  says '^macro F1 (0\.9|1)' "$work/wildlife.log"
  holds "$work"/wildlife/{model.fovea,predictions.csv,coverage.svg,confusion.svg}
  [ "$(wc -l <"$work/wildlife/predictions.csv")" = 21 ] || fail "predictions.csv should hold 20 pictures"
  says 'plain/[0-9]+.bmp","[0-9]","empty","(empty|unsure)",' "$work/wildlife/predictions.csv"
  refused 'there is no such file' "$bin/example_wildlife" "$work/traps.json"

  {
    echo path,label,group
    for i in $(seq 10 59); do
      echo "data/top/$i.bmp,fox,$((i % 10))"
      echo "data/plain/$i.bmp,empty,$((i % 10))"
    done
  } >"$work/traps.csv"
  "$bin/example_wildlife" "$work/traps.csv" --epochs 2 --out "$work/wildlife_csv" >"$work/csv.log"
  says '^learning +60 pictures of +6 places' "$work/csv.log"
}

quality_inspection() {
  "$bin/example_quality_inspection" "$data" --good plain --epochs 6 --seconds 0.1 --out "$work/quality" | tee "$work/quality.log"
  says '^defects: top$' "$work/quality.log"
  says 'from 0\.5 +[0-9]+ of 10 +[0-9]+ of 10 +[0-9]+' "$work/quality.log"
  says 'all 2 classes: accuracy (9|100)' "$work/quality.log"
  says 'one by one +[0-9.]+ a second; latency median' "$work/quality.log"
  holds "$work"/quality/{model.fovea,decisions.svg,confusion.svg}
  refused 'name the classes that may pass, of: plain, top' "$bin/example_quality_inspection" "$data"
  refused "no class 'fine'" "$bin/example_quality_inspection" "$data" --good fine
  refused 'no class is left to be a defect' "$bin/example_quality_inspection" "$data" --good plain,top
}

# The first two letters of a name stand for the patient; each of the 50 has a picture of either class.
chest_xray() {
  "$bin/example_chest_xray" "$data" --patient 2 --epochs 6 --out "$work/xray" | tee "$work/xray.log"
  says '^learning +60 pictures of +30 patients, 30 top' "$work/xray.log"
  says 'area under the ROC curve (0\.9|1)' "$work/xray.log"
  says 'sensitivity +[0-9.]+ %  \(95 %: +[0-9.]+ to +[0-9.]+\)  [0-9]+ of 10' "$work/xray.log"
  [ "$(grep -c 'NOT FOR CLINICAL USE' "$work/xray.log")" = 2 ] || fail "the notice should stand first and last"
  holds "$work"/xray/{model.fovea,roc.svg,confusion.svg}
  refused "there is no class 'flu'" "$bin/example_chest_xray" "$data" --positive flu
  mkdir -p "$work/leak/train" "$work/leak/val"
  cp -r "$data/top" "$data/plain" "$work/leak/train"
  cp -r "$data/top" "$data/plain" "$work/leak/val"
  refused 'is in two parts of the data' "$bin/example_chest_xray" "$work/leak" --patient 2 --epochs 2
}

# idx IMAGES LABELS COUNT: black pictures are 0, grey ones 1.
idx() {
  local images=$1 labels=$2 count i
  count=$(printf '\\x%02x' "$3")
  printf "\\x00\\x00\\x08\\x03\\x00\\x00\\x00$count\\x00\\x00\\x00\\x1c\\x00\\x00\\x00\\x1c" >"$images"
  printf "\\x00\\x00\\x08\\x01\\x00\\x00\\x00$count" >"$labels"
  head -c 784 /dev/zero >"$work/black"
  tr '\0' '\226' <"$work/black" >"$work/grey"
  for i in $(seq 1 "$3"); do
    if [ $((i % 2)) = 0 ]; then cat "$work/black"; else cat "$work/grey"; fi >>"$images"
    printf "\\x0$((i % 2))" >>"$labels"
  done
}
fashion_mnist() {
  mkdir "$work/idx"
  idx "$work/idx/train-images-idx3-ubyte" "$work/idx/train-labels-idx1-ubyte" 200
  idx "$work/idx/t10k-images-idx3-ubyte" "$work/idx/t10k-labels-idx1-ubyte" 20
  "$bin/example_fashion_mnist" "$work/idx" --epochs 2 --limit 150 --out "$work/fashion" | tee "$work/fashion.log"
  says '^test: accuracy [0-9.]+ %' "$work/fashion.log"
  holds "$work"/fashion/{model.fovea,accuracy.svg,loss.svg,confusion.svg}
  refused 'apt-get install dataset-fashion-mnist' "$bin/example_fashion_mnist" "$data"
}

# From weights that the fovea program made here.
transfer_learning() {
  [ -x "$bin/fovea" ] || return 0
  "$bin/fovea" train "$data" --model mobilenet_v2 --image-size 32 --epochs 1 --quiet --out "$work/weights" >/dev/null
  "$bin/example_transfer_learning" "$data" --weights "$work/weights/model.fovea" --epochs 2 --out "$work/transfer" |
    tee "$work/transfer.log"
  says '^mobilenet_v2 at 32 x 32$' "$work/transfer.log"
  says '^new head, not yet trained: [0-9.]+ %' "$work/transfer.log"
  says '^linear probe: (9[0-9.]+|100.0) %; validation' "$work/transfer.log"
  says '^fine-tuned: [0-9.]+ %' "$work/transfer.log"
  holds "$work"/transfer/{model.fovea,accuracy.svg,confusion.svg}
}

for step in ${2:-first_steps usage wildlife quality_inspection chest_xray fashion_mnist transfer_learning}; do
  echo "== $step"
  $step
done
