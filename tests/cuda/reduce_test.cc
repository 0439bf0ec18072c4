// Reductions, softmax and losses on the GPU against the reference.
#include "cuda/both.h"
#include "kernels/elementwise.h"
#include "kernels/loss.h"
#include "kernels/optimizer.h"

using namespace fovea;
using namespace fovea::test;

TEST_CASE("sums, means and maxima over any axes, and their gradients", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(1, "cuda");
  const std::pair<Shape, std::vector<int>> cases[] = {
      {{3, 4, 5}, {0}},       {{3, 4, 5}, {1}},       {{3, 4, 5}, {2}},       {{3, 4, 5}, {0, 1, 2}},
      {{3, 4, 5}, {0, 2}},    {{2, 3, 4, 5}, {1, 2}}, {{2, 3, 4, 5}, {0, 2}}, {{2, 3, 4, 5}, {1, 3}},
      {{9000, 3}, {0}},       {{3, 20000}, {1}},      {{70000}, {0}},         {{2, 300, 130}, {1}},
      {{1, 1, 1}, {0, 1, 2}}, {{4, 1, 3}, {1}},
  };
  for (const auto& [shape, axes] : cases) {
    std::vector<std::int64_t> kept;
    for (int i = 0; i < shape.rank(); ++i) {
      if (std::find(axes.begin(), axes.end(), i) == axes.end()) kept.push_back(shape[i]);
    }
    const Shape reduced{std::span<const std::int64_t>(kept)};
    INFO(str(shape, " -> ", reduced));
    Tensor x = random_tensor(shape, rng);
    for (const auto kind : {kernels::Reduction::sum, kernels::Reduction::mean, kernels::Reduction::max}) {
      agree(
          {x}, {{reduced}},
          [&](const Tensors& in, Tensors& out) { kernels::reduce(kind, axes, in[0].view(), out[0].mutable_view()); },
          2e-6);
      if (kind == kernels::Reduction::max) continue;
      agree({random_tensor(reduced, rng)}, {{shape}}, [&](const Tensors& in, Tensors& out) {
        kernels::reduce_backward(kind, axes, in[0].view(), out[0].mutable_view());
      });
    }
    // Ties share the gradient.
    for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data<double>()[i] = std::round(3 * x.data<double>()[i]);
    Tensor y(reduced, DType::f64);
    kernels::reduce(kernels::Reduction::max, axes, x.view(), y.mutable_view());
    agree({x, y, random_tensor(reduced, rng)}, {{shape}}, [&](const Tensors& in, Tensors& out) {
      kernels::reduce_max_backward(axes, in[0].view(), in[1].view(), in[2].view(), out[0].mutable_view());
    });
  }
}

TEST_CASE("NaN wins every maximum", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(2, "cuda");
  Tensor x = random_tensor({500, 3}, rng);
  x.mutable_data<double>()[3 * 77 + 1] = std::nan("");
  const int axes[] = {0};
  agree({x}, {{Shape{3}}}, [&](const Tensors& in, Tensors& out) {
    kernels::reduce(kernels::Reduction::max, axes, in[0].view(), out[0].mutable_view());
  });
}

TEST_CASE("softmax and its logarithm", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(3, "cuda");
  for (const auto& shape : {Shape{4, 1}, Shape{5, 10}, Shape{2, 3, 1000}, Shape{300, 7}}) {
    const Tensor x = random_tensor(shape, rng, -30, 30), dy = random_tensor(shape, rng);
    agree(
        {x}, {{shape}, {shape}},
        [&](const Tensors& in, Tensors& out) {
          kernels::softmax_forward(in[0].view(), out[0].mutable_view());
          kernels::log_softmax_forward(in[0].view(), out[1].mutable_view());
        },
        2e-6);
    Tensor y(shape, DType::f64), log_y(shape, DType::f64);
    kernels::softmax_forward(x.view(), y.mutable_view());
    kernels::log_softmax_forward(x.view(), log_y.mutable_view());
    agree(
        {y.to(DType::f32).to(DType::f64), log_y.to(DType::f32).to(DType::f64), dy}, {{shape}, {shape}},
        [&](const Tensors& in, Tensors& out) {
          kernels::softmax_backward(in[0].view(), in[2].view(), out[0].mutable_view());
          kernels::log_softmax_backward(in[1].view(), in[2].view(), out[1].mutable_view());
        },
        3e-6);
  }
}

