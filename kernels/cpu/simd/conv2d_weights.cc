// The gradient of convolution weights: for bands of about 200 positions, which stay in L1, each tile of 6 k-elements ×
// 2 vectors of channels runs over the positions. Threads share out the images and sum into buffers of their own, which
// are added in fixed order; weights too large for that (2 MB) are shared out by columns instead.
#include <algorithm>
#include <cstring>

#include "core/threads/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd/conv2d_direct.h"
#include "kernels/cpu/simd/conv2d_window.h"

namespace fovea::kernels::simd {
namespace {

constexpr std::int64_t kPositions = 196;
constexpr std::int64_t kMaxBuffer = (2 << 20) / sizeof(float);

struct Plan {
  Axis y, x;
  Images in;
  const float* dy;
  std::int64_t dy_pitch, n;  ///< results of this group
  float* dw;                 ///< [k, dw_pitch]
  std::int64_t dw_pitch;
  float* dbias;  ///< may be null

  bool copies;
  std::int64_t columns, pixel_pitch, row_pitch, band, bands, k;
  std::vector<Run> runs;
};

/// Pixels whose distance is an even number of cache lines use half of the cache's sets or fewer: beyond two lines they
/// evict each other.
bool conflicts(std::int64_t pitch) { return pitch % 32 == 0 && pitch > 32; }

void complete(Plan& plan) {
  const Images& in = plan.in;
  plan.copies = !plan.y.inside(in.h) || !plan.x.inside(in.w) || conflicts(in.pitch * plan.x.in_step);
  plan.columns = plan.x.window(plan.x.grid);
  plan.pixel_pitch = !plan.copies ? in.pitch : conflicts(in.channels * plan.x.in_step) ? in.channels + 16 : in.channels;
  plan.row_pitch = plan.copies ? plan.columns * plan.pixel_pitch : in.w * in.pitch;
  const std::int64_t wanted = std::clamp<std::int64_t>(kPositions / plan.x.grid, 1, plan.y.grid);
  plan.bands = (plan.y.grid + wanted - 1) / wanted;
  plan.band = (plan.y.grid + plan.bands - 1) / plan.bands;
  plan.bands = (plan.y.grid + plan.band - 1) / plan.band;
  plan.runs = make_runs(plan.y, plan.x, in.channels, plan.row_pitch, plan.pixel_pitch);
  plan.k = static_cast<std::int64_t>(plan.y.taps.size() * plan.x.taps.size()) * in.channels;
}

/// Adds items [begin, end) × panels to out and sums (both zeroed by the caller).
void accumulate(const Plan& plan, std::int64_t begin, std::int64_t end, std::int64_t panel_begin,
                std::int64_t panel_end, float* out, std::int64_t out_pitch, float* sums) {
  const std::size_t window_floats =
      plan.copies ? line_floats(static_cast<std::size_t>(plan.y.window(plan.band) * plan.row_pitch)) : 0;
  float* const window = scratch(
      ScratchSlot::worker, window_floats + static_cast<std::size_t>(packed_floats(plan.band * plan.x.grid, plan.n)));
  float* const packed = window + window_floats;
  Outer job{};
  job.row_columns = plan.x.grid;
  job.row_pitch = plan.y.in_step * plan.row_pitch;
  job.column_pitch = plan.x.in_step * plan.pixel_pitch;
  job.runs = plan.runs.data();
  job.run_count = static_cast<int>(plan.runs.size());
  job.packed = packed;
  job.columns = plan.n;
  job.panel_begin = panel_begin;
  job.panel_end = panel_end;
  job.out = out;
  job.out_pitch = out_pitch;
  for (std::int64_t item = begin; item < end; ++item) {
    const std::int64_t image = item / plan.bands, first = item % plan.bands * plan.band;
    job.rows = std::min(plan.band, plan.y.grid - first);
    const std::int64_t y0 = first * plan.y.in_step + plan.y.first();
    if (plan.copies) {
      copy_window(plan.in, image, y0, plan.y.window(job.rows), plan.x.first(), plan.columns, plan.pixel_pitch, window);
      job.x = window;
    } else {
      job.x = plan.in.image(image) + (y0 * plan.in.w + plan.x.first()) * plan.in.pitch;
    }
    const std::int64_t positions = job.rows * plan.x.grid;
    pack_rows({plan.dy + (image * plan.y.grid + first) * plan.x.grid * plan.dy_pitch, plan.dy_pitch, 0, positions,
               positions, plan.n, panel_begin, panel_end, packed, sums});
    outer_panels(job);
  }
}

void run_group(const Plan& plan) {
  const std::int64_t items = plan.in.n * plan.bands;
  const std::int64_t padded = padded_columns(plan.n);
  const std::int64_t panels = panel_count(plan.n), panel = panel_width();
  const auto zero_dw = [&](std::int64_t column, std::int64_t count) {
    for (std::int64_t k = 0; k < plan.k; ++k) std::fill_n(plan.dw + k * plan.dw_pitch + column, count, 0.0f);
  };
  const bool split_columns =
      num_threads() > 1 && panels >= num_threads() && (plan.k * padded > kMaxBuffer || items < num_threads());
  if (split_columns) {
    float* const sums = scratch(ScratchSlot::caller, static_cast<std::size_t>(padded));
    std::fill_n(sums, padded, 0.0f);
    parallel_for(panels, 1, [&](std::int64_t begin, std::int64_t end) {
      zero_dw(begin * panel, std::min(end * panel, plan.n) - begin * panel);
      accumulate(plan, 0, items, begin, end, plan.dw, plan.dw_pitch, plan.dbias ? sums : nullptr);
    });
    if (plan.dbias) std::copy_n(sums, plan.n, plan.dbias);
    return;
  }
  // The first thread sums where the result goes, the others next to it.
  const std::int64_t grain =
      std::max<std::int64_t>(1, 200'000 / std::max<std::int64_t>(1, plan.band * plan.x.grid * plan.k * plan.n));
  const int chunks = parallel_chunk_count(items, grain);
  const std::int64_t stride = plan.k * padded;
  float* const sums = scratch(ScratchSlot::caller, static_cast<std::size_t>(chunks * padded + (chunks - 1) * stride));
  float* const buffers = sums + chunks * padded;
  std::fill_n(sums, chunks * padded, 0.0f);
  parallel_for(items, grain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    float* const chunk_sums = plan.dbias ? sums + chunk * padded : nullptr;
    if (chunk == 0) {
      zero_dw(0, plan.n);
      accumulate(plan, begin, end, 0, panels, plan.dw, plan.dw_pitch, chunk_sums);
    } else {
      float* const buffer = buffers + (chunk - 1) * stride;
      std::fill_n(buffer, stride, 0.0f);
      accumulate(plan, begin, end, 0, panels, buffer, padded, chunk_sums);
    }
  });
  parallel_for(plan.k, std::max<std::int64_t>(1, 65536 / padded), [&](std::int64_t begin, std::int64_t end) {
    for (int chunk = 1; chunk < chunks; ++chunk) {
      for (std::int64_t k = begin; k < end; ++k) {
        const float* from = buffers + (chunk - 1) * stride + k * padded;
        float* to = plan.dw + k * plan.dw_pitch;
        for (std::int64_t j = 0; j < plan.n; ++j) to[j] += from[j];
      }
    }
  });
  if (plan.dbias) {
    for (std::int64_t j = 0; j < plan.n; ++j) {
      float total = 0;
      for (int chunk = 0; chunk < chunks; ++chunk) total += sums[chunk * padded + j];
      plan.dbias[j] = total;
    }
  }
}

}  // namespace

void conv2d_direct_backward_weights(const Conv2dProblem& p) {
  const Conv2dParams& cp = p.params;
  const std::int64_t groups = cp.groups, c = p.ci() / groups, n = p.co() / groups;
  std::int64_t images = p.n(), h = p.h(), ho = p.ho();
  if (p.kh() == 1 && p.kw() == 1 && cp.stride == Size2{1, 1} && ho == h && p.wo() == p.width() && cp.padding.top == 0 &&
      cp.padding.left == 0) {
    h *= images;  // a matrix product: one tall image
    ho *= images;
    images = 1;
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    Plan plan{};
    plan.y = forward_axis(ho, p.kh(), cp.stride.h, cp.dilation.h, cp.padding.top);
    plan.x = forward_axis(p.wo(), p.kw(), cp.stride.w, cp.dilation.w, cp.padding.left);
    plan.in = {static_cast<const float*>(p.x.data) + g * c, images, h, p.width(), p.ci(), c};
    plan.dy = static_cast<const float*>(p.y.data) + g * n;
    plan.dy_pitch = p.co();
    plan.n = n;
    plan.dw = static_cast<float*>(p.out.data) + g * n;
    plan.dw_pitch = p.co();
    plan.dbias = p.dbias ? static_cast<float*>(p.dbias->data) + g * n : nullptr;
    complete(plan);
    run_group(plan);
  }
}

}  // namespace fovea::kernels::simd
