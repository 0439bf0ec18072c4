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
void mix_labels(Batch& batch, std::int64_t classes, const std::vector<std::size_t>& partner, float share) {
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
      to[i * c + k] = share * from[i * c + k] + (1 - share) * from[partner[i] * c + k];
  }
  batch.soft_labels = std::move(after);
}

void require_batch(const Batch& batch, std::int64_t classes, const char* where) {
  if (!batch.images.defined() || batch.images.rank() != 4 || batch.images.dtype() != DType::f32 ||
      !batch.labels.defined() || batch.labels.dtype() != DType::i64 ||
      batch.labels.shape() != Shape{batch.images.dim(0)}) {
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
  void apply(Batch& batch, std::int64_t classes, Rng& rng) const final {
    require_batch(batch, classes, name_);
    const std::int64_t n = batch.images.dim(0);
    if (!rng.chance(probability_) || n < 2 || batch.images.numel() == 0) return;
    const double share = draw_beta(rng, alpha_, alpha_);
    const std::vector<std::size_t> partner = draw_partners(rng, n);
    const float real_share = mix_images(batch, partner, share, rng);
    mix_labels(batch, classes, partner, real_share);
  }
  std::string name() const final { return name_; }
  std::string to_string() const final { return str(name_, "(alpha=", alpha_, ", probability=", probability_, ")"); }

 protected:
  /// Returns the share the picture's own label keeps.
  virtual float mix_images(Batch& batch, const std::vector<std::size_t>& partner, double share, Rng& rng) const = 0;

 private:
  const char* name_;
  double alpha_, probability_;
};

class Mixup final : public Mix {
 public:
  using Mix::Mix;

 private:
  float mix_images(Batch& batch, const std::vector<std::size_t>& partner, double share, Rng&) const override {
    Tensor mixed(batch.images.shape());
    const std::size_t one = static_cast<std::size_t>(batch.images.numel()) / partner.size();
    const float* from = batch.images.data<float>();
    float* to = mixed.mutable_data<float>();
    const auto s = static_cast<float>(share);
    for (std::size_t i = 0; i < partner.size(); ++i) {
      const float *a = from + i * one, *b = from + partner[i] * one;
      for (std::size_t k = 0; k < one; ++k) to[i * one + k] = s * a[k] + (1 - s) * b[k];
    }
    batch.images = std::move(mixed);
    return s;
  }
};

class Cutmix final : public Mix {
 public:
  using Mix::Mix;

 private:
  float mix_images(Batch& batch, const std::vector<std::size_t>& partner, double share, Rng& rng) const override {
    const std::int64_t h = batch.images.dim(1), w = batch.images.dim(2), c = batch.images.dim(3);
    // The box around a uniform centre is cut at the border, so the share is taken from what remains (as torchvision
    // does).
    const auto cx = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(w)));
    const auto cy = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(h)));
    const double half = 0.5 * std::sqrt(1 - share);
    const auto half_w = static_cast<std::int64_t>(half * static_cast<double>(w)),
               half_h = static_cast<std::int64_t>(half * static_cast<double>(h));
    const std::int64_t x0 = std::max<std::int64_t>(cx - half_w, 0), x1 = std::min(cx + half_w, w);
    const std::int64_t y0 = std::max<std::int64_t>(cy - half_h, 0), y1 = std::min(cy + half_h, h);
    Tensor mixed(batch.images.shape());
    const float* from = batch.images.data<float>();
    float* to = mixed.mutable_data<float>();
    std::memcpy(to, from, batch.images.nbytes());
    for (std::size_t i = 0; i < partner.size(); ++i) {
      for (std::int64_t y = y0; y < y1; ++y) {
        const std::int64_t own = ((static_cast<std::int64_t>(i) * h + y) * w + x0) * c;
        const std::int64_t other = ((static_cast<std::int64_t>(partner[i]) * h + y) * w + x0) * c;
        std::memcpy(to + own, from + other, static_cast<std::size_t>((x1 - x0) * c) * sizeof(float));
      }
    }
    batch.images = std::move(mixed);
    return 1 - static_cast<float>(static_cast<double>((x1 - x0) * (y1 - y0)) / static_cast<double>(w * h));
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
