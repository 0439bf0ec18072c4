// One table of all ops for the tests that go over all of them: gradient checks and capture.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layers/grad_check.h"
#include "layers/ops.h"
#include "support.h"

namespace fovea::test {

struct OpCase {
  std::string name;
  std::string type;  ///< the op that runs
  /// Operands for an image batch of this shape [N,H,W,C].
  std::function<std::vector<Tensor>(const Shape& x)> operands;
  TensorFunction run;
  GradCheckOptions options = {};
};

inline std::vector<OpCase> op_cases() {
  using Ts = std::vector<Tensor>;
  std::vector<OpCase> cases;
  const auto one = [](const char* name, auto make) { return [=](const Shape& x) { return Ts{make(x, name)}; }; };
  const auto plain = [](const Shape& x, const char* name) { return random(x, name); };
  const auto smooth = [](const Shape& x, const char* name) { return off_kinks(x, name); };
  const auto untied = [](const Shape& x, const char* name) { return distinct(x, name); };
  const auto classes = [](const Shape& x) { return x[3]; };

  // Convolution and pooling have sweeps of their own; here for capture, and over all sizes.
  const auto conv_operands = [](const Shape& x) {
    return Ts{random(x, "x"), random({3, 3, x[3], 5}, "w"), random({5}, "b")};
  };
  const Conv2dParams padded{.padding = Padding::same_both(1)};
  cases.push_back({"conv2d", "conv2d", conv_operands, [=](const Ts& t) { return conv2d(t[0], t[1], t[2], padded); }});
  cases.push_back({"conv2d tf_same, no bias", "conv2d", conv_operands, [](const Ts& t) {
                     return conv2d(t[0], t[1], {}, {.stride = {2, 2}, .padding = Padding::tf_same()});
                   }});
  for (const Activation kind : {Activation::relu, Activation::sigmoid, Activation::silu, Activation::leaky_relu}) {
    cases.push_back({"conv2d + " + std::string(kernels::to_string(kind)), "conv2d", conv_operands, [=](const Ts& t) {
                       return conv2d(t[0], t[1], t[2], padded, {kind, 0.1});
                     }});
    cases.push_back({"dense + " + std::string(kernels::to_string(kind)), "dense",
                     [](const Shape& x) {
                       return Ts{random(x, "x"), random({x[3], 4}, "w"), random({4}, "b")};
                     },
                     [=](const Ts& t) {
                       return dense(t[0], t[1], t[2], {kind, 0.1});
                     }});
  }
  cases.push_back({"conv_transpose2d", "conv_transpose2d",
                   [](const Shape& x) {
                     return Ts{random(x, "x"), random({2, 2, 3, x[3]}, "w"), random({3}, "b")};
                   },
                   [](const Ts& t) {
                     return conv_transpose2d(t[0], t[1], t[2], {.stride = {2, 2}});
                   }});
  cases.push_back({"max_pool2d", "max_pool2d", one("x", untied), [](const Ts& t) {
                     return max_pool2d(t[0], {.window = {3, 3}, .stride = {2, 2}, .padding = Padding::same_both(1)});
                   }});
  cases.push_back({"avg_pool2d", "avg_pool2d", one("x", plain), [](const Ts& t) {
                     return avg_pool2d(t[0], {.window = {3, 3}, .stride = {2, 2}, .padding = Padding::tf_same()});
                   }});
  cases.push_back({"global_average_pool", "global_average_pool", one("x", plain),
                   [](const Ts& t) { return global_average_pool(t[0]); }});
  cases.push_back({"adaptive_average_pool", "adaptive_average_pool", one("x", plain), [](const Ts& t) {
                     return adaptive_average_pool(t[0], {2, 3});
                   }});

  cases.push_back({"dense", "dense",
                   [](const Shape& x) {
                     return Ts{random(x, "x"), random({x[3], 4}, "w"), random({4}, "b")};
                   },
                   [](const Ts& t) { return dense(t[0], t[1], t[2]); }});
  cases.push_back({"dense without bias", "dense",
                   [](const Shape& x) {
                     return Ts{random(x, "x"), random({x[3], 4}, "w")};
                   },
                   [](const Ts& t) { return dense(t[0], t[1]); }});
  for (int transposed = 0; transposed < 4; ++transposed) {
    const bool a = transposed & 1, b = transposed & 2;
    cases.push_back(
        {str("matmul", a ? " aᵀ" : "", b ? " bᵀ" : ""), "matmul",
         [=](const Shape& x) {
           const std::int64_t m = x[0] * x[1], k = x[2], n = x[3];
           return Ts{random(a ? Shape{k, m} : Shape{m, k}, "a"), random(b ? Shape{n, k} : Shape{k, n}, "b")};
         },
         [=](const Ts& t) { return matmul(t[0], t[1], a, b); }});
  }

  const auto norm_operands = [](const Shape& x) {
    return Ts{random(x, "x"), random({x[3]}, "gamma", 0.5, 1.5), random({x[3]}, "beta"), random({x[3]}, "mean"),
              random({x[3]}, "variance", 0.5, 1.5)};
  };
  for (const bool training : {false, true}) {
    for (const bool frozen : {false, true}) {
      cases.push_back(
          {str("batch_norm", training ? " training" : "", frozen ? " frozen" : ""),
           "batch_norm",
           norm_operands,
           [=](const Ts& t) { return batch_norm(t[0], t[1], t[2], t[3], t[4], {.epsilon = 1e-3, .frozen = frozen}); },
           {.constants = {3, 4}, .training = training}});
    }
    for (const Activation kind : {Activation::relu6, Activation::silu, Activation::gelu}) {
      cases.push_back({str("batch_norm + ", kernels::to_string(kind), training ? " training" : ""),
                       "batch_norm",
                       norm_operands,
                       [=](const Ts& t) {
                         return batch_norm(t[0], t[1], t[2], t[3], t[4], {.epsilon = 1e-2, .activation = {kind}});
                       },
                       {.constants = {3, 4}, .training = training}});
    }
  }
  cases.push_back({"batch_norm without gamma and beta",
                   "batch_norm",
                   norm_operands,
                   [](const Ts& t) { return batch_norm(t[0], {}, {}, t[3], t[4], {.epsilon = 1e-3}); },
                   {.constants = {3, 4}, .training = true}});
  cases.push_back({"layer_norm",
                   "layer_norm",
                   norm_operands,
                   [](const Ts& t) { return layer_norm(t[0], t[1], t[2], 1e-2); },
                   {.constants = {3, 4}}});
  cases.push_back({"layer_norm without gamma and beta", "layer_norm", one("x", plain),
                   [](const Ts& t) { return layer_norm(t[0], {}, {}, 1e-2); }});
  cases.push_back({"group_norm",
                   "group_norm",
                   norm_operands,
                   [](const Ts& t) { return group_norm(t[0], t[0].dim(3) % 2 == 0 ? 2 : 1, t[1], t[2], 1e-2); },
                   {.constants = {3, 4}}});

  for (const Activation kind :
       {Activation::relu, Activation::relu6, Activation::leaky_relu, Activation::sigmoid, Activation::silu,
        Activation::hard_swish, Activation::hard_sigmoid, Activation::gelu, Activation::gelu_tanh, Activation::tanh}) {
    const std::string type(kernels::to_string(kind));
    cases.push_back({type, type, one("x", smooth), [=](const Ts& t) { return activation(t[0], {kind, 0.2}); }});
  }

  const auto two = [](const Shape& x) { return Ts{random(x, "a"), random(x, "b")}; };
  const auto row = [](const Shape& x) { return Ts{random(x, "a"), random({1, x[2], 1}, "b")}; };
  const auto both = [](const Shape& x) { return Ts{random({x[0], 1, x[2], 1}, "a"), random({x[1], 1, x[3]}, "b")}; };
  cases.push_back({"add", "add", two, [](const Ts& t) { return add(t[0], t[1]); }});
  cases.push_back({"add broadcast", "add", both, [](const Ts& t) { return add(t[0], t[1]); }});
  cases.push_back({"add to itself", "add", one("x", plain), [](const Ts& t) { return add(t[0], t[0]); }});
  cases.push_back({"subtract", "subtract", two, [](const Ts& t) { return subtract(t[0], t[1]); }});
  cases.push_back({"subtract broadcast", "subtract", row, [](const Ts& t) { return subtract(t[1], t[0]); }});
  cases.push_back({"multiply", "multiply", two, [](const Ts& t) { return multiply(t[0], t[1]); }});
  cases.push_back({"multiply broadcast", "multiply", both, [](const Ts& t) { return multiply(t[0], t[1]); }});
  cases.push_back({"multiply broadcast row", "multiply", row, [](const Ts& t) { return multiply(t[0], t[1]); }});
  cases.push_back(
      {"multiply by itself", "multiply", one("x", plain), [](const Ts& t) { return multiply(t[0], t[0]); }});
  cases.push_back({"affine", "affine", one("x", plain), [](const Ts& t) { return affine(t[0], -1.75, 0.5); }});

  for (const int axis : {0, 2, -1}) {
    cases.push_back({str("concat axis ", axis), "concat",
                     [=](const Shape& x) {
                       return Ts{random(x, "a"), random(x.with_dim(axis, 2), "b"), random(x, "c")};
                     },
                     [=](const Ts& t) { return concat(t, axis); }});
  }
  cases.push_back({"flatten", "flatten", one("x", plain), [](const Ts& t) { return flatten(t[0]); }});
  cases.push_back({"reshape", "reshape", one("x", plain), [](const Ts& t) {
                     return reshape(t[0], {t[0].dim(0), 1, t[0].dim(1) * t[0].dim(2) * t[0].dim(3)});
                   }});
  cases.push_back({"slice_batch", "slice_batch", one("x", plain),
                   [](const Ts& t) { return slice_batch(t[0], t[0].dim(0) / 2, t[0].dim(0)); }});
  cases.push_back({"identity", "identity", one("x", plain), [](const Ts& t) { return identity(t[0]); }});
  for (const ResizeFilter filter : {ResizeFilter::nearest, ResizeFilter::bilinear, ResizeFilter::bicubic}) {
    for (const bool corners : {false, true}) {
      cases.push_back(
          {str("resize filter ", static_cast<int>(filter), corners ? " corners" : ""), "resize", one("x", plain),
           [=](const Ts& t) {
             return resize(t[0], {3, 7}, {.filter = filter, .antialias = !corners, .align_corners = corners});
           }});
    }
  }

  cases.push_back({"sum", "sum", one("x", plain), [](const Ts& t) { return sum(t[0]); }});
  cases.push_back({"sum axes", "sum", one("x", plain), [](const Ts& t) { return sum(t[0], {1, -1}); }});
  cases.push_back({"mean", "mean", one("x", plain), [](const Ts& t) { return mean(t[0], {2, 1}, true); }});
  cases.push_back({"mean over channels", "mean", one("x", plain), [](const Ts& t) { return mean(t[0], {-1}); }});
  cases.push_back({"max", "max", one("x", untied), [](const Ts& t) { return max(t[0], {1, 2}); }});
  cases.push_back({"max over channels", "max", one("x", untied), [](const Ts& t) { return max(t[0], {3}, true); }});
  cases.push_back({"softmax", "softmax", one("x", plain), [](const Ts& t) { return softmax(t[0]); }});
  cases.push_back({"log_softmax", "log_softmax", one("x", plain), [](const Ts& t) { return log_softmax(t[0]); }});
  cases.push_back(
      {"dropout", "dropout", one("x", plain), [](const Ts& t) { return dropout(t[0], 0.4); }, {.training = true}});
  cases.push_back({"dropout in inference", "dropout", one("x", plain), [](const Ts& t) { return dropout(t[0], 0.4); }});

  for (const LossReduction reduction : {LossReduction::mean, LossReduction::sum, LossReduction::none}) {
    const std::string suffix = str(" reduction ", static_cast<int>(reduction));
    const auto indices = [=](const Shape& x) {
      return Ts{random(x, "logits", -3, 3), labels({x[0], x[1], x[2]}, classes(x), "labels"),
                random({x[3]}, "weights", 0.5, 2)};
    };
    const auto soft = [=](const Shape& x) {
      return Ts{random(x, "logits", -3, 3), softmax(random(x, "soft")), random({x[3]}, "weights", 0.5, 2)};
    };
    const auto targets = [=](const Shape& x) {
      return Ts{random(x, "logits", -3, 3), random(x, "targets", 0, 1), random({x[3]}, "weights", 0.5, 2)};
    };
    cases.push_back({"cross_entropy" + suffix,
                     "cross_entropy",
                     indices,
                     [=](const Ts& t) { return cross_entropy(t[0], t[1], {.reduction = reduction}); },
                     {.constants = {2}}});
    cases.push_back({"cross_entropy weighted, smoothed, ignoring" + suffix,
                     "cross_entropy",
                     indices,
                     [=](const Ts& t) {
                       return cross_entropy(
                           t[0], t[1],
                           {.label_smoothing = 0.1, .class_weights = t[2], .ignore_index = 1, .reduction = reduction});
                     },
                     {.constants = {2}}});
    cases.push_back({"cross_entropy soft" + suffix,
                     "cross_entropy",
                     soft,
                     [=](const Ts& t) {
                       return cross_entropy(t[0], t[1],
                                            {.label_smoothing = 0.1, .class_weights = t[2], .reduction = reduction});
                     },
                     {.constants = {1, 2}}});
    cases.push_back({"focal" + suffix,
                     "focal",
                     indices,
                     [=](const Ts& t) {
                       return focal_loss(t[0], t[1], {.gamma = 1.7, .class_weights = t[2], .reduction = reduction});
                     },
                     {.constants = {2}}});
    cases.push_back(
        {"binary_cross_entropy" + suffix,
         "binary_cross_entropy",
         targets,
         [=](const Ts& t) { return binary_cross_entropy(t[0], t[1], {.pos_weight = t[2], .reduction = reduction}); },
         {.constants = {1, 2}}});
    cases.push_back({"sigmoid_focal" + suffix,
                     "sigmoid_focal",
                     targets,
                     [=](const Ts& t) {
                       return sigmoid_focal_loss(t[0], t[1], {.gamma = 2, .alpha = 0.3, .reduction = reduction});
                     },
                     {.constants = {1, 2}}});
    cases.push_back({"mean_squared_error" + suffix, "mean_squared_error", two,
                     [=](const Ts& t) { return mean_squared_error(t[0], t[1], reduction); }});
  }
  // Where everything is clamped the rounded value has a true derivative, 0 by x and the clamped integer by the scale;
  // the straight-through rule inside the range is checked apart (quantize_test.cc).
  cases.push_back({"fake_quantize",
                   "fake_quantize",
                   [](const Shape& x) {
                     return Ts{off_kinks(x, "x"), Tensor::full({x[3]}, 1e-3, DType::f64)};
                   },
                   [](const Ts& t) { return fake_quantize(t[0], t[1], {.zero = 1, .low = -4, .high = 7}); },
                   {.step = 1e-6}});
  return cases;
}

}  // namespace fovea::test
