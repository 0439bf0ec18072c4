// What the bf16 kernels need and every CPU can do: the question whether it may run, and packing.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "core/dtype.h"
#include "kernels/cpu/avx512/bf16.h"
#include "kernels/cpu/simd/channel_order.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {

bool has_bf16() {
#if defined(__x86_64__)
  static const bool have = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
  return have && panel_width() == 32;  // tests that force an older target mean this one too
#else
  return false;
#endif
}

namespace {

/// Whether a full tile of products takes less time in bf16 than in f32: 40 µs, since each is tried ten times and a core
/// that was busy otherwise meanwhile counts by its best.
bool measure_products() {
  constexpr std::int64_t k = 128, n = 32;
  const std::int64_t rows = planned_tile_rows();
  const auto count = static_cast<std::size_t>(rows * k), weights = static_cast<std::size_t>(k * n) + 1024;
  const std::vector<float> a(count), b(weights), bias(n);
  std::vector<float> c(static_cast<std::size_t>(rows * n));
  const Run run{0, static_cast<int>(k)};
  PlannedGemm gemm;
  gemm.a = a.data();
  gemm.a_stride = k;
  gemm.rows = rows;
  gemm.runs = &run;
  gemm.run_count = 1;
  gemm.k = k;
  gemm.packed = b.data();
  gemm.columns = n;
  gemm.panel_end = 1;
  gemm.bias = bias.data();
  gemm.c = c.data();
  gemm.c_stride = n;
  const auto time = [&](Element element) {
    gemm.in = element;
    const auto begin = std::chrono::steady_clock::now();
    planned_gemm(gemm);
    return std::chrono::steady_clock::now() - begin;
  };
  auto f32 = time(Element::f32), bf16 = time(Element::bf16);
  for (int i = 0; i < 10; ++i) {
    f32 = std::min(f32, time(Element::f32));
    bf16 = std::min(bf16, time(Element::bf16));
  }
  return bf16 < f32;
}

std::atomic<int> pretended{-1};

}  // namespace

bool bf16_products_pay() {
  if (!has_bf16()) return false;
  if (const int answer = pretended.load(std::memory_order_relaxed); answer >= 0) return answer > 0;
  static const bool measured = measure_products();
  return measured;
}

PretendBf16ProductsPay::PretendBf16ProductsPay(bool pay) : outer_(pretended.exchange(pay)) {}
PretendBf16ProductsPay::~PretendBf16ProductsPay() { pretended = outer_; }

void pack_bf16(const float* b, std::int64_t k, std::int64_t n, std::uint16_t* packed) {
  for (std::int64_t p = 0; p * 32 < n; ++p) {
    const std::int64_t columns = n - p * 32 < 32 ? n - p * 32 : 32, width = columns <= 16 ? 16 : 32;
    std::uint16_t* to = packed + p * 32 * k;
    for (std::int64_t i = 0; i < k; i += 2) {
      for (std::int64_t j = 0; j < width; ++j) {
        for (std::int64_t q = 0; q < 2; ++q)
          *to++ = j < columns ? bf16(b[(i + q) * n + p * 32 + j]).bits : std::uint16_t{0};
      }
    }
  }
}

namespace {

constexpr ChannelOrder kOrder{32, 8};

/// Instructions per result: for each pair of kernel rows one by column, for the last row one by pair of columns.
std::int64_t terms_of(std::int64_t size) { return size / 2 * size + (size + 1) / 2; }

}  // namespace

bool takes_depthwise_bf16(std::int64_t kh, std::int64_t kw, std::int64_t step) {
  return has_bf16() && kh == kw && (kh == 3 || kh == 5) && (step == 1 || step == 2);
}

std::int64_t depthwise_bf16_count(std::int64_t size, std::int64_t channels) {
  return (channels + 15) / 16 * 16 * terms_of(size) * 2;
}

void pack_depthwise_bf16(const float* weights, std::int64_t size, std::int64_t channels, std::uint16_t* packed) {
  const std::int64_t paired = size / 2 * size;
  each_ordered_channel(channels, kOrder, [&](std::int64_t block, std::int64_t count, std::int64_t at, std::int64_t c) {
    const auto tap = [&](std::int64_t r, std::int64_t t) {
      return c < channels ? bf16(weights[(r * size + t) * channels + c]).bits : std::uint16_t{0};
    };
    for (std::int64_t term = 0; term < terms_of(size); ++term) {
      std::uint16_t* const to = packed + block * terms_of(size) * 2 + (term * count + at) * 2;
      const std::int64_t pair = term - paired;
      if (pair < 0) {
        to[0] = tap(term / size * 2, term % size);
        to[1] = tap(term / size * 2 + 1, term % size);
      } else {  // the last tap is the second of its pair
        const bool tail = pair == size / 2;
        to[0] = tail ? std::uint16_t{0} : tap(size - 1, pair * 2);
        to[1] = tap(size - 1, tail ? size - 1 : pair * 2 + 1);
      }
    }
  });
}

void order_channels_bf16(const float* from, std::int64_t channels, float* to) {
  order_by_channel(from, channels, kOrder, to);
}

void depthwise_row(const DepthwiseRowBf16& p) { depthwise_row_bf16(p); }

}  // namespace fovea::kernels::simd
