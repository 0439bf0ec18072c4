// Activations as modules, and the interface of modules that can compute the activation behind them in the same pass.
#pragma once

#include "layers/module.h"
#include "layers/ops/activation.h"

namespace fovea {

/// A module whose op can apply an activation in its last step. Sequential fuses an activation module that follows one.
class FOVEA_API FusableModule : public Module {
 public:
  /// Whether forward_fused() computes this activation at no greater cost than an op of its own, given what the module
  /// already does.
  virtual bool fuses(const ActivationParams& activation) const = 0;
  virtual Tensor forward_fused(const Tensor& x, ActivationParams activation) = 0;
};

class FOVEA_API ActivationModule : public Module {
 public:
  explicit ActivationModule(ActivationParams params) : params_(params) {}
  std::string_view kind() const override;
  Tensor forward(const Tensor& x) override { return activation(x, params_); }
  const ActivationParams& params() const { return params_; }

 private:
  ActivationParams params_;
};

struct ReLU : ActivationModule {
  ReLU() : ActivationModule({Activation::relu}) {}
};
struct ReLU6 : ActivationModule {
  ReLU6() : ActivationModule({Activation::relu6}) {}
};
struct LeakyReLU : ActivationModule {
  explicit LeakyReLU(double alpha = 0.01) : ActivationModule({Activation::leaky_relu, alpha}) {}
};
struct Sigmoid : ActivationModule {
  Sigmoid() : ActivationModule({Activation::sigmoid}) {}
};
struct SiLU : ActivationModule {
  SiLU() : ActivationModule({Activation::silu}) {}
};
struct HardSwish : ActivationModule {
  HardSwish() : ActivationModule({Activation::hard_swish}) {}
};
struct HardSigmoid : ActivationModule {
  HardSigmoid() : ActivationModule({Activation::hard_sigmoid}) {}
};
struct GELU : ActivationModule {
  explicit GELU(bool tanh_approximation = false)
      : ActivationModule({tanh_approximation ? Activation::gelu_tanh : Activation::gelu}) {}
};
struct Tanh : ActivationModule {
  Tanh() : ActivationModule({Activation::tanh}) {}
};

}  // namespace fovea
