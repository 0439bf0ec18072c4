// A dense (fully connected) layer as a module. Tensors: "weight" [in,out], and "bias" [out] unless switched off.
#pragma once

#include <optional>

#include "layers/modules/activation.h"
#include "layers/ops/dense.h"

namespace fovea {

struct DenseOptions {
  bool bias = true;
  ActivationParams activation = kNoActivation;  ///< fused behind it
  Initializer weight_init = init::pytorch::kaiming_uniform();
  /// Default: uniform in ±1/√in (PyTorch).
  std::optional<Initializer> bias_init = std::nullopt;
};

/// x [..., in] → [..., out].
class FOVEA_API Dense : public FusableModule {
 public:
  Dense(int in, int out, const DenseOptions& options = {});
  std::string_view kind() const override { return "Dense"; }
  Tensor forward(const Tensor& x) override { return forward_fused(x, activation_); }
  bool fuses(const ActivationParams& activation) const override;
  Tensor forward_fused(const Tensor& x, ActivationParams activation) override;

 private:
  ActivationParams activation_;
  bool bias_;
};

}  // namespace fovea
