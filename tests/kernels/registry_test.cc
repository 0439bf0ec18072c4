// The registry: the first implementation that accepts runs, reasons are told, nothing falls back silently, forcing is
// per thread.
#include "kernels/registry.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "catch.h"

using namespace fovea;
using namespace fovea::kernels;

namespace {

struct Problem {
  int size = 0;
  std::vector<std::string>* ran = nullptr;
  std::string to_string() const { return str("size ", size); }
};

const char* needs_small(const Problem& p) { return p.size > 10 ? "too large" : nullptr; }
const char* needs_even(const Problem& p) { return p.size % 2 ? "needs an even size" : nullptr; }
const char* never(const Problem&) { return nullptr; }
template <int which>
void run(const Problem& p) {
  p.ran->push_back(which == 0 ? "simd:small" : which == 1 ? "onednn" : "reference");
}
constexpr Implementation<Problem> kList[] = {
    {"simd:small", needs_small, run<0>}, {"onednn", needs_even, run<1>}, {"reference", never, run<2>}};

std::string chosen(int size) {
  std::vector<std::string> ran;
  dispatch<Problem>("toy", kList, {size, &ran});
  REQUIRE(ran.size() == 1);
  return ran[0];
}

}  // namespace

TEST_CASE("the first implementation that accepts runs") {
  CHECK(chosen(3) == "simd:small");
  CHECK(chosen(12) == "onednn");
  CHECK(chosen(13) == "reference");
}

TEST_CASE("the implementation that ran last is known, to each thread its own") {
  chosen(12);
  CHECK(last_implementation() == "onednn");
  chosen(13);
  CHECK(last_implementation() == "reference");
  std::string_view other = "not asked";
  std::thread([&] { other = last_implementation(); }).join();
  CHECK(other.empty());
}

TEST_CASE("forcing an implementation falls back to the reference only") {
  const ForceImplementation force("onednn");
  CHECK(chosen(4) == "onednn");
  CHECK(chosen(3) == "reference");
  {
    const ForceImplementation inner("reference");
    CHECK(chosen(4) == "reference");
  }
  CHECK(chosen(4) == "onednn");
}

TEST_CASE("strictly forced, a decline is an error with the reason") {
  const ForceImplementation force("simd", true);
  CHECK(chosen(4) == "simd:small");
  std::vector<std::string> ran;
  try {
    dispatch<Problem>("toy", kList, {12, &ran});
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::usage);
    CHECK(std::string(e.what()) == "[toy] no implementation accepts this problem (size 12): simd:small: too large");
  }
  CHECK(ran.empty());
  const ForceImplementation unknown("cudnn", true);
  CHECK_THROWS_WITH((dispatch<Problem>("toy", kList, {12, &ran})),
                    "[toy] no implementation accepts this problem (size 12): none allowed");
}

TEST_CASE("forcing holds on its own thread only") {
  const ForceImplementation force("reference");
  std::string other;
  std::thread([&] {
    std::vector<std::string> ran;
    dispatch<Problem>("toy", kList, {4, &ran});
    other = ran.at(0);
  }).join();
  // FOVEA_IMPL in the environment of the test run may choose; the forcing of this thread may not.
  if (!std::getenv("FOVEA_IMPL")) CHECK(other == "simd:small");
  CHECK(chosen(4) == "reference");
}

TEST_CASE("the verbose line names the kernel, the problem, the choice, the reasons and the time") {
  std::FILE* file = std::tmpfile();
  REQUIRE(file);
  std::fflush(stderr);
  const int saved = dup(2);
  dup2(fileno(file), 2);
  kernels::detail::report("toy", "reference", "simd:small: too large; onednn: needs an even size", "size 13", 1.25);
  kernels::detail::report("toy", "simd:small", "", "size 3", 0.5);
  std::fflush(stderr);
  dup2(saved, 2);
  close(saved);
  std::rewind(file);
  std::array<char, 512> text{};
  const std::size_t length = std::fread(text.data(), 1, text.size() - 1, file);
  std::fclose(file);
  CHECK(std::string(text.data(), length) ==
        "fovea: toy size 13 -> reference (simd:small: too large; onednn: needs an even size) 1.250 ms\n"
        "fovea: toy size 3 -> simd:small 0.500 ms\n");
}
