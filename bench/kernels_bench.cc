// Convolution and dense layers of real networks, in each direction. Floating-point operations are two for each
// multiply-add; bytes count each operand once, so GB/s says what a kernel asks of memory at the least.
#include <memory>

#include "bench/memory_bench.h"
#include "bench/options.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "kernels/conv2d.h"
#include "kernels/dense.h"

namespace fovea::bench {
namespace {

using namespace kernels;

double bytes_of(std::initializer_list<Shape> shapes) {
  double sum = 0;
  for (const Shape& shape : shapes) sum += 4.0 * static_cast<double>(shape.numel());
  return sum;
}

void add_conv2d(const Options& options, const NamedShape& s) {
  const std::int64_t k = s.number("k"), ci = s.number("ci"), groups = s.number("groups", 1);
  const int stride = static_cast<int>(s.number("s", 1));
  const Conv2dParams params{.stride = {stride, stride},
                            .padding = s.text("pad", "0") == "same"
                                           ? Padding::tf_same()
                                           : Padding::same_both(static_cast<int>(s.number("pad", 0))),
                            .groups = static_cast<int>(groups)};
  const Shape x{options.batch, s.number("h"), s.number("w"), ci}, w{k, k, ci / groups, s.number("co")};
  const Shape y = conv2d_shape(params, x, w);
  const Work work{2.0 * static_cast<double>(y.numel()) * static_cast<double>(k * k * (ci / groups)),
                  bytes_of({x, w, y})};
  const std::string kind = groups > 1 && groups == ci ? "depthwise" : "conv2d";
  add_kernel(options, kind + "_forward", s, work, [=] {
    return [=, in = random_tensor(x), weights = random_tensor(w), out = Tensor(y)]() mutable {
      conv2d_forward(params, in.view(), weights.view(), std::nullopt, out.mutable_view());
    };
  });
  add_kernel(options, kind + "_backward_data", s, work, [=] {
    return [=, dy = random_tensor(y), weights = random_tensor(w), dx = Tensor(x)]() mutable {
      conv2d_backward_data(params, dy.view(), weights.view(), dx.mutable_view());
    };
  });
  add_kernel(options, kind + "_backward_weights", s, work, [=] {
    return [=, in = random_tensor(x), dy = random_tensor(y), dw = Tensor(w)]() mutable {
      conv2d_backward_weights(params, in.view(), dy.view(), dw.mutable_view(), std::nullopt);
    };
  });
}

void add_dense(const Options& options, const NamedShape& s) {
  const Shape x{options.batch, s.number("in")}, w{s.number("in"), s.number("out")}, y{options.batch, s.number("out")};
  const Work work{2.0 * static_cast<double>(w.numel() * options.batch), bytes_of({x, w, y})};
  add_kernel(options, "dense_forward", s, work, [=] {
    return [in = random_tensor(x), weights = random_tensor(w), bias = random_tensor({w[1]}),
            out = Tensor(y)]() mutable { dense_forward(in.view(), weights.view(), bias.view(), out.mutable_view()); };
  });
  add_kernel(options, "dense_backward_data", s, work, [=] {
    return [dy = random_tensor(y), weights = random_tensor(w), dx = Tensor(x)]() mutable {
      dense_backward_data(dy.view(), weights.view(), dx.mutable_view());
    };
  });
  add_kernel(options, "dense_backward_weights", s, work, [=] {
    return [in = random_tensor(x), dy = random_tensor(y), dw = Tensor(w), db = Tensor({w[1]})]() mutable {
      dense_backward_weights(in.view(), dy.view(), dw.mutable_view(), db.mutable_view());
    };
  });
}

void add(const Options& options) {
  for (const NamedShape& shape : options.shapes) {
    if (shape.kernel == "conv2d") {
      add_conv2d(options, shape);
    } else if (shape.kernel == "dense") {
      add_dense(options, shape);
    } else if (!add_memory_bound(options, shape)) {
      throw Error(ErrorKind::format, shape.network, "no benchmark knows the kernel '" + shape.kernel + "'");
    }
  }
}

}  // namespace

Tensor random_tensor(const Shape& shape, double low, double high) {
  Tensor t(shape);
  Rng rng(1, "bench");
  float* const to = t.mutable_data<float>();
  for (std::int64_t i = 0; i < t.numel(); ++i) to[i] = static_cast<float>(rng.uniform(low, high));
  return t;
}

}  // namespace fovea::bench

int main(int argc, char** argv) { return fovea::bench::run_suite(argc, argv, fovea::bench::add); }
