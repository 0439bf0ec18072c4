#!/usr/bin/env bash
# Installs the library, static and shared, into a scratch tree, moves that tree, and there builds and runs an outside
# program through CMake and through pkg-config. Then: every installed header compiles alone, and the shared library
# exports nothing but our namespace.
# usage: tests/install/run.sh [FOLDER]   (default build/install-test; FOVEA_JOBS as for ./dev)
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
work=$(readlink -m "${1:-$root/build/install-test}")
jobs=${FOVEA_JOBS:-$(nproc)}
cxx=${CXX:-g++}
mkdir -p "$work"

quietly() {
  local log=$work/last.log
  "$@" >"$log" 2>&1 || { cat "$log"; echo "install test: failed: $*"; exit 1; }
}

run_consumer() {
  (cd "$work" && rm -rf out && mkdir out && cd out && "$@") || { echo "install test: the program failed: $*"; exit 1; }
}

# One tree for both kinds: all objects are position-independent, so the second kind only links.
build=$work/build
for kind in static shared; do
  shared=OFF
  [ $kind = static ] || shared=ON
  quietly cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=$shared \
    -DFOVEA_TESTS=OFF -DFOVEA_TOOLS=OFF -DFOVEA_EXAMPLES=OFF
  quietly cmake --build "$build" --parallel "$jobs" --target fovea fovea_infer
  rm -rf "$work/first-$kind" "$work/prefix-$kind" "$work/consumer-$kind"
  quietly cmake --install "$build" --prefix "$work/first-$kind" --component library
  # Moved after installing: nothing in the tree may remember where it was put.
  mv "$work/first-$kind" "$work/prefix-$kind"
  prefix=$work/prefix-$kind

  quietly cmake -S "$here" -B "$work/consumer-$kind" -G Ninja -DCMAKE_PREFIX_PATH="$prefix"
  quietly cmake --build "$work/consumer-$kind"
  run_consumer "$work/consumer-$kind/consumer"
  echo "install test: $kind through CMake: ok"

  # The small runtime: answers with the network that the consumer has just trained, is small, and holds no training.
  small=$work/consumer-$kind/answers
  (cd "$work/out" && "$small" consumer.fovea "$root/tests/image/data/grey.jpg") >"$work/last.log" 2>&1 &&
    grep -q 'class [01] (.* %)' "$work/last.log" || { cat "$work/last.log"; echo "install test: the small runtime does not answer"; exit 1; }
  if nm -C "$small" | grep -E ' fovea::(Tape|Optimizer|Module|OpList|Loader|Trainer)::'; then
    echo "install test: the small runtime holds the training code above"
    exit 1
  fi
  strip -o "$work/answers-stripped" "$small"
  size=$(stat -c %s "$work/answers-stripped")
  if [ "$size" -ge 3000000 ]; then
    echo "install test: a program with the small runtime has $size bytes, 3 000 000 are the limit (what fills it: nm --size-sort -C)"
    exit 1
  fi
  echo "install test: $kind, small runtime: ok ($size bytes)"

  pc=$(dirname "$(find "$prefix" -name fovea.pc)")
  flags=$(PKG_CONFIG_PATH=$pc pkg-config --cflags fovea)
  static_flag=()
  [ $kind = shared ] || static_flag=(--static)
  libs=$(PKG_CONFIG_PATH=$pc pkg-config "${static_flag[@]}" --libs fovea)
  # shellcheck disable=SC2086  # pkg-config answers with several words
  quietly "$cxx" -std=c++20 $flags "$here/consumer.cc" -o "$work/consumer-pc-$kind" $libs
  LD_LIBRARY_PATH=$(dirname "$pc") run_consumer "$work/consumer-pc-$kind"
  echo "install test: $kind through pkg-config: ok"

  if grep -rlF -e "$root" -e "$work" "$prefix" --include='*.cmake' --include='*.pc'; then
    echo "install test: the files above name the build machine's folders"
    exit 1
  fi
done

# eigen.h is opt-in: it needs Eigen's own include path.
mapfile -t headers < <(find "$work/prefix-static/include" -name '*.h' ! -name eigen.h)
quietly xargs -P "$jobs" -I{} "$cxx" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I"$work/prefix-static/include" \
  -I"$work/prefix-static/include/fovea" -include {} -x c++ /dev/null < <(printf '%s\n' "${headers[@]}")
echo "install test: each of ${#headers[@]} installed headers compiles alone"

library=$(find "$work/prefix-shared" -name 'libfovea.so' | head -n 1)
foreign=$(nm -D --defined-only "$library" | c++filt | awk '{ $1 = ""; $2 = ""; print }' | grep -vE 'fovea::|^ +(_init|_fini)$' || true)
if [ -n "$foreign" ]; then
  echo "install test: libfovea.so exports what is not ours:"
  echo "$foreign" | head -n 20
  exit 1
fi
echo "install test: libfovea.so exports only our namespace ($(nm -D --defined-only "$library" | wc -l) symbols, $(stat -Lc %s "$library") bytes)"
