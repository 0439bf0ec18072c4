// Convolutions as modules. Tensors: "weight", and "bias" unless switched off.
#pragma once

#include <optional>

#include "layers/modules/activation.h"
#include "layers/modules/options.h"
#include "layers/ops/conv2d.h"
#include "layers/ops/norm.h"

namespace fovea {

struct Conv2dOptions {
  Extent kernel = 3;
  Extent stride = 1;
  PaddingOption padding = 0;
  Extent dilation = 1;
  int groups = 1;
  bool bias = true;
  ActivationParams activation = kNoActivation;  ///< fused behind it
  Initializer weight_init = init::pytorch::kaiming_uniform();
  /// Default: uniform in ±1/√fan_in (PyTorch).
  std::optional<Initializer> bias_init = std::nullopt;
};

/// x [N,H,W,in] → [N,Ho,Wo,out]. weight [kh,kw,in/groups,out], bias [out].
class FOVEA_API Conv2d : public FusableModule {
 public:
  /// Error{usage} where channels do not divide into groups.
  Conv2d(int in, int out, const Conv2dOptions& options = {});
  std::string_view kind() const override { return "Conv2d"; }
  Tensor forward(const Tensor& x) override { return forward_fused(x, activation_); }
  bool fuses(const ActivationParams& activation) const override;
  Tensor forward_fused(const Tensor& x, ActivationParams activation) override;
  const Conv2dParams& params() const { return params_; }
  Tensor weight() const { return own_at(0); }
  /// Undefined where there is none.
  Tensor bias() const { return bias_ ? own_at(1) : Tensor(); }

 private:
  Conv2dParams params_;
  ActivationParams activation_;
  bool bias_;
};

struct DepthwiseConv2dOptions {
  Extent kernel = 3;
  Extent stride = 1;
  PaddingOption padding = 0;
  Extent dilation = 1;
  int multiplier = 1;  ///< results per channel
  bool bias = true;
  ActivationParams activation = kNoActivation;
  Initializer weight_init = init::pytorch::kaiming_uniform();
  std::optional<Initializer> bias_init = std::nullopt;
};

/// A convolution of each channel by itself: weight [kh,kw,1,channels·multiplier].
class FOVEA_API DepthwiseConv2d : public Conv2d {
 public:
  explicit DepthwiseConv2d(int channels, const DepthwiseConv2dOptions& options = {});
  std::string_view kind() const override { return "DepthwiseConv2d"; }
};

struct ConvTranspose2dOptions {
  Extent kernel = 2;
  Extent stride = 2;
  PaddingOption padding = 0;
  Extent output_padding = 0;
  Extent dilation = 1;
  int groups = 1;
  bool bias = true;
  Initializer weight_init = init::pytorch::kaiming_uniform();
  std::optional<Initializer> bias_init = std::nullopt;
};

/// x [N,H,W,in] → [N,Ho,Wo,out]. weight [kh,kw,out/groups,in], bias [out].
class FOVEA_API ConvTranspose2d : public Module {
 public:
  ConvTranspose2d(int in, int out, const ConvTranspose2dOptions& options = {});
  std::string_view kind() const override { return "ConvTranspose2d"; }
  Tensor forward(const Tensor& x) override;

 private:
  ConvTranspose2dParams params_;
  bool bias_;
};

}  // namespace fovea
