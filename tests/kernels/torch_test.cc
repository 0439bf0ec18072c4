// Every family against what PyTorch computes in double (data/torch.safetensors, written by make_reference.py): forward
// and gradients, on the reference path, to 1e-12 of the largest value; and in f32, with whatever implementation is
// chosen, to 2e-5.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "core/io/safetensors.h"
#include "kernels/conv2d.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "kernels/pool2d.h"
#include "kernels/registry.h"

using namespace fovea;
using namespace fovea::kernels;
using Json = nlohmann::json;

namespace {

const Safetensors& file() {
  static const Safetensors data = read_safetensors(FOVEA_SOURCE_DIR "/tests/kernels/data/torch.safetensors");
  return data;
}

/// One case in one element type. Operands are fetched by name; results are compared by name.
class Case {
 public:
  Case(Json params, DType dtype) : json(std::move(params)), name_(json["name"].get<std::string>()), dtype_(dtype) {}

  Json json;
  int integer(const char* key) const { return json[key].get<int>(); }
  double number(const char* key, double otherwise) const {
    return json.contains(key) ? json[key].get<double>() : otherwise;
  }
  bool flag(const char* key) const { return json.contains(key) && json[key].get<bool>(); }
  std::string text(const char* key, const char* otherwise) const {
    return json.contains(key) ? json[key].get<std::string>() : otherwise;
  }
  Size2 both(const char* key) const { return {integer(key), integer(key)}; }
  DType dtype() const { return dtype_; }

  Tensor operator[](const char* operand) const {
    const Tensor t = file().find(name_ + "." + operand);
    return t.defined() ? t.to(dtype_) : t;
  }
  Tensor poisoned(const Shape& shape) const { return Tensor::full(shape, std::nan(""), dtype_); }
  Tensor poisoned_like(const char* operand) const { return poisoned(file().find(name_ + "." + operand).shape()); }

  void check(const char* operand, const Tensor& result) const {
    const Tensor expected = file().find(name_ + "." + operand);
    INFO(name_ << "." << operand << " in " << to_string(dtype_));
    REQUIRE(expected.defined());
    REQUIRE(result.numel() == expected.numel());
    const auto want = expected.to_vector<double>(), have = result.to_vector<double>();
    double largest = 1, worst = 0;
    std::size_t where = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      if (std::fabs(want[i]) < 1e6) largest = std::max(largest, std::fabs(want[i]));
    }
    for (std::size_t i = 0; i < want.size(); ++i) {
      const double error = std::fabs(have[i] - want[i]) / std::max(largest, std::fabs(want[i]));
      if (!(error <= worst)) worst = error, where = i;
    }
    INFO("element " << where << " is " << have[where] << ", PyTorch has " << want[where]);
    CHECK(worst <= (dtype_ == DType::f64 ? 1e-12 : 2e-5));
  }

 private:
  std::string name_;
  DType dtype_;
};

OptionalView optional(const Tensor& t) { return t.defined() ? OptionalView(t.view()) : std::nullopt; }

/// Calls fn(Case) for the cases of an op, in f64 on the reference path and in f32 on the chosen one; returns their
/// number.
template <class Fn>
int for_cases(const char* op, Fn&& fn) {
  const Json cases = Json::parse(*file().find_metadata("cases"));
  int count = 0;
  for (const Json& c : cases) {
    if (c["op"] != op) continue;
    ++count;
    INFO(c.dump());
    fn(Case(c, DType::f64));
    fn(Case(c, DType::f32));
    const ForceImplementation force("reference");
    fn(Case(c, DType::f32));
  }
  return count;
}

}  // namespace

TEST_CASE("convolution as PyTorch computes it") {
  CHECK(for_cases("conv2d", [](const Case& c) {
          const Conv2dParams params{c.both("stride"), Padding::same_both(c.integer("pad")), c.both("dilation"),
                                    c.integer("groups")};
          const Tensor x = c["x"], w = c["w"], bias = c["bias"], dy = c["dy"];
          Tensor y = c.poisoned_like("y"), dx = c.poisoned(x.shape()), dw = c.poisoned(w.shape());
          conv2d_forward(params, x.view(), w.view(), optional(bias), y.mutable_view());
          conv2d_backward_data(params, dy.view(), w.view(), dx.mutable_view());
          conv2d_backward_weights(params, x.view(), dy.view(), dw.mutable_view(), std::nullopt);
          c.check("y", y);
          c.check("dx", dx);
          c.check("dw", dw);
        }) == 4);
}

