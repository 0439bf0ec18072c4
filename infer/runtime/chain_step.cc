// A convolution, the depthwise one behind it and (unless squeeze-and-excitation stands between) the projection, without
// the expanded map between them, which is six times the size of what goes in and out: MobileNetV2's block of 112×112×96
// values writes and reads 4.8 MB otherwise. A panel of channels at a time: a result row of the depthwise convolution
// needs as many rows of the expanded map as its kernel has; these stay in L1, in a ring for each panel. Of small maps
// the ring holds all rows, and threads share the panels instead of the rows, which none then makes twice.
#include <algorithm>

#include "core/threads/share.h"
#include "infer/runtime/steps_internal.h"
#include "kernels/cpu/scratch.h"

namespace fovea::infer::detail {
namespace {

namespace simd = kernels::simd;
using simd::element_at;

// A panel of a whole map that L1 (32 KB and more) holds.
constexpr std::int64_t kRingBytes = 26 << 10;
// Rows of the depthwise result that wait for the projection: a fraction of L2, which also holds the rings.
constexpr std::int64_t kBandBytes = 128 << 10;

class ChainStep final : public Step {
 public:
  ChainStep(ConvPart first, DepthwisePart depthwise, std::optional<ConvPart> last, Places places)
      : first_(std::move(first)), depthwise_(std::move(depthwise)), last_(std::move(last)), places_(places) {
    const simd::PlannedConv& c = first_.conv;
    element_ = c.out;
    // A panel of the matrix kernel; two of u8 are a block of the depthwise kernel.
    panels_ = element_ == simd::Element::u8 ? 2 : 1;
    width_ = std::min(c.co, panels_ * simd::panel_width());
    rings_ = (c.co + width_ - 1) / width_;
    ring_rows_ = bytes(c.ho * c.wo * width_) <= kRingBytes ? c.ho : depthwise_.kh;
    out_row_ = depthwise_.row.count * c.co;
    band_ = last_ ? std::clamp<std::int64_t>(kBandBytes / bytes(out_row_), 1, depthwise_.ho) : depthwise_.ho;
    work_ = c.ho * c.wo * c.kh * c.kw * c.ci * c.co + (last_ ? depthwise_.ho * out_row_ * last_->conv.co : 0);
    info.kernel = last_ ? "simd:block" : "simd:expand+depthwise";
  }

  void run(Pointers at) const override {
    const std::int64_t n = first_.conv.n, ho = depthwise_.ho;
    const void *x = place(at, places_.in), *residual = place(at, places_.residual);
    void* const y = place(at, places_.out);
    const int threads = team_size();
    const bool fixed = !simd::shares_pay(n * work_, element_);
    if (!last_ && n < threads && ho < 8 * threads) {
      return parallel_shares({.count = n * rings_, .fixed = fixed}, [&](Share& share) {
        while (share.take(n * rings_)) {
          for (std::int64_t begin = share.begin(); begin < share.end();) {
            const std::int64_t image = begin / rings_, ring = begin % rings_;
            const std::int64_t stop = std::min(rings_, ring + share.end() - begin);
            rows(x, residual, y, image, 0, ho, ring, stop);
            begin += stop - ring;
          }
        }
      });
    }
    // Several pictures: each thread takes whole ones. One: each takes a part of the rows, and does a row or two of the
    // expanded map that its neighbour does as well.
    const ShareSizes sizes{.count = n * ho, .grain = n >= threads ? ho : 4, .least = (band_ + 1) / 2, .fixed = fixed};
    parallel_shares(sizes, [&](Share& share) {
      std::int64_t next = -1, have = 0;
      while (share.take(band_)) {
        for (std::int64_t begin = share.begin(); begin < share.end();) {
          const std::int64_t image = begin / ho, row = begin % ho, stop = std::min(ho, row + share.end() - begin);
          have = rows(x, residual, y, image, row, stop, 0, rings_, row > 0 && begin == next ? have : -1);
          begin += stop - row;
          next = begin;
        }
      }
    });
  }

 private:
  std::int64_t bytes(std::int64_t values) const { return values * simd::bytes_of(element_); }

