// Elementwise kernels on the GPU against the reference.
#include "kernels/elementwise.h"
#include "cuda/both.h"
#include "kernels/activation.h"
#include "kernels/quantize.h"

using namespace fovea;
using namespace fovea::test;

TEST_CASE("activations and their gradients", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(1, "cuda");
  for (int k = 0; k <= static_cast<int>(kernels::Activation::tanh); ++k) {
    const kernels::ActivationParams params{static_cast<kernels::Activation>(k), 0.1};
    INFO(kernels::to_string(params.kind));
    const Shape shape{3, 5, 7, 11};
    Tensor x = random_tensor(shape, rng, -8, 8);
    // Kinks, and far out on both sides.
    const double special[] = {0, -0.0, 3, -3, 6, 100, -100};
    std::copy(std::begin(special), std::end(special), x.mutable_data<double>());
    agree({x}, {{shape}}, [&](const Tensors& in, Tensors& out) {
      kernels::activation_forward(params, in[0].view(), out[0].mutable_view());
    });
    Tensor y(shape, DType::f64);
    kernels::activation_forward(params, x.view(), y.mutable_view());
    y = y.to(DType::f32).to(DType::f64);
    agree({x, y, random_tensor(shape, rng)}, {{shape}}, [&](const Tensors& in, Tensors& out) {
      kernels::activation_backward(params, in[0].view(), in[1].view(), in[2].view(), out[0].mutable_view());
    });
  }
}

TEST_CASE("broadcasting sums and products, and their gradients", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(2, "cuda");
  const std::pair<Shape, Shape> shapes[] = {
      {{2, 3, 4}, {2, 3, 4}}, {{2, 3, 4}, {4}},       {{5, 1, 1, 7}, {5, 6, 3, 7}}, {{1}, {300}},
      {{4, 1, 3}, {1, 5, 1}}, {{2, 3, 4}, {2, 1, 4}}, {{3, 2, 2, 5}, {3, 1, 1, 5}}, {{}, {2, 2}},
  };
  for (const auto& [a, b] : shapes) {
    const Shape whole = kernels::broadcast_shape("test", a, b);
    for (const auto kind : {kernels::Binary::add, kernels::Binary::subtract, kernels::Binary::multiply}) {
      agree({random_tensor(a, rng), random_tensor(b, rng)}, {{whole}}, [&](const Tensors& in, Tensors& out) {
        kernels::binary(kind, in[0].view(), in[1].view(), out[0].mutable_view());
      });
    }
    for (const Shape& part : {a, b}) {
      agree({random_tensor(whole, rng)}, {{part}},
            [&](const Tensors& in, Tensors& out) { kernels::reduce_to(in[0].view(), out[0].mutable_view()); });
    }
  }
  agree({random_tensor({999}, rng)}, {{Shape{999}}},
        [&](const Tensors& in, Tensors& out) { kernels::affine(2.5, -0.75, in[0].view(), out[0].mutable_view()); });
}

TEST_CASE("concatenation along any axis, of any width", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(3, "cuda");
  for (const int axis : {0, 1, 3, -1}) {
    for (const std::int64_t last : {1, 2, 3, 8}) {
      const auto part = [&](std::int64_t extent) { return Shape{2, 3, 2, last}.with_dim(axis < 0 ? 3 : axis, extent); };
      const Shape whole = part(1 + 4 + 3);
      agree({random_tensor(part(1), rng), random_tensor(part(4), rng), random_tensor(part(3), rng)}, {{whole}},
            [&](const Tensors& in, Tensors& out) {
              const ConstView parts[] = {in[0].view(), in[1].view(), in[2].view()};
              kernels::concat_forward(axis, parts, out[0].mutable_view());
            });
      agree({random_tensor(whole, rng)}, {{part(1)}, {part(4)}, {part(3)}}, [&](const Tensors& in, Tensors& out) {
        const View parts[] = {out[0].mutable_view(), out[1].mutable_view(), out[2].mutable_view()};
        kernels::concat_backward(axis, in[0].view(), parts);
      });
    }
  }
}

TEST_CASE("dropout drops what the CPU drops", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(4, "cuda");
  for (const std::int64_t count : {1, 2, 3, 4, 5, 1023}) {
    for (const double rate : {0.0, 0.3, 1.0}) {
      Rng stream(9, "dropout", 3);
      stream.skip(static_cast<std::uint64_t>(count % 3));  // a stream begun anywhere
      const Tensor x = random_tensor({count}, rng);
      agree({x}, {{Shape{count}}, {Shape{count}, DType::u8}}, [&](const Tensors& in, Tensors& out) {
        kernels::dropout_forward(rate, stream, in[0].view(), out[0].mutable_view(), out[1].mutable_view());
      });
      Tensor y(Shape{count}, DType::f64), mask(Shape{count}, DType::u8);
      kernels::dropout_forward(rate, stream, x.view(), y.mutable_view(), mask.mutable_view());
      agree({mask, x}, {{Shape{count}}}, [&](const Tensors& in, Tensors& out) {
        kernels::dropout_backward(rate, in[0].view(), in[1].view(), out[0].mutable_view());
      });
    }
  }
}

TEST_CASE("rounding to integers and its straight-through gradient", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(5, "cuda");
  const Shape shape{40, 6};
  for (const Shape& scales : {Shape{1}, Shape{6}}) {
    const kernels::QuantizeRange range{.zero = 3, .low = 0, .high = 15};
    Tensor x = random_tensor(shape, rng, -3, 5);
    x.mutable_data<double>()[0] = std::nan("");
    // Steps that divide exactly, so that f32 and f64 round the same way; ties to even among them.
    Tensor scale(scales, DType::f64);
    for (std::int64_t i = 0; i < scales.numel(); ++i) scale.mutable_data<double>()[i] = i % 2 == 0 ? 0.25 : 0.5;
    x.mutable_data<double>()[6] = 0.125;
    const Tensor dy = random_tensor(shape, rng);
    agree({x, scale}, {{shape}}, [&](const Tensors& in, Tensors& out) {
      kernels::fake_quantize_forward(range, in[0].view(), in[1].view(), out[0].mutable_view());
    });
    x.mutable_data<double>()[0] = 0.3;
    agree(
        {x, scale, dy}, {{shape}, {scales}},
        [&](const Tensors& in, Tensors& out) {
          kernels::fake_quantize_backward(range, in[0].view(), in[1].view(), in[2].view(), out[0].mutable_view(),
                                          out[1].mutable_view());
        },
        2e-6);
  }
}
