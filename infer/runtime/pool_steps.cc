// Pooling and concatenation of maps as they lie in memory, f32 or bf16.
#include <cstring>

#include "core/threads/parallel.h"
#include "infer/runtime/steps_internal.h"
#include "kernels/cpu/simd/pool_raw.h"

namespace fovea::infer::detail {
namespace {

namespace simd = kernels::simd;

// Values that pay for another thread.
constexpr std::int64_t kGrain = 20'000;

class PoolStep final : public Step {
 public:
  PoolStep(const Shape& x, const Shape& y, const kernels::Pool2dParams& p, simd::Element element, Places places)
      : shape_(simd::pool_shape(p, x, y)), rows_(y[0] * y[1]), element_(element), places_(places) {
    shape_.y_pitch = places.out_pitch;
    info.kernel = "simd:pool";
  }
  void run(Pointers at) const override {
    const void* const x = place(at, places_.in);
    void* const y = result_place(at, places_, element_);
    const std::int64_t row_work = shape_.wo * shape_.channels * shape_.window_h * shape_.window_w;
    parallel_for(rows_, std::max<std::int64_t>(1, kGrain / (row_work + 1)),
                 [&](std::int64_t begin, std::int64_t end) { simd::pool_forward(shape_, element_, x, y, begin, end); });
  }

 private:
  simd::PoolShape shape_;
  std::int64_t rows_;
  simd::Element element_;
  Places places_;
};

class ConcatStep final : public Step {
 public:
  ConcatStep(std::vector<Part> parts, std::int64_t pixels, std::int64_t channels, simd::Element element, Places places)
      : parts_(std::move(parts)),
        pixels_(pixels),
        bytes_(simd::bytes_of(element)),
        pitch_((places.out_pitch > 0 ? places.out_pitch : channels) * bytes_),
        element_(element),
        places_(places) {
    for (const Part& part : parts_) copied_ += part.channels;
    info.kernel = "copies";
  }
  void run(Pointers at) const override {
    char* const y = static_cast<char*>(result_place(at, places_, element_));
    parallel_for(pixels_, 1 + kGrain / (copied_ + 1), [&](std::int64_t begin, std::int64_t end) {
      for (const Part& part : parts_) {
        const auto count = static_cast<std::size_t>(part.channels * bytes_);
        const char* from = static_cast<const char*>(place(at, part.value)) + begin * part.channels * bytes_;
        char* to = y + begin * pitch_ + part.offset * bytes_;
        for (std::int64_t i = begin; i < end; ++i, from += count, to += pitch_) std::memcpy(to, from, count);
      }
    });
  }

 private:
  std::vector<Part> parts_;
  std::int64_t pixels_, bytes_, pitch_, copied_ = 0;
  simd::Element element_;
  Places places_;
};

}  // namespace

std::unique_ptr<Step> pool_step(const Shape& x, const Shape& y, const kernels::Pool2dParams& params,
                                simd::Element element, Places places) {
  return std::make_unique<PoolStep>(x, y, params, element, places);
}

std::unique_ptr<Step> concat_step(std::vector<Part> parts, std::int64_t pixels, std::int64_t channels,
                                  simd::Element element, Places places) {
  return std::make_unique<ConcatStep>(std::move(parts), pixels, channels, element, places);
}

}  // namespace fovea::infer::detail
