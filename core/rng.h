// Counter-based random numbers: Threefry-2x64-20 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
// 2011). A stream depends on (seed, purpose, index) only: not on thread count, worker count or how many numbers others
// drew.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "core/export.h"

namespace fovea {

namespace detail {
constexpr std::uint64_t rotate_left(std::uint64_t v, int n) { return (v << n) | (v >> (64 - n)); }

/// One block of Threefry-2x64 with 20 rounds.
constexpr std::array<std::uint64_t, 2> threefry2x64(std::array<std::uint64_t, 2> key,
                                                    std::array<std::uint64_t, 2> counter) {
  constexpr int kRotations[8] = {16, 42, 12, 31, 16, 32, 24, 21};
  const std::uint64_t ks[3] = {key[0], key[1], 0x1BD11BDAA9FC1A22ull ^ key[0] ^ key[1]};
  std::uint64_t x0 = counter[0] + ks[0], x1 = counter[1] + ks[1];
  for (int round = 0; round < 20; ++round) {
    x0 += x1;
    x1 = rotate_left(x1, kRotations[round % 8]) ^ x0;
    if (round % 4 == 3) {
      const int s = round / 4 + 1;
      x0 += ks[s % 3];
      x1 += ks[(s + 1) % 3] + static_cast<std::uint64_t>(s);
    }
  }
  return {x0, x1};
}

constexpr std::uint64_t fnv1a64(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}
}  // namespace detail

/// A stream of random numbers. Copies continue independently from the same position.
class Rng {
 public:
  /// @param purpose what the numbers are for ("dropout", "shuffle", …): different purposes never share numbers
  /// @param index   which item (sample, step, …) of that purpose
  explicit constexpr Rng(std::uint64_t seed, std::string_view purpose = {}, std::uint64_t index = 0)
      : key_{seed, detail::fnv1a64(purpose)}, index_(index) {}

  /// 64 uniform bits.
  constexpr std::uint64_t next() {
    if (have_ == 0) {
      block_ = detail::threefry2x64(key_, {index_, counter_++});
      have_ = 2;
    }
    return block_[static_cast<std::size_t>(2 - have_--)];
  }
  /// Moves on as if next() had been called `count` times: threads start anywhere in one stream.
  constexpr void skip(std::uint64_t count) {
    const std::uint64_t position = 2 * counter_ - static_cast<std::uint64_t>(have_) + count;
    counter_ = position / 2;
    have_ = 0;
    if (position % 2 == 1) next();
  }
  /// The beginning of the stream of the item `items` further on.
  constexpr Rng ahead(std::uint64_t items) const {
    Rng other = *this;
    other.index_ += items;
    other.counter_ = 0;
    other.have_ = 0;
    other.have_normal_ = false;
    return other;
  }
  // UniformRandomBitGenerator, for std::shuffle and friends (whose results differ between standard libraries: prefer
  // below()).
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~std::uint64_t{0}; }
  constexpr result_type operator()() { return next(); }

  /// Uniform in [0, 1), 53 bits.
  constexpr double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// Uniform in [low, high).
  constexpr double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform in {0, …, n-1} without bias (rejection); n ≥ 1.
  constexpr std::uint64_t below(std::uint64_t n) {
    const std::uint64_t limit = (0 - n) % n;  // 2^64 mod n
    std::uint64_t bits = next();
    while (bits < limit) bits = next();
    return bits % n;
  }
  constexpr bool chance(double probability) { return uniform() < probability; }
  /// Standard normal by Box and Muller (1958); uses two numbers per pair of results.
  double normal() {
    if (have_normal_) {
      have_normal_ = false;
      return spare_normal_;
    }
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    const double angle = 6.283185307179586476925 * uniform();
    spare_normal_ = radius * std::sin(angle);
    have_normal_ = true;
    return radius * std::cos(angle);
  }
  double normal(double mean, double deviation) { return mean + deviation * normal(); }

 private:
  std::array<std::uint64_t, 2> key_;
  std::uint64_t index_;
  std::uint64_t counter_ = 0;
  std::array<std::uint64_t, 2> block_{};
  int have_ = 0;
  bool have_normal_ = false;
  double spare_normal_ = 0;
};

}  // namespace fovea
