// What all transforms share, the combinations, and the batch transforms' draws.
#include "augment/transform.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "augment/options_internal.h"

namespace fovea {

Transform::~Transform() = default;
void Transform::plan(image::Size, Rng&, std::vector<kernels::PixelStep>&) const {
  throw Error(ErrorKind::usage, name(), "this transform does not say its steps", "ask plans() first");
}
BatchTransform::~BatchTransform() = default;

std::string to_string(const std::vector<TransformPtr>& transforms) {
  std::string text;
  for (const TransformPtr& t : transforms) text += str(text.empty() ? "" : " → ", t ? t->to_string() : "null");
  return text;
}

namespace transforms {

std::vector<double> choice_table(std::string_view where, std::size_t count, const std::vector<double>& weights) {
  if (count == 0) throw Error(ErrorKind::usage, where, "there is nothing to choose from");
  if (!weights.empty() && weights.size() != count) {
    throw Error(ErrorKind::usage, where, str(weights.size(), " weights for ", count, " choices"));
  }
  std::vector<double> table;
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double weight = weights.empty() ? 1 : weights[i];
    if (!(weight >= 0 && weight <= 1e300))
      throw Error(ErrorKind::usage, where, str("weight ", weight, " is negative or not finite"));
    table.push_back(total += weight);
  }
  if (!(total > 0 && std::isfinite(total))) throw Error(ErrorKind::usage, where, str("the weights add up to ", total));
  return table;
}

std::size_t draw_choice(Rng& rng, const std::vector<double>& table) {
  const double at = rng.uniform() * table.back();
  const auto found = std::upper_bound(table.begin(), table.end(), at);
  if (found != table.end()) return static_cast<std::size_t>(found - table.begin());
  // uniform() * total rounded up to total: the last choice that has weight.
  return static_cast<std::size_t>(std::lower_bound(table.begin(), table.end(), table.back()) - table.begin());
}

namespace {

/// Marsaglia and Tsang (2000) for shape ≥ 1, boosted below 1. Returns the logarithm: tiny shapes underflow otherwise.
double log_gamma_draw(Rng& rng, double shape) {
  double boost = 0;
  if (shape < 1) {
    boost = std::log(1.0 - rng.uniform()) / shape;
    shape += 1;
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = rng.normal(), t = 1 + c * x;
    if (t <= 0) continue;
    const double v = t * t * t;
    if (std::log(1.0 - rng.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v) + boost;
  }
}

class Maybe final : public Transform {
 public:
  Maybe(double probability, TransformPtr inner) : probability_(probability), inner_(std::move(inner)) {
    require("maybe", "probability", probability, 0, 1);
    if (!inner_) throw Error(ErrorKind::usage, "maybe", "no transform was given");
    if (inner_->resizes() && probability < 1) {
      throw Error(ErrorKind::usage, "maybe",
                  str(inner_->name(), " decides the size of pictures and cannot be left out at random"));
    }
  }
  void apply(image::Image& picture, Rng& rng) const override {
    if (rng.chance(probability_)) inner_->apply(picture, rng);
  }
  bool plans() const override { return inner_->plans(); }
  void plan(image::Size size, Rng& rng, std::vector<kernels::PixelStep>& steps) const override {
    if (rng.chance(probability_)) inner_->plan(size, rng, steps);
  }
  std::string name() const override { return "maybe"; }
  std::string to_string() const override { return str("maybe(", probability_, ", ", *inner_, ")"); }
  bool resizes() const override { return inner_->resizes(); }

 private:
  double probability_;
  TransformPtr inner_;
};

template <class Base>
std::string list_choices(const std::vector<std::shared_ptr<const Base>>& choices) {
  std::string text = "one_of(";
  for (std::size_t i = 0; i < choices.size(); ++i) text += str(i ? ", " : "", *choices[i]);
  return text + ")";
}

template <class Base>
bool all_plan(const std::vector<std::shared_ptr<const Base>>& choices) {
  return std::all_of(choices.begin(), choices.end(), [](const auto& choice) { return choice->plans(); });
}

template <class Base>
void require_all(const std::vector<std::shared_ptr<const Base>>& choices) {
  for (const auto& choice : choices) {
    if (!choice) throw Error(ErrorKind::usage, "one_of", "a choice is null");
  }
}

class OneOf final : public Transform {
 public:
  OneOf(std::vector<TransformPtr> choices, const std::vector<double>& weights)
      : choices_(std::move(choices)), table_(choice_table("one_of", choices_.size(), weights)) {
    require_all(choices_);
    for (const TransformPtr& choice : choices_) {
      if (choice->resizes() != choices_.front()->resizes()) {
        throw Error(ErrorKind::usage, "one_of", "either all or none of the choices may decide the size of pictures");
      }
    }
  }
  void apply(image::Image& picture, Rng& rng) const override {
    choices_[draw_choice(rng, table_)]->apply(picture, rng);
  }
  bool plans() const override { return all_plan(choices_); }
  void plan(image::Size size, Rng& rng, std::vector<kernels::PixelStep>& steps) const override {
    choices_[draw_choice(rng, table_)]->plan(size, rng, steps);
  }
  std::string name() const override { return "one_of"; }
  std::string to_string() const override { return list_choices(choices_); }
  bool resizes() const override { return choices_.front()->resizes(); }

 private:
  std::vector<TransformPtr> choices_;
  std::vector<double> table_;
};

class OneOfBatch final : public BatchTransform {
 public:
  OneOfBatch(std::vector<BatchTransformPtr> choices, const std::vector<double>& weights)
      : choices_(std::move(choices)), table_(choice_table("one_of", choices_.size(), weights)) {
    require_all(choices_);
  }
  void apply(Batch& batch, std::int64_t classes, Rng& rng) const override {
    choices_[draw_choice(rng, table_)]->apply(batch, classes, rng);
  }
  bool plans() const override { return all_plan(choices_); }
  std::string name() const override { return "one_of"; }
  std::string to_string() const override { return list_choices(choices_); }

 private:
  std::vector<BatchTransformPtr> choices_;
  std::vector<double> table_;
};

}  // namespace

double draw_beta(Rng& rng, double a, double b) {
  if (!(a > 0 && b > 0 && a <= 1e6 && b <= 1e6))
    throw Error(ErrorKind::usage, "draw_beta", str("Beta(", a, ", ", b, ") needs both above 0"));
  const double x = log_gamma_draw(rng, a), y = log_gamma_draw(rng, b);
  return 1 / (1 + std::exp(y - x));
}

TransformPtr maybe(double probability, TransformPtr transform) {
  return std::make_shared<Maybe>(probability, std::move(transform));
}
TransformPtr one_of(std::vector<TransformPtr> choices, std::vector<double> weights) {
  return std::make_shared<OneOf>(std::move(choices), weights);
}
BatchTransformPtr one_of(std::vector<BatchTransformPtr> choices, std::vector<double> weights) {
  return std::make_shared<OneOfBatch>(std::move(choices), weights);
}

}  // namespace transforms
}  // namespace fovea