TEST_CASE("cross-entropy of indices and distributions", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(4, "cuda");
  using kernels::LossReduction;
  for (const auto& [rows, classes] : {std::pair<std::int64_t, std::int64_t>{1, 2}, {7, 10}, {33, 1000}, {600, 5}}) {
    const Tensor z = random_tensor({rows, classes}, rng, -5, 5);
    Tensor wide(Shape{rows}, DType::i64), narrow(Shape{rows}, DType::i32);
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto label = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(classes)));
      wide.mutable_data<std::int64_t>()[r] = r % 5 == 3 ? -100 : label;  // some are ignored
      narrow.mutable_data<std::int32_t>()[r] = static_cast<std::int32_t>(label);
    }
    Tensor soft = random_tensor({rows, classes}, rng, 0, 1);
    const Tensor weights = random_tensor({classes}, rng, 0.2, 2);
    for (const LossReduction reduction : {LossReduction::mean, LossReduction::sum, LossReduction::none}) {
      const Shape loss = reduction == LossReduction::none ? Shape{rows} : Shape{};
      for (const double smoothing : {0.0, 0.1}) {
        for (const Tensor& target : {wide, narrow, soft}) {
          for (const Tensor& weight : {Tensor(), weights}) {
            for (const double gamma : {0.0, 2.0}) {
              if (gamma != 0 && (smoothing != 0 || target.is(soft))) continue;
              const kernels::CrossEntropyParams params{smoothing, -100, reduction, gamma};
              const Tensor dloss = random_tensor(loss, rng);
              agree(
                  {z, target, weight, dloss}, {{loss}, {z.shape()}},
                  [&](const Tensors& in, Tensors& out) {
                    kernels::cross_entropy_forward(params, in[0].view(), in[1].view(), optional_view(in[2]),
                                                   out[0].mutable_view());
                    kernels::cross_entropy_backward(params, in[0].view(), in[1].view(), optional_view(in[2]),
                                                    in[3].view(), out[1].mutable_view());
                  },
                  1e-6, 1e-12);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("a label that is no class gives NaN on the GPU, and all ignored rows give 0", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(5, "cuda");
  const Tensor z = random_tensor({2, 3}, rng).to(DType::f32).to(gpu());
  Tensor loss(Shape{}, DType::f32, gpu());
  kernels::cross_entropy_forward({}, z.view(), Tensor::from<std::int64_t>({2}, {1, 3}).to(gpu()).view(), {},
                                 loss.mutable_view());
  CHECK(std::isnan(loss.to(kCpu).item()));
  kernels::cross_entropy_forward({}, z.view(), Tensor::from<std::int64_t>({2}, {-100, -100}).to(gpu()).view(), {},
                                 loss.mutable_view());
  CHECK(loss.to(kCpu).item() == 0);
}

TEST_CASE("losses of elements", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(6, "cuda");
  using kernels::LossReduction;
  const Shape shape{37, 11};
  const Tensor z = random_tensor(shape, rng, -6, 6), y = random_tensor(shape, rng, 0, 1),
               weight = random_tensor({11}, rng, 0.3, 3);
  for (const LossReduction reduction : {LossReduction::mean, LossReduction::sum, LossReduction::none}) {
    const Shape loss = reduction == LossReduction::none ? shape : Shape{};
    const Tensor dloss = random_tensor(loss, rng);
    for (const double gamma : {0.0, 1.5}) {
      for (const Tensor& w : {Tensor(), weight}) {
        const kernels::BinaryCrossEntropyParams params{reduction, gamma, gamma > 0 ? 0.25 : -1};
        agree(
            {z, y, w, dloss}, {{loss}, {shape}},
            [&](const Tensors& in, Tensors& out) {
              kernels::binary_cross_entropy_forward(params, in[0].view(), in[1].view(), optional_view(in[2]),
                                                    out[0].mutable_view());
              kernels::binary_cross_entropy_backward(params, in[0].view(), in[1].view(), optional_view(in[2]),
                                                     in[3].view(), out[1].mutable_view());
            },
            1e-6, 1e-12);
      }
    }
    agree(
        {z, y, dloss}, {{loss}, {shape}},
        [&](const Tensors& in, Tensors& out) {
          kernels::squared_error_forward(reduction, in[0].view(), in[1].view(), out[0].mutable_view());
          kernels::squared_error_backward(reduction, in[0].view(), in[1].view(), in[2].view(), out[1].mutable_view());
        },
        1e-6, 1e-12);
  }
}
