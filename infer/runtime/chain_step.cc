// A convolution, the depthwise one behind it and (unless squeeze-and-excitation stands between) the projection, in
// bands of rows: the expanded map, six times the size of what goes in and out, never leaves the L2 cache. MobileNetV2's
// block of 112×112×96 values writes and reads 4.8 MB otherwise.
#include <algorithm>
#include <cstring>

#include "core/threads/parallel.h"
#include "infer/runtime/steps_internal.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd/depthwise_raw.h"

namespace fovea::infer::detail {
namespace {

namespace simd = kernels::simd;

// Rows of the expanded map and of the depthwise result that are at work together: 384 KB of 1 MB (Zen 4) to 2 MB of L2.
constexpr std::int64_t kBandFloats = 96 << 10;

class ChainStep final : public Step {
 public:
  ChainStep(ConvPart first, DepthwisePart depthwise, std::optional<ConvPart> last, Places places)
      : first_(std::move(first)), depthwise_(std::move(depthwise)), last_(std::move(last)), places_(places) {
    const simd::PlannedConv& c = first_.conv;
    mid_row_ = c.wo * c.co;
    out_row_ = depthwise_.row.count * c.co;
    const std::int64_t rows_apart = depthwise_.stride;
    // A band of r result rows needs r·stride + kh − stride rows of the expanded map.
    const std::int64_t fit =
        (kBandFloats - (depthwise_.kh - rows_apart) * mid_row_) / (rows_apart * mid_row_ + out_row_);
    band_ = std::clamp<std::int64_t>(fit, 1, depthwise_.ho);
    info.kernel = last_ ? "simd:block" : "simd:expand+depthwise";
  }

  void run(Pointers at) const override {
    const std::int64_t n = first_.conv.n, ho = depthwise_.ho;
    const float *x = place(at, places_.in), *residual = place(at, places_.residual);
    float* const y = place(at, places_.out);
    // Several pictures: each thread takes whole ones. One: each takes a part of the rows, and does a row or two of the
    // expanded map that its neighbour does as well.
    parallel_for(n * ho, n >= num_threads() ? ho : 4, [&](std::int64_t begin, std::int64_t end) {
      while (begin < end) {
        const std::int64_t image = begin / ho, row = begin % ho, stop = std::min(ho, row + end - begin);
        rows(x, residual, y, image, row, stop);
        begin += stop - row;
      }
    });
  }

 private:
  void rows(const float* x, const float* residual, float* y, std::int64_t image, std::int64_t begin,
            std::int64_t end) const {
    const simd::PlannedConv& c = first_.conv;
    const std::int64_t h = c.ho, stride = depthwise_.stride, kh = depthwise_.kh;
    const std::int64_t mid_rows = std::min(h, band_ * stride + kh);
    const std::int64_t mid_floats = mid_rows * mid_row_, line = 16;
    const std::int64_t first_scratch = c.scratch_floats(mid_rows);
    float* const mid =
        kernels::scratch(kernels::ScratchSlot::worker,
                         static_cast<std::size_t>(mid_floats + band_ * out_row_ + first_scratch + 2 * line));
    float* const wide = mid + (mid_floats + line - 1) / line * line;
    float* const window = wide + (band_ * out_row_ + line - 1) / line * line;

    simd::ConvRows expand;
    expand.x = x + image * c.h * c.w * c.ci;
    expand.panel_end = simd::panel_count(c.co);
    expand.scratch = window;
    simd::ConvRows project;
    if (last_) {
      const std::int64_t map = depthwise_.ho * last_->conv.wo * last_->conv.co;
      project.y = y + image * map;
      project.residual = residual ? residual + image * map : nullptr;
      project.panel_end = simd::panel_count(last_->conv.co);
    }
    std::int64_t have_begin = 0, have_end = 0;  // rows of the expanded map in `mid`
    for (std::int64_t row = begin; row < end; row += band_) {
      const std::int64_t stop = std::min(end, row + band_);
      const std::int64_t from = std::max<std::int64_t>(0, row * stride - depthwise_.top);
      const std::int64_t to = std::min(h, (stop - 1) * stride - depthwise_.top + kh);
      if (have_end > from) {  // what the band before left
        std::memmove(mid, mid + (from - have_begin) * mid_row_,
                     static_cast<std::size_t>((have_end - from) * mid_row_) * sizeof(float));
      } else {
        have_end = from;
      }
      have_begin = from;
      if (to > have_end) {
        expand.y = mid - from * mid_row_;
        expand.begin = have_end;
        expand.end = to;
        simd::planned_conv_rows(c, expand);
        if (first_.epilogue.after)
          first_.epilogue.run_after(mid + (have_end - from) * mid_row_, (to - have_end) * mid_row_);
        have_end = to;
      }
      float* const deep = last_ ? wide : y + (image * depthwise_.ho + row) * out_row_;
      for (std::int64_t r = row; r < stop; ++r)
        depthwise_.run_row(mid - from * mid_row_, h, r, deep + (r - row) * out_row_);
      if (!last_) continue;
      project.x = wide - row * out_row_;
      project.begin = row;
      project.end = stop;
      simd::planned_conv_rows(last_->conv, project);
      if (last_->epilogue.after) {
        const std::int64_t width = last_->conv.wo * last_->conv.co;
        last_->epilogue.run_after(project.y + row * width, (stop - row) * width);
      }
    }
  }

  ConvPart first_;
  DepthwisePart depthwise_;
  std::optional<ConvPart> last_;
  Places places_;
  std::int64_t mid_row_, out_row_, band_;
};

}  // namespace

std::unique_ptr<Step> chain_step(ConvPart first, DepthwisePart depthwise, std::optional<ConvPart> last, Places places) {
  return std::make_unique<ChainStep>(std::move(first), std::move(depthwise), std::move(last), places);
}

}  // namespace fovea::infer::detail
