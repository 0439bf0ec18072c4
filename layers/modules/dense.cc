#include "layers/modules/dense.h"

#include <cmath>

namespace fovea {

Dense::Dense(int in, int out, const DenseOptions& options) : activation_(options.activation), bias_(options.bias) {
  if (in < 1 || out < 1)
    throw Error(ErrorKind::usage, "Dense", str("features must be at least 1, got ", in, " to ", out));
  register_parameter("weight", Shape{in, out}, options.weight_init);
  if (bias_) {
    const double bound = 1 / std::sqrt(static_cast<double>(in));
    register_parameter("bias", Shape{out}, options.bias_init.value_or(init::uniform(-bound, bound)),
                       ParameterRole::bias);
  }
}

bool Dense::fuses(const ActivationParams& activation) const {
  return activation_.kind == Activation::none && kernels::derivative_from_result(activation.kind);
}

Tensor Dense::forward_fused(const Tensor& x, ActivationParams activation) {
  return dense(x, own_at(0), bias_ ? own_at(1) : Tensor(), activation);
}

}  // namespace fovea
