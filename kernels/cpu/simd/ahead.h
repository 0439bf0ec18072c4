// Memory that will be needed next, asked for while there is other work.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace fovea::kernels::simd {

/// Asks for some ranges of memory (into L2), a part at each of so many steps: read from DRAM when it is needed, a chunk
/// of a convolution takes half as long as its products.
class Ahead {
 public:
  explicit Ahead(std::int64_t steps) : steps_(std::max<std::int64_t>(1, steps)) {}
  void start() {
    count_ = range_ = 0;
    at_ = lines_ = each_ = 0;
  }
  /// At most four. `written`: this core will write there; the lines come as its own.
  void add(const void* from, std::int64_t bytes, bool written = false) {
    ranges_[count_++] = {static_cast<const char*>(from), bytes, written};
    lines_ += (bytes + 63) / 64;
    each_ = (lines_ + steps_ - 1) / steps_;
  }
  void step() {
    std::int64_t left = each_;
    while (left > 0 && range_ < count_) {
      const auto [from, bytes, written] = ranges_[range_];
      const std::int64_t end = std::min(bytes, at_ + left * 64);
      left -= (end - at_ + 63) / 64;
      if (written) {
        for (; at_ < end; at_ += 64) own(from + at_);
      } else {
        for (; at_ < end; at_ += 64) __builtin_prefetch(from + at_, 0, 2);
      }
      if (at_ >= bytes) {
        ++range_;
        at_ = 0;
      }
    }
  }

 private:
  static void own(const char* line) {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(*line));  // the builtin is this only for newer CPUs than we compile for
#else
    __builtin_prefetch(line, 1, 2);
#endif
  }

  struct Range {
    const char* from;
    std::int64_t bytes;
    bool written;
  };
  std::array<Range, 4> ranges_{};
  std::size_t count_ = 0, range_ = 0;
  std::int64_t at_ = 0, lines_ = 0, each_ = 0, steps_;
};

}  // namespace fovea::kernels::simd
