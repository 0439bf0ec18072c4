// Normalisations as modules.
#pragma once

#include "layers/modules/activation.h"
#include "layers/ops/norm.h"

namespace fovea {

/// Batch norm over all axes but the last. Tensors, each [channels]: "weight" (gamma, 1) where `scale`, "bias" (beta, 0)
/// where `center`, buffers "running_mean" (0) and "running_var" (1). Frozen (Module::freeze), it uses the running
/// statistics in training too.
class FOVEA_API BatchNorm : public FusableModule {
 public:
  explicit BatchNorm(int channels, const BatchNormOptions& options = {}, bool scale = true, bool center = true);
  std::string_view kind() const override { return "BatchNorm"; }
  Tensor forward(const Tensor& x) override { return forward_fused(x, options_.activation); }
  bool fuses(const ActivationParams& activation) const override;
  Tensor forward_fused(const Tensor& x, ActivationParams activation) override;
  const BatchNormOptions& options() const { return options_; }
  /// True where results do not depend on the batch in training either, nor do gradients reach gamma and beta.
  bool constant() const { return options_.frozen || frozen(); }
  /// What a constant one computes: scale·x + shift, each [channels]; gamma/√(variance + epsilon), beta − mean·scale.
  struct Affine {
    Tensor scale, shift;
  };
  Affine affine() const;

 private:
  BatchNormOptions options_;
  bool scale_, center_;
};

struct LayerNormOptions {
  double epsilon = 1e-5;
  bool scale = true, center = true;
};
/// Over the last axis. Tensors: "weight" and "bias", [channels].
class FOVEA_API LayerNorm : public Module {
 public:
  explicit LayerNorm(int channels, const LayerNormOptions& options = {});
  std::string_view kind() const override { return "LayerNorm"; }
  Tensor forward(const Tensor& x) override;

 private:
  LayerNormOptions options_;
};

/// Over H, W and channels/groups channels of each sample. Tensors: "weight" and "bias", [channels].
class FOVEA_API GroupNorm : public Module {
 public:
  GroupNorm(int groups, int channels, const LayerNormOptions& options = {});
  std::string_view kind() const override { return "GroupNorm"; }
  Tensor forward(const Tensor& x) override;

 private:
  int groups_;
  LayerNormOptions options_;
};

}  // namespace fovea
