#include "layers/modules/norm.h"

#include <cmath>
#include <vector>

namespace fovea {
namespace {

void check_channels(std::string_view kind, int channels) {
  if (channels < 1) throw Error(ErrorKind::usage, kind, str("channels must be at least 1, got ", channels));
}

}  // namespace

BatchNorm::BatchNorm(int channels, const BatchNormOptions& options, bool scale, bool center)
    : options_(options), scale_(scale), center_(center) {
  check_channels("BatchNorm", channels);
  const Shape shape{channels};
  if (scale) register_parameter("weight", shape, init::ones(), ParameterRole::norm);
  if (center) register_parameter("bias", shape, init::zeros(), ParameterRole::norm);
  register_buffer("running_mean", shape, 0);
  register_buffer("running_var", shape, 1);
}

bool BatchNorm::fuses(const ActivationParams&) const { return options_.activation.kind == Activation::none; }

Tensor BatchNorm::forward_fused(const Tensor& x, ActivationParams activation) {
  BatchNormOptions options = options_;
  options.activation = activation;
  options.frozen = constant();
  std::size_t next = 0;
  const Tensor gamma = scale_ ? own_at(next++) : Tensor();
  const Tensor beta = center_ ? own_at(next++) : Tensor();
  return batch_norm(x, gamma, beta, own_at(next), own_at(next + 1), options);
}

BatchNorm::Affine BatchNorm::affine() const {
  std::size_t next = 0;
  const std::vector<double> gamma = scale_ ? own_at(next++).to_vector<double>() : std::vector<double>();
  const std::vector<double> beta = center_ ? own_at(next++).to_vector<double>() : std::vector<double>();
  const std::vector<double> mean = own_at(next).to_vector<double>(), variance = own_at(next + 1).to_vector<double>();
  std::vector<double> scale(mean.size()), shift(mean.size());
  for (std::size_t c = 0; c < mean.size(); ++c) {
    scale[c] = (scale_ ? gamma[c] : 1) / std::sqrt(variance[c] + options_.epsilon);
    shift[c] = (center_ ? beta[c] : 0) - mean[c] * scale[c];
  }
  const Shape shape = own_at(next).shape();
  const DType dtype = own_at(next).dtype();
  return {Tensor::from(shape, scale).to(dtype), Tensor::from(shape, shift).to(dtype)};
}

namespace {
constexpr Initializer kOnes = init::ones(), kZeros = init::zeros();
}

LayerNorm::LayerNorm(int channels, const LayerNormOptions& options) : options_(options) {
  check_channels("LayerNorm", channels);
  if (options.scale) register_parameter("weight", Shape{channels}, kOnes, ParameterRole::norm);
  if (options.center) register_parameter("bias", Shape{channels}, kZeros, ParameterRole::norm);
}

Tensor LayerNorm::forward(const Tensor& x) {
  return layer_norm(x, options_.scale ? own("weight") : Tensor(), options_.center ? own("bias") : Tensor(),
                    options_.epsilon);
}

GroupNorm::GroupNorm(int groups, int channels, const LayerNormOptions& options) : groups_(groups), options_(options) {
  check_channels("GroupNorm", channels);
  if (groups < 1 || channels % groups != 0) {
    throw Error(ErrorKind::usage, "GroupNorm", str(channels, " channels do not divide into ", groups, " groups"));
  }
  if (options.scale) register_parameter("weight", Shape{channels}, kOnes, ParameterRole::norm);
  if (options.center) register_parameter("bias", Shape{channels}, kZeros, ParameterRole::norm);
}

Tensor GroupNorm::forward(const Tensor& x) {
  return group_norm(x, groups_, options_.scale ? own("weight") : Tensor(), options_.center ? own("bias") : Tensor(),
                    options_.epsilon);
}

}  // namespace fovea