TEST_CASE("transposed convolution as PyTorch computes it") {
  CHECK(for_cases("conv_transpose2d", [](const Case& c) {
          const ConvTranspose2dParams params{c.both("stride"), Padding::same_both(c.integer("pad")), c.both("dilation"),
                                             c.both("output_padding"), c.integer("groups")};
          const Tensor x = c["x"], w = c["w"], bias = c["bias"], dy = c["dy"];
          REQUIRE(conv_transpose2d_shape(params, x.shape(), w.shape()) == dy.shape());
          Tensor y = c.poisoned_like("y"), dx = c.poisoned(x.shape()), dw = c.poisoned(w.shape()),
                 dbias = c.poisoned(bias.shape());
          conv_transpose2d_forward(params, x.view(), w.view(), optional(bias), y.mutable_view());
          conv_transpose2d_backward_data(params, dy.view(), w.view(), dx.mutable_view());
          conv_transpose2d_backward_weights(params, x.view(), dy.view(), dw.mutable_view(), dbias.mutable_view());
          c.check("y", y);
          c.check("dx", dx);
          c.check("dw", dw);
          c.check("dbias", dbias);
        }) == 4);
}

TEST_CASE("max and average pooling as PyTorch computes them") {
  const auto pool = [](const Case& c, PoolKind kind) {
    const Pool2dParams params{.kind = kind,
                              .window = c.both("window"),
                              .stride = c.both("stride"),
                              .padding = Padding::same_both(c.integer("pad")),
                              .count_include_pad = c.flag("include"),
                              .ceil_mode = c.flag("ceil")};
    const Tensor x = c["x"], dy = c["dy"];
    REQUIRE(pool2d_shape(params, x.shape()) == dy.shape());
    Tensor y = c.poisoned(dy.shape()), dx = c.poisoned(x.shape()), argmax = Tensor::full(dy.shape(), -1, DType::i32);
    const bool max = kind == PoolKind::max;
    pool2d_forward(params, x.view(), y.mutable_view(), max ? std::optional<View>(argmax.mutable_view()) : std::nullopt);
    pool2d_backward(params, dy.view(), max ? OptionalView(argmax.view()) : std::nullopt, dx.mutable_view());
    c.check("y", y);
    c.check("dx", dx);
  };
  CHECK(for_cases("max_pool", [&](const Case& c) { pool(c, PoolKind::max); }) == 10);
  CHECK(for_cases("average_pool", [&](const Case& c) { pool(c, PoolKind::average); }) == 20);
}

TEST_CASE("adaptive and global average pooling as PyTorch computes them") {
  CHECK(for_cases("adaptive_average_pool", [](const Case& c) {
          const Tensor x = c["x"], dy = c["dy"];
          Tensor y = c.poisoned(dy.shape()), dx = c.poisoned(x.shape());
          adaptive_average_pool_forward(x.view(), y.mutable_view());
          adaptive_average_pool_backward(dy.view(), dx.mutable_view());
          c.check("y", y);
          c.check("dx", dx);
          if (dy.dim(1) == 1 && dy.dim(2) == 1) {
            Tensor flat = c.poisoned({x.dim(0), x.dim(3)}), spread = c.poisoned(x.shape());
            global_average_pool_forward(x.view(), flat.mutable_view());
            global_average_pool_backward(dy.view_as(flat.shape()).view(), spread.mutable_view());
            c.check("y", flat);
            c.check("dx", spread);
          }
        }) == 4);
}

