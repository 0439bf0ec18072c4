// Blocks that several zoo networks share. Internal to models/.
#pragma once

#include <optional>
#include <vector>

#include "layers/modules.h"
#include "models/conventions.h"
#include "models/model.h"

namespace fovea::models {

/// TensorFlow's _make_divisible: the multiple of `divisor` nearest to `value`, at least `divisor`, and not more than
/// 10 % below `value` (Sandler et al. 2018, reference code).
int make_divisible(double value, int divisor = 8);

struct ConvOptions {
  int kernel = 1;
  int stride = 1;
  int groups = 1;
  ActivationParams activation = {Activation::relu6};
  std::optional<Padding> padding = std::nullopt;  ///< default: the layout's
};
/// Convolution, batch norm, activation in the layout's conventions.
ConvBnAct conv_bn(int in, int out, const ConvOptions& options, const Conventions& conventions);

/// Squeeze and excitation (Hu et al. 2018): x · gate(expand(act(reduce(mean of x)))). Children "reduce" and "expand",
/// 1×1 convolutions with bias.
struct SqueezeExciteOptions {
  ActivationParams activation = {Activation::relu};
  ActivationParams gate = {Activation::sigmoid};
};
class SqueezeExcite final : public Module {
 public:
  SqueezeExcite(int channels, int squeezed, const SqueezeExciteOptions& options = {});
  std::string_view kind() const override { return "SqueezeExcite"; }
  Tensor forward(const Tensor& x) override;

 private:
  std::shared_ptr<Conv2d> reduce_, expand_;
};

/// The inverted residual with linear bottleneck (Sandler et al. 2018): expand 1×1, depthwise k×k, squeeze and excite,
/// project 1×1 without activation; plus x where stride is 1 and channels stay. Children "expand" (unless there is
/// nothing to expand), "depthwise", "se", "project".
struct InvertedResidualOptions {
  int in = 0, expanded = 0, out = 0;
  int kernel = 3;
  int stride = 1;
  int squeezed = 0;                               ///< channels inside squeeze and excite; 0: none
  bool expand = true;                             ///< false: `expanded` is `in` and there is no expanding convolution
  bool shortcut = true;                           ///< where possible
  std::optional<Padding> padding = std::nullopt;  ///< of the depthwise convolution; default: the layout's
  ActivationParams activation = {Activation::relu6};
  SqueezeExciteOptions excite = {};
};
class InvertedResidual final : public Module {
 public:
  InvertedResidual(const InvertedResidualOptions& options, const Conventions& conventions);
  std::string_view kind() const override { return "InvertedResidual"; }
  Tensor forward(const Tensor& x) override;

 private:
  ModulePtr expand_, depthwise_, excite_, project_;
  bool residual_;
};

/// scale·x + offset, a Keras Rescaling layer inside the network. No tensors.
class Rescale final : public Module {
 public:
  explicit Rescale(double scale, double offset = 0) : scale_(scale), offset_(offset) {}
  std::string_view kind() const override { return "Rescale"; }
  Tensor forward(const Tensor& x) override;

 private:
  double scale_, offset_;
};

/// Each channel times a constant of its own: buffer "scale" [channels].
class ScaleChannels final : public Module {
 public:
  explicit ScaleChannels(const std::vector<float>& scales);
  std::string_view kind() const override { return "ScaleChannels"; }
  Tensor forward(const Tensor& x) override;
};

/// Appends "pool", "dropout" and "classifier" as far as `options.top` says. `features` is the number of channels.
void add_top(Sequential& net, int features, double dropout, const Options& options);

/// The model of a network for small pictures, which are stretched to size×size.
Model stretching(Sequential net, int size, int channels);

}  // namespace fovea::models