  /// Result rows [begin, end) of one picture; without a projection of some panels only. `have`: rows of the expanded
  /// map of which the last are in the rings, from the call for the rows before; −1 at a beginning. Returns it for the
  /// next.
  std::int64_t rows(const void* x, const void* residual, void* y, std::int64_t image, std::int64_t begin,
                    std::int64_t end, std::int64_t ring_begin, std::int64_t ring_end, std::int64_t have = -1) const {
    const simd::PlannedConv& c = first_.conv;
    const std::int64_t h = c.ho, stride = depthwise_.stride, kh = depthwise_.kh, top = depthwise_.top;
    const std::int64_t rings = ring_end - ring_begin;
    const auto lines = [](std::int64_t count) { return (count + 63) / 64 * 64; };
    const std::int64_t ring_bytes = lines(bytes(ring_rows_ * c.wo * width_));
    const std::int64_t wide_bytes = last_ ? lines(bytes(band_ * out_row_)) : 0;
    const std::int64_t all = rings * ring_bytes + wide_bytes + c.scratch_bytes(ring_rows_);
    auto* const memory =
        reinterpret_cast<char*>(kernels::scratch(kernels::ScratchSlot::worker, static_cast<std::size_t>(all / 4 + 1)));
    void* const wide = memory + rings * ring_bytes;

    simd::ConvRows expand;
    expand.x = element_at(x, image * c.h * c.w * c.ci, c.source);
    expand.scratch = static_cast<char*>(wide) + wide_bytes;
    simd::ConvRows project;
    if (last_) {
      const std::int64_t map = image * depthwise_.ho * last_->conv.wo * last_->conv.co;
      project.y = element_at(y, map, last_->conv.out);
      project.residual = residual ? element_at(residual, map, last_->conv.out) : nullptr;
      project.panel_end = simd::panel_count(last_->conv.co);
    }
    if (have < 0) have = std::max<std::int64_t>(0, begin * stride - top);
    for (std::int64_t row = begin; row < end; row += band_) {
      const std::int64_t stop = std::min(end, row + band_);
      void* const deep = last_ ? wide : element_at(y, (image * depthwise_.ho + row) * out_row_, element_);
      std::int64_t made = have;
      for (std::int64_t p = ring_begin; p < ring_end; ++p) {
        void* const ring = memory + (p - ring_begin) * ring_bytes;
        const std::int64_t channel = p * width_, width = std::min(width_, c.co - channel);
        expand.panel_begin = p * panels_;
        expand.panel_end = std::min(expand.panel_begin + panels_, simd::panel_count(c.co));
        expand.y_pitch = width;
        made = have;
        for (std::int64_t r = row; r < stop; ++r) {
          const std::int64_t to = ring_rows_ == h ? h : std::min(h, r * stride - top + kh);
          while (made < to) {
            // As many rows as lie one after the other in the ring.
            const std::int64_t slot = made % ring_rows_, some = std::min(to - made, ring_rows_ - slot);
            expand.begin = made;
            expand.end = made + some;
            expand.y = element_at(ring, (slot - made) * c.wo * width - channel, element_);
            simd::planned_conv_rows(c, expand);
            made += some;
          }
          depthwise_.run_row({ring, ring_rows_, width}, r, channel, channel + width,
                             element_at(deep, (r - row) * out_row_ + channel, element_), c.co);
        }
      }
      have = made;
      if (!last_) continue;
      project.x = element_at(wide, -row * out_row_, element_);
      project.begin = row;
      project.end = stop;
      simd::planned_conv_rows(last_->conv, project);
    }
    return have;
  }

  ConvPart first_;
  DepthwisePart depthwise_;
  std::optional<ConvPart> last_;
  Places places_;
  simd::Element element_ = simd::Element::f32;
  std::int64_t panels_ = 1, width_ = 0;  ///< of the matrix kernel, and channels, that pass together
  std::int64_t rings_ = 0, ring_rows_ = 0, out_row_ = 0, band_ = 0;
  std::int64_t work_ = 0;  ///< multiply-adds of its products, per picture
};

}  // namespace

std::unique_ptr<Step> chain_step(ConvPart first, DepthwisePart depthwise, std::optional<ConvPart> last, Places places) {
  return std::make_unique<ChainStep>(std::move(first), std::move(depthwise), std::move(last), places);
}

}  // namespace fovea::infer::detail