TEST_CASE("batch norm as PyTorch computes it, with fused activations") {
  CHECK(for_cases("batch_norm", [](const Case& c) {
          const BatchNormParams params{c.number("epsilon", 0), {activation_from(c.text("activation", "none"))}};
          const Tensor x = c["x"], gamma = c["gamma"], beta = c["beta"], dy = c["dy"];
          Tensor mean = c["mean"], variance = c["variance"], y = c.poisoned(x.shape()), dx = c.poisoned(x.shape());
          Tensor dgamma = c.poisoned(gamma.shape()), dbeta = c.poisoned(gamma.shape());
          if (c.flag("training")) {
            mean = c.poisoned(gamma.shape());
            variance = c.poisoned(gamma.shape());
            batch_norm_training(params, x.view(), gamma.view(), beta.view(), y.mutable_view(), mean.mutable_view(),
                                variance.mutable_view());
            c.check("mean", mean);
            c.check("variance", variance);
            batch_norm_training_backward(params, x.view(), dy.view(), gamma.view(), beta.view(), mean.view(),
                                         variance.view(), dx.mutable_view(), dgamma.mutable_view(),
                                         dbeta.mutable_view());
          } else {
            batch_norm_inference(params, x.view(), gamma.view(), beta.view(), mean.view(), variance.view(),
                                 y.mutable_view());
            batch_norm_inference_backward(params, x.view(), dy.view(), gamma.view(), beta.view(), mean.view(),
                                          variance.view(), dx.mutable_view(), dgamma.mutable_view(),
                                          dbeta.mutable_view());
          }
          c.check("y", y);
          c.check("dx", dx);
          c.check("dgamma", dgamma);
          c.check("dbeta", dbeta);
        }) == 3);
}

TEST_CASE("layer norm and group norm as PyTorch computes them") {
  const auto norm = [](const Case& c, int groups) {
    const Tensor x = c["x"], gamma = c["gamma"], beta = c["beta"], dy = c["dy"];
    const double epsilon = c.number("epsilon", 0);
    const std::int64_t count = groups ? x.dim(0) * groups : x.numel() / x.dim(-1);
    Tensor y = c.poisoned(x.shape()), dx = c.poisoned(x.shape()), mean = c.poisoned({count}),
           inv_std = c.poisoned({count});
    Tensor dgamma = c.poisoned(gamma.shape()), dbeta = c.poisoned(gamma.shape());
    if (groups) {
      group_norm_forward(groups, epsilon, x.view(), gamma.view(), beta.view(), y.mutable_view(), mean.mutable_view(),
                         inv_std.mutable_view());
      group_norm_backward(groups, x.view(), dy.view(), gamma.view(), mean.view(), inv_std.view(), dx.mutable_view(),
                          dgamma.mutable_view(), dbeta.mutable_view());
    } else {
      layer_norm_forward(epsilon, x.view(), gamma.view(), beta.view(), y.mutable_view(), mean.mutable_view(),
                         inv_std.mutable_view());
      layer_norm_backward(x.view(), dy.view(), gamma.view(), mean.view(), inv_std.view(), dx.mutable_view(),
                          dgamma.mutable_view(), dbeta.mutable_view());
    }
    c.check("y", y);
    c.check("dx", dx);
    c.check("dgamma", dgamma);
    c.check("dbeta", dbeta);
  };
  CHECK(for_cases("layer_norm", [&](const Case& c) { norm(c, 0); }) == 1);
  CHECK(for_cases("group_norm", [&](const Case& c) { norm(c, c.integer("groups")); }) == 3);
}

TEST_CASE("activations at their kinks and far out as PyTorch computes them") {
  CHECK(for_cases("activation", [](const Case& c) {
          const ActivationParams params{activation_from(c.text("activation", "")), c.number("alpha", 0)};
          const Tensor x = c["x"], ones = Tensor::ones(x.shape(), c.dtype());
          Tensor y = c.poisoned(x.shape()), dx = c.poisoned(x.shape());
          activation_forward(params, x.view(), y.mutable_view());
          c.check("y", y);
          // The operand that is not needed may have no data.
          ConstView xv = x.view(), yv = y.view();
          (derivative_from_result(params.kind) ? xv : yv).data = nullptr;
          activation_backward(params, xv, yv, ones.view(), dx.mutable_view());
          c.check("dx", dx);
          // In place: y over x, dx over dy.
          Tensor over = x.clone(), gradient = ones.clone();
          activation_forward(params, over.view(), over.mutable_view());
          c.check("y", over);
          activation_backward(params, xv, yv, gradient.view(), gradient.mutable_view());
          c.check("dx", gradient);
        }) == 11);
}

