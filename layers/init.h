// How parameters get their first values: the initialisers of Keras and PyTorch by name, in each framework's own
// definition.
#pragma once

#include <cstdint>

#include "core/rng.h"
#include "core/tensor.h"

namespace fovea {

/// What a tensor is filled with. Make one with the functions in fovea::init.
struct Initializer {
  enum class Distribution : std::uint8_t { constant, uniform, normal, truncated_normal };
  /// What the variance is divided by: the number of inputs of one result, of results of one input, or their mean.
  enum class Fan : std::uint8_t { none, in, out, average };
  /// The frameworks count fans alike but for depthwise weights [kh,kw,1,C·m]: PyTorch's fan_in is kh·kw and its fan_out
  /// kh·kw·C·m; Keras' (whose kernel is [kh,kw,C,m]) are kh·kw·C and kh·kw·m.
  enum class FanRule : std::uint8_t { pytorch, keras };

  Distribution distribution = Distribution::constant;
  Fan fan = Fan::none;
  FanRule rule = FanRule::pytorch;
  /// With a fan: the variance is scale/fan. Truncated normals are cut at two deviations, after dividing the deviation
  /// by 0.87962566103423978 so that it is right after the cut (Keras' VarianceScaling).
  double scale = 1;
  /// Without one: the constant; or the bounds [a, b) of uniform; or the mean a and deviation b of normal.
  double a = 0, b = 0;
  /// Without a fan: where truncated_normal is cut.
  double low = 0, high = 0;
  int groups = 1;  ///< of the convolution: set by the module that owns the tensor
};

/// Inputs per result and results per input of weights [in,out], [kh,kw,in/groups,out] or a vector (its length for
/// both).
struct Fans {
  double in = 1, out = 1;
};
FOVEA_API Fans fans(const Shape& weights, Initializer::FanRule rule, int groups = 1);

/// Fills `tensor` (floating, CPU) with numbers of `rng`; the same numbers, rounded, for every element type.
FOVEA_API void initialize(Tensor& tensor, const Initializer& initializer, Rng rng);

/// While alive, parameters that modules of this thread register are not drawn: `uninitialized` for networks whose
/// values are loaded or drawn anew right after, `meta` for networks of which only names and shapes are wanted.
class FOVEA_API ParameterMode {
 public:
  enum class Kind : std::uint8_t { initialized, uninitialized, meta };
  explicit ParameterMode(Kind kind);
  ~ParameterMode();
  ParameterMode(const ParameterMode&) = delete;
  ParameterMode& operator=(const ParameterMode&) = delete;
  static Kind current();

 private:
  Kind outer_;
};

namespace init {

constexpr Initializer constant(double value) { return {.a = value}; }
constexpr Initializer zeros() { return constant(0); }
constexpr Initializer ones() { return constant(1); }
constexpr Initializer uniform(double low, double high) {
  return {.distribution = Initializer::Distribution::uniform, .a = low, .b = high};
}
constexpr Initializer normal(double mean, double deviation) {
  return {.distribution = Initializer::Distribution::normal, .a = mean, .b = deviation};
}

/// keras.initializers, by their names there.
namespace keras {
constexpr Initializer variance_scaling(double scale, Initializer::Fan fan, Initializer::Distribution distribution) {
  return {.distribution = distribution, .fan = fan, .rule = Initializer::FanRule::keras, .scale = scale};
}
/// Variance 2/fan_in (He et al. 2015).
constexpr Initializer he_normal() {
  return variance_scaling(2, Initializer::Fan::in, Initializer::Distribution::truncated_normal);
}
constexpr Initializer he_uniform() {
  return variance_scaling(2, Initializer::Fan::in, Initializer::Distribution::uniform);
}
/// Variance 2/(fan_in + fan_out) (Glorot and Bengio 2010). glorot_uniform is Keras' default.
constexpr Initializer glorot_normal() {
  return variance_scaling(1, Initializer::Fan::average, Initializer::Distribution::truncated_normal);
}
constexpr Initializer glorot_uniform() {
  return variance_scaling(1, Initializer::Fan::average, Initializer::Distribution::uniform);
}
/// Variance 1/fan_in (LeCun et al. 1998).
constexpr Initializer lecun_normal() {
  return variance_scaling(1, Initializer::Fan::in, Initializer::Distribution::truncated_normal);
}
constexpr Initializer lecun_uniform() {
  return variance_scaling(1, Initializer::Fan::in, Initializer::Distribution::uniform);
}
/// Cut two deviations from the mean; `deviation` is that before the cut, as in keras.initializers.TruncatedNormal.
constexpr Initializer truncated_normal(double mean = 0, double deviation = 0.05) {
  return {.distribution = Initializer::Distribution::truncated_normal,
          .rule = Initializer::FanRule::keras,
          .a = mean,
          .b = deviation,
          .low = mean - 2 * deviation,
          .high = mean + 2 * deviation};
}
}  // namespace keras

/// torch.nn.init, by their names there (without the underscore).
namespace pytorch {
/// Variance 2/((1 + a²)·fan): `a` is the slope of the leaky ReLU behind it. With kaiming_uniform's default a = √5,
/// which is what Conv2d and Linear start with, the bound is 1/√fan_in.
constexpr Initializer kaiming_uniform(double a = 2.2360679774997896964, Initializer::Fan fan = Initializer::Fan::in) {
  return {.distribution = Initializer::Distribution::uniform, .fan = fan, .scale = 2 / (1 + a * a)};
}
constexpr Initializer kaiming_normal(double a = 0, Initializer::Fan fan = Initializer::Fan::in) {
  return {.distribution = Initializer::Distribution::normal, .fan = fan, .scale = 2 / (1 + a * a)};
}
/// Variance 2·gain²/(fan_in + fan_out).
constexpr Initializer xavier_uniform(double gain = 1) {
  return {.distribution = Initializer::Distribution::uniform, .fan = Initializer::Fan::average, .scale = gain * gain};
}
constexpr Initializer xavier_normal(double gain = 1) {
  return {.distribution = Initializer::Distribution::normal, .fan = Initializer::Fan::average, .scale = gain * gain};
}
/// Cut at the values `low` and `high` themselves, not at multiples of the deviation.
constexpr Initializer trunc_normal(double mean = 0, double deviation = 1, double low = -2, double high = 2) {
  return {
      .distribution = Initializer::Distribution::truncated_normal, .a = mean, .b = deviation, .low = low, .high = high};
}
}  // namespace pytorch

}  // namespace init

}  // namespace fovea
