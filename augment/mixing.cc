// Mixup and CutMix.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "augment/loader.h"
#include "augment/options_internal.h"

namespace fovea::transforms {

namespace {

std::vector<std::size_t> draw_partners(Rng& rng, std::int64_t n) {
  std::vector<std::size_t> partner(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < partner.size(); ++i) partner[i] = i;
  for (std::size_t i = partner.size(); i > 1; --i) std::swap(partner[i - 1], partner[rng.below(i)]);
  return partner;
}

/// soft_i = share · soft_i + (1 - share) · soft_partner(i), starting from the labels where nothing was mixed yet.
void mix_labels(Batch& batch, std::int64_t classes, const std::vector<std::int64_t>& partner, float share) {
  const auto n = static_cast<std::int64_t>(partner.size());
  Tensor before = batch.soft_labels;
  if (!before.defined()) {
    before = Tensor(Shape{n, classes});
    float* p = before.mutable_data<float>();
    std::fill_n(p, n * classes,
                0.0f);  // not Tensor::zeros: workers stay off the thread team, which belongs to training
    const std::int64_t* labels = batch.labels.data<std::int64_t>();
    for (std::int64_t i = 0; i < n; ++i) p[i * classes + labels[i]] = 1;
  }
  Tensor after({n, classes});
  const float* from = before.data<float>();
  float* to = after.mutable_data<float>();
  const auto c = static_cast<std::size_t>(classes);
  for (std::size_t i = 0; i < partner.size(); ++i) {
    for (std::size_t k = 0; k < c; ++k)
      to[i * c + k] = share * from[i * c + k] + (1 - share) * from[static_cast<std::size_t>(partner[i]) * c + k];
  }
  batch.soft_labels = std::move(after);
}

Shape pictures_shape(const Batch& batch) {
  return batch.unfinished ? batch.unfinished->pixels.shape() : batch.images.shape();
}

void require_batch(const Batch& batch, std::int64_t classes, const char* where) {
  const bool pictures =
      batch.unfinished || (batch.images.defined() && batch.images.rank() == 4 && batch.images.dtype() == DType::f32);
  if (!pictures || !batch.labels.defined() || batch.labels.dtype() != DType::i64 ||
      batch.labels.shape() != Shape{pictures_shape(batch)[0]}) {
    throw Error(ErrorKind::shape, where, "expects images f32 [N,H,W,C] and labels i64 [N]");
  }
  for (const std::int64_t label : batch.labels.values<std::int64_t>()) {
    if (label < 0 || label >= classes)
      throw Error(ErrorKind::usage, where, str("label ", label, " is not below ", classes, " classes"));
  }
}

class Mix : public BatchTransform {
 public:
  Mix(const char* name, double alpha, double probability) : name_(name), alpha_(alpha), probability_(probability) {
    require(name, "alpha", alpha, 1e-3, 1e3);
    require(name, "probability", probability, 0, 1);
  }
  bool plans() const final { return true; }
  void apply(Batch& batch, std::int64_t classes, Rng& rng) const final {
    require_batch(batch, classes, name_);
    const Shape shape = pictures_shape(batch);
    if (!rng.chance(probability_) || shape[0] < 2 || shape.numel() == 0) return;
    const double share = draw_beta(rng, alpha_, alpha_);
    kernels::MixStep step;
    for (const std::size_t i : draw_partners(rng, shape[0])) step.partner.push_back(static_cast<std::int64_t>(i));
    const float real_share = draw_mix(shape, share, rng, step);
    mix_labels(batch, classes, step.partner, real_share);
    if (batch.unfinished) {
      batch.unfinished->mixes.push_back(std::move(step));
    } else {
      Tensor mixed(shape);
      mix_images(batch.images.data<float>(), shape, step, mixed.mutable_data<float>());
      batch.images = std::move(mixed);
    }
  }
  std::string name() const final { return name_; }
  std::string to_string() const final { return str(name_, "(alpha=", alpha_, ", probability=", probability_, ")"); }

 protected:
  /// Returns the share the picture's own label keeps.
  virtual float draw_mix(const Shape& pictures, double share, Rng& rng, kernels::MixStep& step) const = 0;
  /// On this thread: workers stay off the thread team.
  virtual void mix_images(const float* from, const Shape& shape, const kernels::MixStep& step, float* to) const = 0;

 private:
  const char* name_;
  double alpha_, probability_;
};

class Mixup final : public Mix {
 public:
  using Mix::Mix;

 private:
  float draw_mix(const Shape&, double share, Rng&, kernels::MixStep& step) const override {
    return step.share = static_cast<float>(share);
  }
  void mix_images(const float* from, const Shape& shape, const kernels::MixStep& step, float* to) const override {
    const std::int64_t one = shape.numel() / shape[0];
    const float s = step.share;
    for (std::int64_t i = 0; i < shape[0]; ++i) {
      const float *a = from + i * one, *b = from + step.partner[static_cast<std::size_t>(i)] * one;
      for (std::int64_t k = 0; k < one; ++k) to[i * one + k] = s * a[k] + (1 - s) * b[k];
    }
  }
};

class Cutmix final : public Mix {
 public:
  using Mix::Mix;

 private:
  float draw_mix(const Shape& pictures, double share, Rng& rng, kernels::MixStep& step) const override {
    const std::int64_t h = pictures[1], w = pictures[2];
    // The box around a uniform centre is cut at the border, so the share is taken from what remains (as torchvision
    // does).
    const auto cx = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(w)));
    const auto cy = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(h)));
    const double half = 0.5 * std::sqrt(1 - share);
    const auto half_w = static_cast<std::int64_t>(half * static_cast<double>(w)),
               half_h = static_cast<std::int64_t>(half * static_cast<double>(h));
    step.cut = true;
    step.x0 = std::max<std::int64_t>(cx - half_w, 0);
    step.x1 = std::min(cx + half_w, w);
    step.y0 = std::max<std::int64_t>(cy - half_h, 0);
    step.y1 = std::min(cy + half_h, h);
    return 1 - static_cast<float>(static_cast<double>((step.x1 - step.x0) * (step.y1 - step.y0)) /
                                  static_cast<double>(w * h));
  }
  void mix_images(const float* from, const Shape& shape, const kernels::MixStep& step, float* to) const override {
    const std::int64_t h = shape[1], w = shape[2], c = shape[3];
    std::memcpy(to, from, static_cast<std::size_t>(shape.numel()) * sizeof(float));
    for (std::int64_t i = 0; i < shape[0]; ++i) {
      for (std::int64_t y = step.y0; y < step.y1; ++y) {
        const std::int64_t own = ((i * h + y) * w + step.x0) * c;
        const std::int64_t other = ((step.partner[static_cast<std::size_t>(i)] * h + y) * w + step.x0) * c;
        std::memcpy(to + own, from + other, static_cast<std::size_t>((step.x1 - step.x0) * c) * sizeof(float));
      }
    }
  }
};

}  // namespace

BatchTransformPtr mixup(const MixupOptions& options) {
  return std::make_shared<Mixup>("mixup", options.alpha, options.probability);
}
BatchTransformPtr cutmix(const CutmixOptions& options) {
  return std::make_shared<Cutmix>("cutmix", options.alpha, options.probability);
}

}  // namespace fovea::transforms
