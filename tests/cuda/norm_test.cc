// Normalisations on the GPU against the reference.
#include "kernels/norm.h"
#include "cuda/both.h"

using namespace fovea;
using namespace fovea::test;
using kernels::Activation;

TEST_CASE("batch norm with batch and given statistics, forward and backward", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(1, "cuda");
  for (const auto& shape : {Shape{2, 1, 1, 1}, Shape{4, 7, 5, 3}, Shape{2, 9, 9, 33}, Shape{70, 5, 5, 32},
                            Shape{3, 2, 2, 1280}, Shape{50, 10}}) {
    const std::int64_t channels = shape.dim(-1);
    const Shape c{channels};
    for (const Activation act : {Activation::none, Activation::relu6, Activation::silu}) {
      for (const bool affine : {true, false}) {
        INFO(str(shape, " ", kernels::to_string(act)));
        const kernels::BatchNormParams params{1e-3, {act, 0.1}};
        const Tensor x = random_tensor(shape, rng, -1, 3), dy = random_tensor(shape, rng);
        const Tensor gamma = affine ? random_tensor(c, rng, 0.5, 2) : Tensor(),
                     beta = affine ? random_tensor(c, rng) : Tensor();
        agree(
            {x, gamma, beta}, {{shape}, {c}, {c}},
            [&](const Tensors& in, Tensors& out) {
              kernels::batch_norm_training(params, in[0].view(), optional_view(in[1]), optional_view(in[2]),
                                           out[0].mutable_view(), out[1].mutable_view(), out[2].mutable_view());
            },
            3e-6, 1e-12);
        Tensor y(shape, DType::f64), mean(c, DType::f64), variance(c, DType::f64);
        kernels::batch_norm_training(params, x.view(), optional_view(gamma), optional_view(beta), y.mutable_view(),
                                     mean.mutable_view(), variance.mutable_view());
        mean = mean.to(DType::f32).to(DType::f64);
        variance = variance.to(DType::f32).to(DType::f64);
        agree(
            {x, gamma, beta, mean, variance}, {{shape}},
            [&](const Tensors& in, Tensors& out) {
              kernels::batch_norm_inference(params, in[0].view(), optional_view(in[1]), optional_view(in[2]),
                                            in[3].view(), in[4].view(), out[0].mutable_view());
            },
            2e-6, 1e-12);
        for (const bool training : {true, false}) {
          agree(
              {x, dy, gamma, beta, mean, variance}, {{shape}, {c}, {c}},
              [&](const Tensors& in, Tensors& out) {
                const auto backward =
                    training ? kernels::batch_norm_training_backward : kernels::batch_norm_inference_backward;
                backward(params, in[0].view(), in[1].view(), optional_view(in[2]), optional_view(in[3]), in[4].view(),
                         in[5].view(), out[0].mutable_view(), out[1].mutable_view(), out[2].mutable_view());
              },
              shape.numel() / channels < 4 ? 2e-3 : 5e-6, 1e-10);
        }
      }
    }
  }
}

TEST_CASE("a large mean costs no digits of batch norm's variance", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(2, "cuda");
  const Tensor x = random_tensor({4096, 8}, rng, 1000, 1001);
  agree(
      {x}, {{x.shape()}, {Shape{8}}, {Shape{8}}},
      [&](const Tensors& in, Tensors& out) {
        kernels::batch_norm_training({}, in[0].view(), {}, {}, out[0].mutable_view(), out[1].mutable_view(),
                                     out[2].mutable_view());
      },
      3e-4, 1e-9);  // x itself holds 1000 to 6e-5
}

TEST_CASE("batch norm's gradient may replace the one it is made of", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(3, "cuda");
  const Shape shape{6, 4, 4, 10}, c{10};
  agree({random_tensor(shape, rng), random_tensor(c, rng), random_tensor(c, rng, 0.5, 1)}, {{shape}},
        [&](const Tensors& in, Tensors& out) {
          const View dy = out[0].mutable_view();
          kernels::batch_norm_training_backward({}, in[0].view(), dy, {}, {}, in[1].view(), in[2].view(), dy,
                                                std::nullopt, std::nullopt);
        },
        5e-6, 1e-12, {random_tensor(shape, rng)});
}

TEST_CASE("layer norm and group norm", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(4, "cuda");
  for (const auto& shape : {Shape{3, 2, 2, 8}, Shape{2, 5, 7, 12}, Shape{1, 20, 20, 64}}) {
    const std::int64_t channels = shape.dim(-1);
    const Shape c{channels};
    const Tensor x = random_tensor(shape, rng, -1, 2), dy = random_tensor(shape, rng);
    for (const bool affine : {true, false}) {
      const Tensor gamma = affine ? random_tensor(c, rng, 0.5, 2) : Tensor(),
                   beta = affine ? random_tensor(c, rng) : Tensor();
      for (const int groups : {0, 1, 4, static_cast<int>(channels)}) {  // 0: layer norm
        const Shape statistics = groups == 0 ? Shape{shape.numel() / channels} : Shape{shape[0], groups};
        agree(
            {x, gamma, beta}, {{shape}, {statistics}, {statistics}},
            [&](const Tensors& in, Tensors& out) {
              if (groups == 0) {
                kernels::layer_norm_forward(1e-5, in[0].view(), optional_view(in[1]), optional_view(in[2]),
                                            out[0].mutable_view(), out[1].mutable_view(), out[2].mutable_view());
              } else {
                kernels::group_norm_forward(groups, 1e-5, in[0].view(), optional_view(in[1]), optional_view(in[2]),
                                            out[0].mutable_view(), out[1].mutable_view(), out[2].mutable_view());
              }
            },
            3e-6, 1e-12);
        const Tensor mean = random_tensor(statistics, rng, 0, 1), inv_std = random_tensor(statistics, rng, 0.5, 2);
        agree(
            {x, dy, gamma, mean, inv_std}, {{shape}, {c}, {c}},
            [&](const Tensors& in, Tensors& out) {
              if (groups == 0) {
                kernels::layer_norm_backward(in[0].view(), in[1].view(), optional_view(in[2]), in[3].view(),
                                             in[4].view(), out[0].mutable_view(), out[1].mutable_view(),
                                             out[2].mutable_view());
              } else {
                kernels::group_norm_backward(groups, in[0].view(), in[1].view(), optional_view(in[2]), in[3].view(),
                                             in[4].view(), out[0].mutable_view(), out[1].mutable_view(),
                                             out[2].mutable_view());
              }
            },
            5e-6, 1e-12);
      }
    }
  }
}
