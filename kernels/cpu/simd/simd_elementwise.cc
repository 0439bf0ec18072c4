// Hands broadcasting, reductions, concatenation, softmax and dropout to the Highway kernels. Broadcasts and reductions
// are served where the axes fall into three runs, kept · spread · kept: same shape, [C] over NHWC, [N,1,1,C], scalars,
// global means.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/elementwise_raw.h"
#include "kernels/cpu/simd/pool_raw.h"
#include "kernels/cpu/simd/reduce_raw.h"
#include "kernels/cpu/simd/simd.h"

namespace fovea::kernels::simd {
namespace {

using Axes = std::array<bool, Shape::kMaxRank>;

/// A tensor seen as [outer, middle, inner], of which another one lacks or repeats the middle.
struct Split {
  bool fits = true;
  std::int64_t outer = 1, middle = 1, inner = 1;
};

Split split(const Shape& whole, const Axes& spread) {
  Split s;
  int run = 0;
  for (int axis = 0; axis < whole.rank(); ++axis) {
    const std::int64_t extent = whole[axis];
    if (extent == 1) continue;
    if (spread[static_cast<std::size_t>(axis)]) {
      if (run == 2) s.fits = false;
      run = 1;
      s.middle *= extent;
    } else if (run == 0) {
      s.outer *= extent;
    } else {
      run = 2;
      s.inner *= extent;
    }
  }
  return s;
}

/// Axes of `whole` along which `part` is repeated.
Axes repeated(const Shape& whole, const Shape& part) {
  Axes axes{};
  for (int axis = 0; axis < whole.rank(); ++axis) {
    const int at = axis - (whole.rank() - part.rank());
    axes[static_cast<std::size_t>(axis)] = (at < 0 || part[at] == 1) && whole[axis] != 1;
  }
  return axes;
}

/// The operand that is repeated: b, or a (swapped).
struct Broadcast {
  bool swapped = false;
  Split split;
};
Broadcast broadcast_of(const BinaryProblem& p) {
  const std::int64_t n = p.y.numel();
  if (p.a.numel() == n) return {false, split(p.y.shape, repeated(p.y.shape, p.b.shape))};
  if (p.b.numel() == n) return {true, split(p.y.shape, repeated(p.y.shape, p.a.shape))};
  Broadcast none;
  none.split.fits = false;
  return none;
}

/// body(o, begin, end): rows [begin, end) of the middle of block o, on all threads whichever of the two is long.
template <class Body>
void for_blocks(const Split& s, std::int64_t rows, Body body) {
  const std::int64_t per_row = std::max<std::int64_t>(1, s.middle * s.inner / std::max<std::int64_t>(1, rows));
  if (s.outer >= 2 * num_threads()) {
    parallel_for(s.outer, std::max<std::int64_t>(1, kGrain / (rows * per_row)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t o = begin; o < end; ++o) body(o, 0, rows);
                 });
    return;
  }
  for (std::int64_t o = 0; o < s.outer; ++o) {
    parallel_for(rows, std::max<std::int64_t>(1, kGrain / per_row),
                 [&](std::int64_t begin, std::int64_t end) { body(o, begin, end); });
  }
}

}  // namespace

const char* declines(const BinaryProblem& p) {
  if (const char* reason = needs_cpu_f32(p.y)) return reason;
  return broadcast_of(p).split.fits ? nullptr : "broadcast over more than one run of axes";
}

void binary(const BinaryProblem& p) {
  // Clang does not capture structured bindings.
  const auto broadcast = broadcast_of(p);
  const bool swapped = broadcast.swapped;
  const auto& s = broadcast.split;
  const float *a = (swapped ? p.b : p.a).ptr<float>(), *b = (swapped ? p.a : p.b).ptr<float>();
  float* y = p.y.ptr<float>();
  if (s.middle == 1) {
    parallel_for(p.y.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      binary_f32(p.kind, (swapped ? b : a) + begin, (swapped ? a : b) + begin, y + begin, end - begin);
    });
    return;
  }
  const std::int64_t block = s.middle * s.inner;
  Fold fold = fold_channels(s.inner);
  if (block < 2 * fold.period) fold = {1, s.inner};  // too short to pay for repeating the row
  for_blocks(s, (block + fold.period - 1) / fold.period, [&](std::int64_t o, std::int64_t begin, std::int64_t end) {
    const float* row = b + o * s.inner;
    if (fold.repeat > 1) {
      float* longer = scratch<float>(Slot::block_a, fold.period);
      repeat_channels(row, 0.0f, s.inner, fold, longer);
      row = longer;
    }
    const std::int64_t from = o * block + begin * fold.period,
                       n = std::min(end * fold.period, block) - begin * fold.period;
    binary_row_f32(p.kind, swapped, a + from, row, fold.period, y + from, n);
  });
}

const char* declines(const ReduceToProblem& p) {
  if (const char* reason = needs_cpu_f32(p.y)) return reason;
  return split(p.x.shape, repeated(p.x.shape, p.y.shape)).fits ? nullptr : "reduces more than one run of axes";
}
void reduce_to(const ReduceToProblem& p) {
  const Split s = split(p.x.shape, repeated(p.x.shape, p.y.shape));
  sum_over_rows_f32(p.x.ptr<float>(), s.outer, s.middle, s.inner, 1.0, p.y.ptr<float>());
}

