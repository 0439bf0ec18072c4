// The order in which depthwise kernels that unpack and pack 128-bit lanes have channels: in blocks of `largest` (a
// power of two times 16), half of it and so on to 16; a block is its lanes of `lane` channels, by k = 0, 1, … four of
// each.
#pragma once

#include <cstdint>

namespace fovea::kernels::simd {

struct ChannelOrder {
  std::int64_t largest, lane;
};

/// visit(block's first channel, its size, position in it, channel) for all channels rounded up to 16.
template <class Visit>
void each_ordered_channel(std::int64_t channels, ChannelOrder order, const Visit& visit) {
  for (std::int64_t block = 0, size = order.largest; block < channels; block += size) {
    while (size > 16 && channels - block < size) size /= 2;
    const std::int64_t lanes = size / order.lane;
    for (std::int64_t k = 0; k < order.lane / 4; ++k) {
      for (std::int64_t l = 0; l < lanes; ++l) {
        for (std::int64_t i = 0; i < 4; ++i)
          visit(block, size, (k * lanes + l) * 4 + i, block + l * order.lane + k * 4 + i);
      }
    }
  }
}

/// `to` has channels rounded up to 16.
inline void order_by_channel(const float* from, std::int64_t channels, ChannelOrder order, float* to) {
  each_ordered_channel(channels, order, [&](std::int64_t block, std::int64_t, std::int64_t at, std::int64_t c) {
    to[block + at] = c < channels ? from[c] : 0.0f;
  });
}

}  // namespace fovea::kernels::simd
