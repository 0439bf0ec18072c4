// The generator against its published known-answer vectors, and the promise that streams depend on (seed, purpose,
// index) only.
#include <set>

#include "catch.h"
#include "core/rng.h"

using namespace fovea;

TEST_CASE("Threefry-2x64-20 gives the known answers of Random123") {
  using A = std::array<std::uint64_t, 2>;
  CHECK(detail::threefry2x64({0, 0}, {0, 0}) == A{0xc2b6e3a8c2c69865ull, 0x6f81ed42f350084dull});
  const std::uint64_t f = ~std::uint64_t{0};
  CHECK(detail::threefry2x64({f, f}, {f, f}) == A{0xe02cb7c4d95d277aull, 0xd06633d0893b8b68ull});
  CHECK(detail::threefry2x64({0xa4093822299f31d0ull, 0x082efa98ec4e6c89ull},
                             {0x243f6a8885a308d3ull, 0x13198a2e03707344ull}) ==
        A{0x263c7d30bb0f0af1ull, 0x56be8361d3311526ull});
}

TEST_CASE("streams differ by seed, purpose and index and repeat otherwise") {
  std::set<std::uint64_t> first;
  for (const std::uint64_t seed : {0, 1, 2}) {
    for (const char* purpose : {"", "shuffle", "dropout"}) {
      for (const std::uint64_t index : {0, 1, 1000000}) first.insert(Rng(seed, purpose, index).next());
    }
  }
  CHECK(first.size() == 27);
  Rng a(7, "x", 3), b(7, "x", 3);
  for (int i = 0; i < 100; ++i) REQUIRE(a.next() == b.next());
  Rng copy = a;
  CHECK(copy.next() == a.next());
}

TEST_CASE("uniform, below and normal have the moments they should") {
  Rng rng(42, "moments");
  const int n = 200000;
  double sum = 0, squares = 0, nsum = 0, nsquares = 0, fourth = 0;
  int counts[7] = {};
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform();
    REQUIRE((u >= 0 && u < 1));
    sum += u;
    squares += u * u;
    const double z = rng.normal();
    nsum += z;
    nsquares += z * z;
    fourth += z * z * z * z;
    ++counts[rng.below(7)];
  }
  // Five standard errors.
  CHECK(sum / n == Approx(0.5).margin(5 * 0.2887 / std::sqrt(n)));
  CHECK(squares / n == Approx(1.0 / 3).margin(5 * 0.2981 / std::sqrt(n)));
  CHECK(nsum / n == Approx(0).margin(5 / std::sqrt(n)));
  CHECK(nsquares / n == Approx(1).margin(5 * std::sqrt(2.0 / n)));
  CHECK(fourth / n == Approx(3).margin(5 * std::sqrt(96.0 / n)));
  for (const int c : counts) CHECK(c == Approx(n / 7.0).margin(5 * std::sqrt(n / 7.0)));
  CHECK(Rng(1).below(1) == 0);
}