const char* declines(const ReduceProblem& p) {
  if (const char* reason = needs_cpu_f32(p.out)) return reason;
  if (p.kind == Reduction::max) return "maximum";
  return split(p.full(), p.reduced).fits ? nullptr : "reduces more than one run of axes";
}
void reduce(const ReduceProblem& p) {
  const Split s = split(p.full(), p.reduced);
  const double factor = p.kind == Reduction::mean ? 1.0 / static_cast<double>(s.middle) : 1.0;
  const float* in = p.in.ptr<float>();
  float* out = p.out.ptr<float>();
  if (p.pass == Pass::forward) return sum_over_rows_f32(in, s.outer, s.middle, s.inner, factor, out);
  for_blocks(s, s.middle, [&](std::int64_t o, std::int64_t begin, std::int64_t end) {
    float* to = out + (o * s.middle + begin) * s.inner;
    if (s.inner == 1) {
      std::fill(to, to + end - begin, static_cast<float>(factor * static_cast<double>(in[o])));
    } else {
      spread_row_f32(in + o * s.inner, end - begin, s.inner, static_cast<float>(factor), to);
    }
  });
}

const char* declines(const AffineProblem& p) { return needs_cpu_f32(p.y); }
void affine(const AffineProblem& p) {
  const float* x = p.x.ptr<float>();
  float* y = p.y.ptr<float>();
  parallel_for(p.y.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    affine_f32(static_cast<float>(p.scale), static_cast<float>(p.shift), x + begin, y + begin, end - begin);
  });
}

const char* declines(const ConcatProblem& p) {
  const bool forward = p.pass == Pass::forward;
  if (p.outer < 2) return "one run of memory per part";
  return needs_cpu(forward ? ConstView(p.whole_out) : p.whole_in);
}
void concat(const ConcatProblem& p) {
  const bool forward = p.pass == Pass::forward;
  const ConstView whole = forward ? ConstView(p.whole_out) : p.whole_in;
  const std::int64_t element = static_cast<std::int64_t>(dtype_size(whole.dtype));
  const std::int64_t whole_row = whole.shape[p.axis] * p.inner * element;
  const std::size_t parts = forward ? p.parts_in.size() : p.parts_out.size();
  parallel_for(p.outer, std::max<std::int64_t>(1, 4 * kGrain / std::max<std::int64_t>(1, whole_row)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t o = begin; o < end; ++o) {
                   std::int64_t at = o * whole_row;
                   for (std::size_t k = 0; k < parts; ++k) {
                     const Shape& shape = forward ? p.parts_in[k].shape : p.parts_out[k].shape;
                     const std::int64_t row = shape[p.axis] * p.inner * element;
                     if (row == 0) continue;
                     if (forward) {
                       std::memcpy(static_cast<char*>(p.whole_out.data) + at,
                                   static_cast<const char*>(p.parts_in[k].data) + o * row,
                                   static_cast<std::size_t>(row));
                     } else {
                       std::memcpy(static_cast<char*>(p.parts_out[k].data) + o * row,
                                   static_cast<const char*>(p.whole_in.data) + at, static_cast<std::size_t>(row));
                     }
                     at += row;
                   }
                 }
               });
}

const char* declines(const SoftmaxProblem& p) { return needs_cpu_f32(p.out); }
void softmax(const SoftmaxProblem& p) {
  const std::int64_t classes = p.classes();
  float* out = p.out.ptr<float>();
  parallel_for(p.rows(), std::max<std::int64_t>(1, kHeavyGrain / classes), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t at = begin * classes;
    if (p.pass == Pass::forward) {
      softmax_f32(p.log, p.x.ptr<float>() + at, out + at, end - begin, classes);
    } else {
      softmax_backward_f32(p.log, p.y.ptr<float>() + at, p.dy.ptr<float>() + at, out + at, end - begin, classes);
    }
  });
}

const char* declines(const DropoutProblem& p) {
  if (p.rate >= 1) return "drops everything";
  return needs_cpu_f32(p.out);
}
void dropout(const DropoutProblem& p) {
  const std::int64_t n = p.out.numel();
  const float* in = p.in.ptr<float>();
  float* out = p.out.ptr<float>();
  const auto scale = static_cast<float>(1 / (1 - p.rate));
  if (p.pass == Pass::backward) {
    const std::uint8_t* mask = p.mask.ptr<std::uint8_t>();
    parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
      dropout_backward_f32(mask + begin, scale, in + begin, out + begin, end - begin);
    });
    return;
  }
  std::uint8_t* mask = p.mask_out.ptr<std::uint8_t>();
  const double exact = p.rate * 0x1p32;
  const std::uint64_t rounded = static_cast<std::uint64_t>(exact + 0.5);
  const auto threshold = static_cast<std::uint32_t>(std::min<std::uint64_t>(rounded, 0xffffffffu));
  // Element i has the 32 bits of half i mod 2 of number i/2 of the stream, so threads begin at pairs. With an odd first
  // element, the lower half of the first pair is nobody's.
  const std::int64_t odd = p.first % 2;
  parallel_for((n + odd + 1) / 2, kHeavyGrain / 2, [&](std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t kBlock = 512;
    std::uint32_t bits[2 * kBlock];
    Rng rng = p.rng;
    rng.skip(static_cast<std::uint64_t>(p.first / 2 + begin));
    for (std::int64_t pair = begin; pair < end; pair += kBlock) {
      const std::int64_t pairs = std::min(kBlock, end - pair);
      for (std::int64_t k = 0; k < pairs; ++k) {
        const std::uint64_t both = rng.next();
        bits[2 * k] = static_cast<std::uint32_t>(both);
        bits[2 * k + 1] = static_cast<std::uint32_t>(both >> 32);
      }
      const std::int64_t at = std::max<std::int64_t>(0, 2 * pair - odd), to = std::min(n, 2 * (pair + pairs) - odd);
      dropout_f32(bits + (at - (2 * pair - odd)), threshold, scale, in + at, out + at, mask + at, to - at);
    }
  });
}

}  // namespace fovea::kernels::simd
