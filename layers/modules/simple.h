// Modules without tensors of their own: pooling, flatten, dropout, resize, identity.
#pragma once

#include "layers/module.h"
#include "layers/modules/options.h"
#include "layers/ops/pool2d.h"
#include "layers/ops/shape_ops.h"

namespace fovea {

struct Pool2dOptions {
  std::optional<Extent> stride = std::nullopt;  ///< default: the window
  PaddingOption padding = 0;
  bool ceil_mode = false;  ///< a last partial window counts if it starts inside the image or the left padding
  bool count_include_pad =
      false;  ///< averages only: divide by the window's size (PyTorch's default is true) or by the cells inside
};

class FOVEA_API MaxPool2d : public Module {
 public:
  explicit MaxPool2d(Extent window, const Pool2dOptions& options = {});
  std::string_view kind() const override { return "MaxPool2d"; }
  Tensor forward(const Tensor& x) override { return max_pool2d(x, params_); }

 private:
  Pool2dParams params_;
};

class FOVEA_API AvgPool2d : public Module {
 public:
  explicit AvgPool2d(Extent window, const Pool2dOptions& options = {});
  std::string_view kind() const override { return "AvgPool2d"; }
  Tensor forward(const Tensor& x) override { return avg_pool2d(x, params_); }

 private:
  Pool2dParams params_;
};

/// [N,H,W,C] → [N,C].
class FOVEA_API GlobalAveragePool : public Module {
 public:
  std::string_view kind() const override { return "GlobalAveragePool"; }
  Tensor forward(const Tensor& x) override { return global_average_pool(x); }
};

/// [N,H,W,C] → [N,size.h,size.w,C].
class FOVEA_API AdaptiveAveragePool : public Module {
 public:
  explicit AdaptiveAveragePool(Extent size) : size_(size) {}
  std::string_view kind() const override { return "AdaptiveAveragePool"; }
  Tensor forward(const Tensor& x) override { return adaptive_average_pool(x, size_); }

 private:
  Size2 size_;
};

/// [N, ...] → [N, product of the rest].
class FOVEA_API Flatten : public Module {
 public:
  std::string_view kind() const override { return "Flatten"; }
  Tensor forward(const Tensor& x) override { return flatten(x); }
};

class FOVEA_API Identity : public Module {
 public:
  std::string_view kind() const override { return "Identity"; }
  Tensor forward(const Tensor& x) override { return x; }
};

/// See dropout().
class FOVEA_API Dropout : public Module {
 public:
  /// Error{usage} unless 0 ≤ rate < 1.
  explicit Dropout(double rate);
  std::string_view kind() const override { return "Dropout"; }
  Tensor forward(const Tensor& x) override;

 private:
  double rate_;
};

/// To a fixed size.
class FOVEA_API Resize : public Module {
 public:
  explicit Resize(Extent size, const ResizeParams& params = {}) : size_(size), params_(params) {}
  std::string_view kind() const override { return "Resize"; }
  Tensor forward(const Tensor& x) override { return resize(x, size_, params_); }

 private:
  Size2 size_;
  ResizeParams params_;
};

}  // namespace fovea
