#!/usr/bin/env bash
# A file compiled for a newer CPU than the rest (-mavx512f and the like) must not define a weak symbol: the linker keeps one
# copy of each inline or template function for the whole program, and if it keeps that file's, older CPUs crash.
# usage: isa_symbols.sh BUILD_FOLDER
set -euo pipefail

build=$1
[ -f "$build/compile_commands.json" ] || { echo "no compile_commands.json in $build"; exit 1; }
checked=0 bad=0
# One line per command; ninja's database writes the object after " -o ".
while IFS= read -r object; do
  [ -f "$build/$object" ] || continue
  checked=$((checked + 1))
  weak=$(nm --defined-only "$build/$object" | awk '$2 ~ /^[WVuwv]$/ {print "  " $3}' | c++filt)
  [ -n "$weak" ] || continue
  bad=$((bad + 1))
  echo "$object defines weak symbols:"
  head -n 20 <<<"$weak"
done < <(grep '"command":' "$build/compile_commands.json" | grep -E ' -m(avx|fma|f16c|bmi|amx|arch=|sse[0-9])' |
  grep -oE ' -o [^ ]+\.o' | cut -c5-)
echo "$checked objects compiled with instruction-set flags, $bad of them with weak symbols"
[ $bad -eq 0 ]
