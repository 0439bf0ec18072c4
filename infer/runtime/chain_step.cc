// A convolution, the depthwise one behind it and (unless squeeze-and-excitation stands between) the projection, in
// bands of rows: the expanded map, six times the size of what goes in and out, never leaves the L2 cache. MobileNetV2's
// block of 112×112×96 values writes and reads 4.8 MB otherwise.
#include <algorithm>
#include <cstring>

#include "core/threads/parallel.h"
#include "infer/runtime/steps_internal.h"
#include "kernels/cpu/scratch.h"

namespace fovea::infer::detail {
namespace {

namespace simd = kernels::simd;
using simd::element_at;

// Rows of the expanded map and of the depthwise result that are at work together: of 1 MB (Zen 4) to 2 MB of L2.
constexpr std::int64_t kBandBytes = 384 << 10;

class ChainStep final : public Step {
 public:
  ChainStep(ConvPart first, DepthwisePart depthwise, std::optional<ConvPart> last, Places places)
      : first_(std::move(first)), depthwise_(std::move(depthwise)), last_(std::move(last)), places_(places) {
    const simd::PlannedConv& c = first_.conv;
    element_ = c.out;
    mid_row_ = c.wo * c.co;
    out_row_ = depthwise_.row.count * c.co;
    // A band of r result rows needs r·stride + kh − stride rows of the expanded map.
    const std::int64_t stride = depthwise_.stride;
    const std::int64_t room = kBandBytes / bytes(1) - (depthwise_.kh - stride) * mid_row_;
    band_ = std::clamp<std::int64_t>(room / (stride * mid_row_ + out_row_), 1, depthwise_.ho);
    info.kernel = last_ ? "simd:block" : "simd:expand+depthwise";
  }

  void run(Pointers at) const override {
    const std::int64_t n = first_.conv.n, ho = depthwise_.ho;
    const void *x = place(at, places_.in), *residual = place(at, places_.residual);
    void* const y = place(at, places_.out);
    // Several pictures: each thread takes whole ones. One: each takes a part of the rows, and does a row or two of the
    // expanded map that its neighbour does as well.
    parallel_for(n * ho, n >= team_size() ? ho : 4, [&](std::int64_t begin, std::int64_t end) {
      while (begin < end) {
        const std::int64_t image = begin / ho, row = begin % ho, stop = std::min(ho, row + end - begin);
        rows(x, residual, y, image, row, stop);
        begin += stop - row;
      }
    });
  }

 private:
  std::int64_t bytes(std::int64_t values) const { return values * simd::bytes_of(element_); }

  void rows(const void* x, const void* residual, void* y, std::int64_t image, std::int64_t begin,
            std::int64_t end) const {
    const simd::PlannedConv& c = first_.conv;
    const std::int64_t h = c.ho, stride = depthwise_.stride, kh = depthwise_.kh;
    const std::int64_t mid_rows = std::min(h, band_ * stride + kh);
    const auto lines = [](std::int64_t count) { return (count + 63) / 64 * 64; };
    const std::int64_t mid_bytes = lines(bytes(mid_rows * mid_row_)), wide_bytes = lines(bytes(band_ * out_row_));
    const std::int64_t all = mid_bytes + wide_bytes + c.scratch_bytes(mid_rows);
    void* const mid = kernels::scratch(kernels::ScratchSlot::worker, static_cast<std::size_t>(all / 4 + 1));
    void* const wide = static_cast<char*>(mid) + mid_bytes;
    const auto in_mid = [&](std::int64_t row) { return element_at(mid, row * mid_row_, element_); };

    simd::ConvRows expand;
    expand.x = element_at(x, image * c.h * c.w * c.ci, c.source);
    expand.panel_end = simd::panel_count(c.co);
    expand.scratch = static_cast<char*>(wide) + wide_bytes;
    simd::ConvRows project;
    if (last_) {
      const std::int64_t map = image * depthwise_.ho * last_->conv.wo * last_->conv.co;
      project.y = element_at(y, map, last_->conv.out);
      project.residual = residual ? element_at(residual, map, last_->conv.out) : nullptr;
      project.panel_end = simd::panel_count(last_->conv.co);
    }
    std::int64_t have_begin = 0, have_end = 0;  // rows of the expanded map in `mid`
    for (std::int64_t row = begin; row < end; row += band_) {
      const std::int64_t stop = std::min(end, row + band_);
      const std::int64_t from = std::max<std::int64_t>(0, row * stride - depthwise_.top);
      const std::int64_t to = std::min(h, (stop - 1) * stride - depthwise_.top + kh);
      if (have_end > from) {  // what the band before left
        std::memmove(mid, in_mid(from - have_begin), static_cast<std::size_t>(bytes((have_end - from) * mid_row_)));
      } else {
        have_end = from;
      }
      have_begin = from;
      if (to > have_end) {
        expand.y = in_mid(-from);
        expand.begin = have_end;
        expand.end = to;
        simd::planned_conv_rows(c, expand);
        if (first_.epilogue.after)
          first_.epilogue.run_after(in_mid(have_end - from), (to - have_end) * mid_row_, element_);
        have_end = to;
      }
      void* const deep = last_ ? wide : element_at(y, (image * depthwise_.ho + row) * out_row_, element_);
      for (std::int64_t r = row; r < stop; ++r)
        depthwise_.run_row(in_mid(-from), h, r, element_at(deep, (r - row) * out_row_, element_));
      if (!last_) continue;
      project.x = element_at(wide, -row * out_row_, element_);
      project.begin = row;
      project.end = stop;
      simd::planned_conv_rows(last_->conv, project);
      if (last_->epilogue.after) {
        const std::int64_t width = last_->conv.wo * last_->conv.co;
        last_->epilogue.run_after(element_at(project.y, row * width, last_->conv.out), (stop - row) * width,
                                  last_->conv.out);
      }
    }
  }

  ConvPart first_;
  DepthwisePart depthwise_;
  std::optional<ConvPart> last_;
  Places places_;
  simd::Element element_ = simd::Element::f32;
  std::int64_t mid_row_ = 0, out_row_ = 0, band_ = 0;
};

}  // namespace

std::unique_ptr<Step> chain_step(ConvPart first, DepthwisePart depthwise, std::optional<ConvPart> last, Places places) {
  return std::make_unique<ChainStep>(std::move(first), std::move(depthwise), std::move(last), places);
}

}  // namespace fovea::infer::detail
