// Kernels whose time is memory's: batch norm, activations, pooling, softmax, sums, optimizers. Bytes count each operand
// once, as if nothing were read twice.
#include "bench/memory_bench.h"

#include "kernels/activation.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "kernels/pool2d.h"

namespace fovea::bench {
namespace {

using namespace kernels;

Shape image(const Options& options, const NamedShape& s) {
  return {options.batch, s.number("h"), s.number("w"), s.number("c")};
}
/// Reads and writes of so many bytes for each element.
Work per_element(const Shape& shape, double bytes) { return {0, bytes * static_cast<double>(shape.numel())}; }

void add_batch_norm(const Options& options, const NamedShape& s) {
  const Shape x = image(options, s), c{s.number("c")};
  // Statistics need a pass of their own before the values can be written.
  add_kernel(options, "batch_norm_training", s, per_element(x, 12), [=] {
    return [in = random_tensor(x), gamma = random_tensor(c), beta = random_tensor(c), out = Tensor(x), mean = Tensor(c),
            variance = Tensor(c)]() mutable {
      batch_norm_training({}, in.view(), gamma.view(), beta.view(), out.mutable_view(), mean.mutable_view(),
                          variance.mutable_view());
    };
  });
  add_kernel(options, "batch_norm_inference", s, per_element(x, 8), [=] {
    return [in = random_tensor(x), gamma = random_tensor(c), beta = random_tensor(c), out = Tensor(x),
            mean = random_tensor(c), variance = random_tensor(c, 0.5, 2)]() mutable {
      batch_norm_inference({}, in.view(), gamma.view(), beta.view(), mean.view(), variance.view(), out.mutable_view());
    };
  });
  add_kernel(options, "batch_norm_backward", s, per_element(x, 20), [=] {
    return [in = random_tensor(x), dy = random_tensor(x), gamma = random_tensor(c), beta = random_tensor(c),
            mean = random_tensor(c), variance = random_tensor(c, 0.5, 2), dx = Tensor(x), dgamma = Tensor(c),
            dbeta = Tensor(c)]() mutable {
      batch_norm_training_backward({}, in.view(), dy.view(), gamma.view(), beta.view(), mean.view(), variance.view(),
                                   dx.mutable_view(), dgamma.mutable_view(), dbeta.mutable_view());
    };
  });
}

void add_activation(const Options& options, const NamedShape& s) {
  const Shape x = image(options, s);
  const ActivationParams params{activation_from(s.text("kind", "relu"))};
  const std::string name = "activation_" + s.text("kind", "relu");
  add_kernel(options, name + "_forward", s, per_element(x, 8), [=] {
    return [=, in = random_tensor(x, -4, 8), out = Tensor(x)]() mutable {
      activation_forward(params, in.view(), out.mutable_view());
    };
  });
  add_kernel(options, name + "_backward", s, per_element(x, 12), [=] {
    return [=, in = random_tensor(x, -4, 8), out = random_tensor(x, 0, 1), dy = random_tensor(x),
            dx = Tensor(x)]() mutable {
      activation_backward(params, in.view(), out.view(), dy.view(), dx.mutable_view());
    };
  });
}

void add_pool2d(const Options& options, const NamedShape& s) {
  const int k = static_cast<int>(s.number("k")), stride = static_cast<int>(s.number("s", k));
  const bool max = s.text("kind", "max") == "max";
  const Pool2dParams params{.kind = max ? PoolKind::max : PoolKind::average,
                            .window = {k, k},
                            .stride = {stride, stride},
                            .padding = Padding::same_both(static_cast<int>(s.number("pad", 0)))};
  const Shape x = image(options, s), y = pool2d_shape(params, x);
  const double values = static_cast<double>(x.numel() + y.numel());
  const Work work{0, 4 * values + (max ? 4.0 * static_cast<double>(y.numel()) : 0)};
  const std::string name = max ? "max_pool" : "average_pool";
  add_kernel(options, name + "_forward", s, {0, 4 * values}, [=] {
    return [=, in = random_tensor(x), out = Tensor(y)]() mutable {
      pool2d_forward(params, in.view(), out.mutable_view(), std::nullopt);
    };
  });
  add_kernel(options, name + "_training", s, work, [=] {
    return [=, in = random_tensor(x), out = Tensor(y), which = Tensor(y, DType::i32)]() mutable {
      pool2d_forward(params, in.view(), out.mutable_view(), max ? std::optional(which.mutable_view()) : std::nullopt);
    };
  });
  add_kernel(options, name + "_backward", s, work, [=] {
    Tensor in = random_tensor(x), out(y), which(y, DType::i32);
    if (max) pool2d_forward(params, in.view(), out.mutable_view(), which.mutable_view());
    return [=, dy = random_tensor(y), dx = Tensor(x)]() mutable {
      pool2d_backward(params, dy.view(), max ? std::optional<ConstView>(which.view()) : std::nullopt,
                      dx.mutable_view());
    };
  });
}

void add_global_average_pool(const Options& options, const NamedShape& s) {
  const Shape x = image(options, s), y{x[0], x[3]};
  add_kernel(options, "global_average_pool_forward", s, per_element(x, 4), [=] {
    return [in = random_tensor(x), out = Tensor(y)]() mutable {
      global_average_pool_forward(in.view(), out.mutable_view());
    };
  });
  add_kernel(options, "global_average_pool_backward", s, per_element(x, 4), [=] {
    return [dy = random_tensor(y), dx = Tensor(x)]() mutable {
      global_average_pool_backward(dy.view(), dx.mutable_view());
    };
  });
}

/// A residual sum, or the product with one factor for each sample and channel (squeeze and excitation).
void add_binary(const Options& options, const NamedShape& s, Binary kind, const char* name) {
  const Shape x = image(options, s), other = kind == Binary::add ? x : Shape{x[0], 1, 1, x[3]};
  add_kernel(options, name, s, per_element(x, kind == Binary::add ? 12 : 8), [=] {
    return [=, a = random_tensor(x), b = random_tensor(other), out = Tensor(x)]() mutable {
      binary(kind, a.view(), b.view(), out.mutable_view());
    };
  });
}

void add_softmax(const Options& options, const NamedShape& s) {
  const Shape x{options.batch, s.number("c")};
  add_kernel(options, "softmax_forward", s, per_element(x, 8), [=] {
    return [in = random_tensor(x), out = Tensor(x)]() mutable { softmax_forward(in.view(), out.mutable_view()); };
  });
  add_kernel(options, "softmax_backward", s, per_element(x, 12), [=] {
    return [y = random_tensor(x), dy = random_tensor(x), dx = Tensor(x)]() mutable {
      softmax_backward(y.view(), dy.view(), dx.mutable_view());
    };
  });
}

void add_optimizers(const Options& options, const NamedShape& s) {
  const Shape n{s.number("n")};
  add_kernel(options, "sgd_momentum", s, per_element(n, 20), [=] {
    return [gradient = random_tensor(n), parameter = random_tensor(n), momentum = Tensor::zeros(n)]() mutable {
      sgd_step({{.lr = 1e-4, .momentum = 0.9}, gradient.view(), parameter.mutable_view(), momentum.mutable_view()});
    };
  });
  add_kernel(options, "adam", s, per_element(n, 28), [=] {
    return [gradient = random_tensor(n), parameter = random_tensor(n), m = Tensor::zeros(n),
            v = Tensor::zeros(n)]() mutable {
      adam_step({{.lr = 1e-4}, gradient.view(), parameter.mutable_view(), m.mutable_view(), v.mutable_view()});
    };
  });
  add_kernel(options, "rmsprop", s, per_element(n, 20), [=] {
    return [gradient = random_tensor(n), parameter = random_tensor(n), v = Tensor::zeros(n)]() mutable {
      rmsprop_step({{.lr = 1e-4}, gradient.view(), parameter.mutable_view(), v.mutable_view(), {}, {}});
    };
  });
}

}  // namespace

bool add_memory_bound(const Options& options, const NamedShape& s) {
  if (s.kernel == "batch_norm") {
    add_batch_norm(options, s);
  } else if (s.kernel == "activation") {
    add_activation(options, s);
  } else if (s.kernel == "pool2d") {
    add_pool2d(options, s);
  } else if (s.kernel == "global_average_pool") {
    add_global_average_pool(options, s);
  } else if (s.kernel == "add") {
    add_binary(options, s, Binary::add, "add");
  } else if (s.kernel == "scale") {
    add_binary(options, s, Binary::multiply, "scale");
  } else if (s.kernel == "softmax") {
    add_softmax(options, s);
  } else if (s.kernel == "parameters") {
    add_optimizers(options, s);
  } else {
    return false;
  }
  return true;
}

}  // namespace fovea::bench