TEST_CASE("softmax and log-softmax as PyTorch computes them, with huge logits") {
  CHECK(for_cases("softmax", [](const Case& c) {
          if (c.dtype() == DType::f32) return;  // 1e300 is beyond f32: norm_test has its own huge values
          const Tensor x = c["x"], dy = c["dy"];
          Tensor y = c.poisoned(x.shape()), dx = c.poisoned(x.shape());
          if (c.flag("log")) {
            log_softmax_forward(x.view(), y.mutable_view());
            log_softmax_backward(y.view(), dy.view(), dx.mutable_view());
          } else {
            softmax_forward(x.view(), y.mutable_view());
            softmax_backward(y.view(), dy.view(), dx.mutable_view());
          }
          c.check("y", y);
          c.check("dx", dx);
        }) == 2);
}

TEST_CASE("resize as PyTorch's interpolate computes it") {
  CHECK(for_cases("resize", [](const Case& c) {
          const std::string name = c.text("filter", "");
          const ResizeParams params{name == "nearest"    ? ResizeFilter::nearest
                                    : name == "bilinear" ? ResizeFilter::bilinear
                                                         : ResizeFilter::bicubic,
                                    c.flag("antialias"), c.flag("align")};
          const Tensor x = c["x"], dy = c["dy"];
          Tensor y = c.poisoned(dy.shape()), dx = c.poisoned(x.shape());
          resize_forward(params, x.view(), y.mutable_view());
          resize_backward(params, dy.view(), dx.mutable_view());
          c.check("y", y);
          c.check("dx", dx);
        }) == 28);
}

TEST_CASE("optimizers step as PyTorch's do") {
  const auto steps = [](const Case& c, auto&& step) {
    Tensor param = c["start"].clone();
    const Tensor grads = c["grads"];
    for (int t = 0; t < 3; ++t) step(t, grads.slice(t, t + 1).view_as(param.shape()), param);
    c.check("end", param);
  };
  CHECK(for_cases("sgd", [&](const Case& c) {
          Tensor momentum = c.poisoned_like("start");  // the first step must not read it
          steps(c, [&](int t, const Tensor& grad, Tensor& param) {
            sgd_step({{.lr = c.number("lr", 0),
                       .momentum = c.number("momentum", 0),
                       .weight_decay = c.number("weight_decay", 0),
                       .nesterov = c.flag("nesterov"),
                       .first = t == 0},
                      grad.view(),
                      param.mutable_view(),
                      momentum.mutable_view()});
          });
        }) == 3);
  CHECK(for_cases("adam", [&](const Case& c) {
          Tensor m = Tensor::zeros(c["start"].shape(), c.dtype()), v = m.clone();
          steps(c, [&](int t, const Tensor& grad, Tensor& param) {
            adam_step({{.lr = c.number("lr", 0),
                        .beta1 = c.number("beta1", 0.9),
                        .beta2 = c.number("beta2", 0.999),
                        .epsilon = c.number("eps", 1e-8),
                        .weight_decay = c.number("weight_decay", 0),
                        .step = t + 1,
                        .decoupled = c.flag("decoupled")},
                       grad.view(),
                       param.mutable_view(),
                       m.mutable_view(),
                       v.mutable_view()});
          });
        }) == 3);
  CHECK(for_cases("rmsprop", [&](const Case& c) {
          Tensor v = Tensor::zeros(c["start"].shape(), c.dtype()), momentum = v.clone(), mean = v.clone();
          steps(c, [&](int, const Tensor& grad, Tensor& param) {
            rmsprop_step({{.lr = c.number("lr", 0),
                           .alpha = c.number("alpha", 0.99),
                           .epsilon = c.number("eps", 1e-8),
                           .momentum = c.number("momentum", 0),
                           .weight_decay = c.number("weight_decay", 0)},
                          grad.view(),
                          param.mutable_view(),
                          v.mutable_view(),
                          momentum.mutable_view(),
                          c.flag("centered") ? std::optional<View>(mean.mutable_view()) : std::nullopt});
          });
        }) == 3);
}
