// What the kernels on u8 and i8 need and every CPU can do: the question whether they may run, and packing.
#include "kernels/cpu/avx512/int8.h"
#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/channel_order.h"

namespace fovea::kernels::simd {
namespace {

constexpr ChannelOrder kOrder{64, 16};

}  // namespace

RoundedActivation rounded_activation(ActivationParams activation, float in_scale, float inverse_scale, float zero) {
  constexpr int kPieces = RoundedActivation::kPieces;
  constexpr float kLength = 0.5f, kFar = 1000;
  const auto f = [&](float x) {
    float y = 0;
    activation_forward_f32(activation.kind, static_cast<float>(activation.alpha), &x, &y, 1);
    return static_cast<double>(y);
  };
  RoundedActivation r;
  r.piece_scale = in_scale / kLength;
  for (int i = 0; i < kPieces; ++i) {
    const float begin = kLength * static_cast<float>(i - kPieces / 2);
    double constant = 0, linear = 0, square = 0;
    if (i == 0 || i + 1 == kPieces) {
      const float inner = i == 0 ? begin + kLength : begin, side = i == 0 ? -kFar : kFar;
      linear = (f(2 * side) - f(side)) / static_cast<double>(side);
      constant = f(inner) - linear * static_cast<double>(inner);
    } else {
      // Through the three points of Chebyshev: error h³·f‴/192.
      constexpr float kOff = 0.8660254f / 2;
      const double middle = static_cast<double>(begin + kLength / 2), off = static_cast<double>(kLength * kOff);
      const double low = f(static_cast<float>(middle - off)), mid = f(static_cast<float>(middle)),
                   high = f(static_cast<float>(middle + off));
      square = (low - 2 * mid + high) / (2 * off * off);
      const double slope = (high - low) / (2 * off);
      linear = slope - 2 * square * middle;
      constant = mid - slope * middle + square * middle * middle;
    }
    const auto scale = static_cast<double>(in_scale), out = static_cast<double>(inverse_scale);
    r.square[i] = static_cast<float>(square * scale * scale * out);
    r.linear[i] = static_cast<float>(linear * scale * out);
    r.constant[i] = static_cast<float>(constant * out + static_cast<double>(zero));
  }
  return r;
}

bool has_int8() {
#if defined(__x86_64__)
  static const bool have = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return have && panel_width() == 32;  // tests that force an older target mean this one too
#else
  return false;
#endif
}

void pack_int8(const std::int8_t* b, std::int64_t k, std::int64_t n, std::int8_t* packed) {
  for (std::int64_t p = 0; p * 32 < n; ++p) {
    const std::int64_t columns = n - p * 32 < 32 ? n - p * 32 : 32, width = columns <= 16 ? 16 : 32;
    std::int8_t* to = packed + p * 32 * k;
    for (std::int64_t i = 0; i < k; i += 4) {
      for (std::int64_t j = 0; j < width; ++j) {
        for (std::int64_t q = 0; q < 4; ++q) *to++ = j < columns ? b[(i + q) * n + p * 32 + j] : std::int8_t{0};
      }
    }
  }
}

bool takes_depthwise_int8(std::int64_t kh, std::int64_t kw, std::int64_t step) {
  return has_int8() && kh == kw && (kh == 3 || kh == 5) && (step == 1 || step == 2);
}

std::int64_t depthwise_int8_bytes(std::int64_t size, std::int64_t channels) {
  return (channels + 15) / 16 * 16 * size * ((size + 3) / 4) * 4;
}

void pack_depthwise_int8(const std::int8_t* weights, std::int64_t size, std::int64_t channels, std::int8_t* packed) {
  const std::int64_t groups = (size + 3) / 4;
  each_ordered_channel(channels, kOrder, [&](std::int64_t block, std::int64_t count, std::int64_t at, std::int64_t c) {
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::int64_t t = 0; t < size; ++t) {
        for (std::int64_t q = 0; q < 4; ++q) {
          const std::int64_t r = g * 4 + q;
          packed[block * groups * size * 4 + ((g * size + t) * count + at) * 4 + q] =
              c < channels && r < size ? weights[(r * size + t) * channels + c] : std::int8_t{0};
        }
      }
    }
  });
}

void order_channels(const float* from, std::int64_t channels, float* to) {
  order_by_channel(from, channels, kOrder, to);
}

void depthwise_row(const DepthwiseRowU8& p) { depthwise_row_int8(p); }

}  // namespace fovea::kernels::simd
