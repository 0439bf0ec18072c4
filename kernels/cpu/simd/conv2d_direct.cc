// Forward and backward-data: windows of the image (padded where need be, 256 KB at most, so that they stay in L2) times
// packed weights. The results of a window are numbered row after row, so that register tiles are full whatever the
// width. How far from the limit: see the list in kernels/conv2d.cc.
#include "kernels/cpu/simd/conv2d_direct.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/pack_cache.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd/conv2d_window.h"

namespace fovea::kernels::simd {
namespace {

constexpr std::int64_t kWindowBytes = 256 << 10;
// Packing costs about 0.4 cycles per weight, multiplying rows/16: from 1024 rows it is below 1 % and not worth keeping.
constexpr std::int64_t kRowsToPackPerCall = 1024;
// Below this many rows the weights are the larger operand: threads share them out instead of the rows.
constexpr std::int64_t kRowsToSplitColumns = 256;

struct Phase {
  Axis y, x;
  std::int64_t taps() const { return static_cast<std::int64_t>(y.taps.size() * x.taps.size()); }
  std::int64_t pixels() const { return y.grid * x.grid; }
};

/// out[n, results] of one group.
struct Target {
  float* data;
  std::int64_t h, w, pitch;
  std::int64_t channels;
};

struct Epilogue {
  const float* bias = nullptr;  // padded to whole vectors
  ActivationParams activation{Activation::none};
};

void zero_phase(const Phase& phase, std::int64_t n, const Target& target) {
  for (std::int64_t image = 0; image < n; ++image) {
    for (std::int64_t gy = 0; gy < phase.y.grid; ++gy) {
      for (std::int64_t gx = 0; gx < phase.x.grid; ++gx) {
        const std::int64_t row = image * target.h + phase.y.out_start + gy * phase.y.out_step;
        std::memset(target.data + (row * target.w + phase.x.out_start + gx * phase.x.out_step) * target.pitch, 0,
                    static_cast<std::size_t>(target.channels) * sizeof(float));
      }
    }
  }
}

/// Rows of results per work item: small enough for the cache, and enough items of equal size for the threads.
std::int64_t band_rows(const Phase& phase, std::int64_t n, std::int64_t channels, std::int64_t results, int threads) {
  const std::int64_t row_bytes =
      4 * (phase.y.in_step * phase.x.window(phase.x.grid) * channels + phase.x.grid * results);
  const std::int64_t fit =
      std::clamp<std::int64_t>(kWindowBytes / std::max<std::int64_t>(1, row_bytes), 1, phase.y.grid);
  std::int64_t bands = (phase.y.grid + fit - 1) / fit;
  if (n < 4 * threads) {
    const std::int64_t team = std::max(1, threads);
    while (n * bands % team != 0) ++bands;
  }
  bands = std::min(bands, phase.y.grid);
  return (phase.y.grid + bands - 1) / bands;
}

void run_phase(const Phase& phase, const Images& in, const Target& target, const float* packed,
               const Epilogue& epilogue) {
  if (phase.pixels() == 0) return;
  if (phase.taps() == 0) return zero_phase(phase, in.n, target);
  const Axis &ay = phase.y, &ax = phase.x;
  const bool direct = ay.inside(in.h) && ax.inside(in.w);
  const std::int64_t columns = ax.window(ax.grid);
  const std::int64_t pixel_pitch = direct ? in.pitch : in.channels;
  const std::int64_t row_pitch = direct ? in.w * in.pitch : columns * in.channels;
  const std::vector<Run> runs = make_runs(ay, ax, in.channels, row_pitch, pixel_pitch);
  const std::int64_t panels = panel_count(target.channels);

  const int threads = num_threads();
  const bool split_columns = threads > 1 && in.n * phase.pixels() <= kRowsToSplitColumns && panels >= threads;
  const std::int64_t band = band_rows(phase, in.n, in.channels, target.channels, split_columns ? 1 : threads);
  const std::int64_t bands = (ay.grid + band - 1) / band;
  const std::int64_t items = in.n * bands;

  const auto work = [&](std::int64_t item_begin, std::int64_t item_end, std::int64_t panel_begin,
                        std::int64_t panel_end) {
    const std::int64_t rows = band * ax.grid;
    const std::size_t window_floats = direct ? 0 : line_floats(static_cast<std::size_t>(ay.window(band) * row_pitch));
    static_assert(sizeof(std::int64_t) == 2 * sizeof(float));
    float* const window = scratch(ScratchSlot::worker, window_floats + 4 * static_cast<std::size_t>(rows));
    auto* const row_offsets = reinterpret_cast<std::int64_t*>(window + window_floats);
    auto* const out_offsets = row_offsets + rows;
    for (std::int64_t r = 0, m = 0; r < band; ++r) {
      for (std::int64_t c = 0; c < ax.grid; ++c, ++m) {
        row_offsets[m] = r * ay.in_step * row_pitch + c * ax.in_step * pixel_pitch;
        out_offsets[m] = (r * ay.out_step * target.w + c * ax.out_step) * target.pitch;
      }
    }
    Multiply job{};
    job.row_offsets = row_offsets;
    job.out_offsets = out_offsets;
    job.runs = runs.data();
    job.run_count = static_cast<int>(runs.size());
    job.k = phase.taps() * in.channels;
    job.packed = packed;
    job.columns = target.channels;
    job.panel_begin = panel_begin;
    job.panel_end = panel_end;
    job.bias = epilogue.bias;
    job.activation = epilogue.activation;
    for (std::int64_t item = item_begin; item < item_end; ++item) {
      const std::int64_t image = item / bands, begin = item % bands * band;
      const std::int64_t count = std::min(band, ay.grid - begin);
      const std::int64_t y0 = begin * ay.in_step + ay.first();
      if (direct) {
        job.a = in.image(image) + (y0 * in.w + ax.first()) * in.pitch;
      } else {
        copy_window(in, image, y0, ay.window(count), ax.first(), columns, in.channels, window);
        job.a = window;
      }
      job.rows = static_cast<int>(count * ax.grid);
      job.out = target.data +
                ((image * target.h + ay.out_start + begin * ay.out_step) * target.w + ax.out_start) * target.pitch;
      multiply_panels(job);
    }
  };
  if (split_columns) {
    parallel_for(panels, 1, [&](std::int64_t begin, std::int64_t end) { work(0, items, begin, end); });
  } else {
    // Waking a thread costs about as much as 100 000 multiply-adds.
    const std::int64_t per_item =
        std::max<std::int64_t>(1, band * ax.grid * phase.taps() * in.channels * target.channels);
    parallel_for(items, std::max<std::int64_t>(1, 100'000 / per_item),
                 [&](std::int64_t begin, std::int64_t end) { work(begin, end, 0, panels); });
  }
}

/// A 1×1 convolution at stride 1 is a matrix product: all images become one tall one.
bool pointwise(const Conv2dProblem& p) {
  const Padding& pad = p.params.padding;
  return p.kh() == 1 && p.kw() == 1 && p.params.stride == Size2{1, 1} && pad.top == 0 && pad.bottom == 0 &&
         pad.left == 0 && pad.right == 0;
}

void run(const Conv2dProblem& p, bool backward) {
  const std::int64_t groups = p.params.groups;
  const ConstView& from = backward ? p.y : p.x;
  const std::int64_t c = from.shape[3] / groups;   // what is summed over
  const std::int64_t n = p.out.shape[3] / groups;  // results
  const std::int64_t k_all = p.kh() * p.kw() * c;
  const Conv2dParams& cp = p.params;

  Images in{static_cast<const float*>(from.data), from.shape[0], from.shape[1], from.shape[2], from.shape[3], c};
  Target target{static_cast<float*>(p.out.data), p.out.shape[1], p.out.shape[2], p.out.shape[3], n};
  if (pointwise(p)) {
    in.h *= in.n;
    target.h *= in.n;
    in.n = 1;
  }
  std::vector<Phase> phases;
  if (backward) {
    const auto ys = backward_axes(target.h, p.kh(), cp.stride.h, cp.dilation.h, cp.padding.top);
    const auto xs = backward_axes(target.w, p.kw(), cp.stride.w, cp.dilation.w, cp.padding.left);
    for (const Axis& y : ys) {
      for (const Axis& x : xs) phases.push_back({y, x});
    }
  } else {
    phases.push_back({forward_axis(target.h, p.kh(), cp.stride.h, cp.dilation.h, cp.padding.top),
                      forward_axis(target.w, p.kw(), cp.stride.w, cp.dilation.w, cp.padding.left)});
  }

  // One packed matrix per group and phase, in the order of the phase's taps.
  const auto* const w = static_cast<const float*>(p.w.data);
  const std::int64_t co = p.co(), ci_group = p.w.shape[2];
  const auto pack_all = [&](float* packed) {
    for (std::int64_t g = 0; g < groups; ++g) {
      for (const Phase& phase : phases) {
        const std::int64_t K = phase.taps() * c;
        parallel_for(panel_count(n),
                     std::max<std::int64_t>(1, (1 << 18) / std::max<std::int64_t>(1, K * panel_width())),
                     [&](std::int64_t begin, std::int64_t end) {
                       std::int64_t k0 = 0;
                       for (const Tap& ty : phase.y.taps) {
                         for (const Tap& tx : phase.x.taps) {
                           const float* tap = w + (ty.k * p.kw() + tx.k) * ci_group * co;
                           const PackRows job{tap + g * (backward ? c : n), co, k0, c, K, n, begin, end, packed};
                           backward ? pack_transposed(job) : pack_rows(job);
                           k0 += c;
                         }
                       }
                     });
        packed += packed_floats(K, n);
      }
    }
  };
  // Every tap belongs to one phase, so the sizes add up to the whole kernel's.
  const auto packed_size = static_cast<std::size_t>(groups * packed_floats(k_all, n));
  const auto bias_size = p.bias ? static_cast<std::size_t>(groups * padded_columns(n)) : 0;
  const bool keep = cacheable(p.w) && from.shape[0] * std::max(p.ho() * p.wo(), p.h() * p.width()) < kRowsToPackPerCall;
  float* const shared = scratch(ScratchSlot::caller, (keep ? 0 : line_floats(packed_size)) + bias_size);
  std::shared_ptr<const float> kept;
  if (keep) {
    const PackKey key{backward ? "conv2d_direct:backward" : "conv2d_direct:forward",
                      p.w.data,
                      p.w.storage_id,
                      {p.kh(), p.kw(), ci_group, co, groups, cp.stride.h, cp.stride.w, cp.dilation.h, cp.dilation.w,
                       backward ? cp.padding.top : 0, backward ? cp.padding.left : 0,
                       backward ? std::min<std::int64_t>(target.h, cp.stride.h) : 0,
                       backward ? std::min<std::int64_t>(target.w, cp.stride.w) : 0, vector_width()}};
    kept = cached_pack(key, p.w.version, packed_size, pack_all);
  } else {
    pack_all(shared);
  }
  const float* packed = keep ? kept.get() : shared;
  float* const bias = shared + (keep ? 0 : line_floats(packed_size));
  if (p.bias) {
    std::fill_n(bias, bias_size, 0.0f);
    for (std::int64_t g = 0; g < groups; ++g) {
      std::copy_n(static_cast<const float*>(p.bias->data) + g * n, n, bias + g * padded_columns(n));
    }
  }

  const bool fused = fuses(p.activation.kind);
  for (std::int64_t g = 0; g < groups; ++g) {
    Images group_in = in;
    group_in.data += g * c;
    Target group_target = target;
    group_target.data += g * n;
    const Epilogue epilogue{p.bias ? bias + g * padded_columns(n) : nullptr,
                            fused ? p.activation : ActivationParams{Activation::none}};
    for (const Phase& phase : phases) {
      run_phase(phase, group_in, group_target, packed, epilogue);
      packed += packed_floats(phase.taps() * c, n);
    }
  }
  if (!fused) activation_forward(p.activation, p.out, p.out);
}

}  // namespace

const char* conv2d_direct_declines(const Conv2dProblem& p) {
  if (const char* reason = needs_cpu_f32(p.out)) return reason;
  if (p.depthwise()) return "depthwise";
  // A group is a convolution of its own: with fewer channels vectors would be mostly empty.
  if (p.params.groups > 1 && (p.ci() / p.params.groups < 4 || p.co() / p.params.groups < 4)) return "narrow groups";
  return nullptr;
}

void conv2d_direct_forward(const Conv2dProblem& p) { run(p, false); }
void conv2d_direct_backward_data(const Conv2dProblem& p) { run(p, true); }

}  // namespace fovea::kernels::simd
