#include "layers/init.h"

#include <cmath>

namespace fovea {

Fans fans(const Shape& weights, Initializer::FanRule rule, int groups) {
  const int rank = weights.rank();
  if (rank == 0) return {};
  if (rank == 1) return {static_cast<double>(weights[0]), static_cast<double>(weights[0])};
  double window = 1;
  for (int i = 0; i < rank - 2; ++i) window *= static_cast<double>(weights[i]);
  const auto in = static_cast<double>(weights.dim(-2)), out = static_cast<double>(weights.dim(-1));
  const bool depthwise = groups > 1 && weights.dim(-2) == 1;
  if (rule == Initializer::FanRule::keras && depthwise) return {window * groups, window * out / groups};
  return {window * in, window * out};
}

void initialize(Tensor& tensor, const Initializer& init, Rng rng) {
  using Distribution = Initializer::Distribution;
  if (!is_floating(tensor.dtype()))
    throw Error(ErrorKind::usage, "initialize", str("only floating tensors, not ", to_string(tensor.dtype())));
  if (tensor.is_meta()) return;
  double a = init.a, b = init.b, low = init.low, high = init.high;
  if (init.fan != Initializer::Fan::none) {
    const Fans count = fans(tensor.shape(), init.rule, init.groups);
    const double fan = init.fan == Initializer::Fan::in    ? count.in
                       : init.fan == Initializer::Fan::out ? count.out
                                                           : (count.in + count.out) / 2;
    const double deviation = std::sqrt(init.scale / std::fmax(fan, 1));
    if (init.distribution == Distribution::uniform) {
      b = std::sqrt(3.0) * deviation;
      a = -b;
    } else {
      // The deviation of a standard normal cut at ±2.
      constexpr double kCutDeviation = 0.87962566103423978;
      a = 0;
      b = init.distribution == Distribution::truncated_normal ? deviation / kCutDeviation : deviation;
      low = -2 * b;
      high = 2 * b;
    }
  }
  if (init.distribution == Distribution::constant) return tensor.fill(a);
  const auto cut = [&] {
    if (!(b > 0) || !(low < high) || low > a + 4 * b || high < a - 4 * b) {
      throw Error(ErrorKind::usage, "initialize",
                  str("a normal of mean ", a, " and deviation ", b, " has next to nothing in ", low, " to ", high));
    }
    double value = rng.normal(a, b);
    while (value < low || value > high) value = rng.normal(a, b);
    return value;
  };
  Tensor values(tensor.shape(), DType::f64);
  double* out = values.mutable_data<double>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    out[i] = init.distribution == Distribution::uniform  ? rng.uniform(a, b)
             : init.distribution == Distribution::normal ? rng.normal(a, b)
                                                         : cut();
  }
  tensor.copy_from(values.to(tensor.dtype()));
}

namespace {
thread_local ParameterMode::Kind parameter_mode = ParameterMode::Kind::initialized;
}

ParameterMode::ParameterMode(Kind kind) : outer_(parameter_mode) { parameter_mode = kind; }
ParameterMode::~ParameterMode() { parameter_mode = outer_; }
ParameterMode::Kind ParameterMode::current() { return parameter_mode; }

}  // namespace fovea
