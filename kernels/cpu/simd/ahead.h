// Memory that will be needed next, asked for while there is other work.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/simd/panels.h"

namespace fovea::kernels::simd {

/// Asks for some ranges of memory, a part with each part of a chunk's work: read from DRAM when it is needed, a chunk
/// of a convolution takes half as long as its products. Register tiles ask a line at a time between their products
/// (Fetch); many at once wait for each other, since a core has 12 to 16 lines on the way at a time.
class Ahead {
 public:
  /// `work` in any unit, the same for all that step() and fetch() are told.
  explicit Ahead(std::int64_t work) : work_(std::max<std::int64_t>(1, work)) {}
  void start() {
    count_ = range_ = 0;
    at_ = bytes_ = 0;
  }
  /// At most four.
  void add(const void* from, std::int64_t bytes) {
    ranges_[count_++] = {static_cast<const char*>(from), bytes};
    bytes_ += bytes;
  }
  /// Asks for the part that goes with so much of the work, now and into L2.
  void step(std::int64_t work) {
    for (std::int64_t left = share(work); left > 0 && range_ < count_;) {
      const Range part = take(left);
      for (std::int64_t i = 0; i < part.bytes; i += 64) __builtin_prefetch(part.from + i, 0, 2);
      left -= part.bytes;
    }
  }
  /// The part that goes with so much of the work, for tiles that ask `times` times; what is left of a range at most.
  Fetch fetch(std::int64_t work, std::int64_t times) {
    if (range_ >= count_ || times <= 0) return {};
    const Range part = take(std::min(share(work), 64 * times));
    return {part.from, (part.bytes + times - 1) / times};
  }

 private:
  struct Range {
    const char* from;
    std::int64_t bytes;
  };
  /// Whole lines.
  std::int64_t share(std::int64_t work) const { return (bytes_ * work / work_ + 64) / 64 * 64; }
  Range take(std::int64_t bytes) {
    const Range& range = ranges_[range_];
    const Range part{range.from + at_, std::min(bytes, range.bytes - at_)};
    at_ += part.bytes;
    if (at_ >= range.bytes) {
      ++range_;
      at_ = 0;
    }
    return part;
  }

  std::array<Range, 4> ranges_{};
  std::size_t count_ = 0, range_ = 0;
  std::int64_t at_ = 0, bytes_ = 0, work_;
};

}  // namespace fovea::kernels::simd
