// Pooling, resizing and our own convolutions on the GPU against the reference: random problems.
#include "cuda/both.h"
#include "kernels/conv2d.h"
#include "kernels/elementwise.h"
#include "kernels/pool2d.h"

using namespace fovea;
using namespace fovea::test;
using namespace fovea::kernels;

namespace {

int within(Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint64_t>(high - low + 1)));
}

}  // namespace

TEST_CASE("pooling of all kinds and its gradients", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(1, "cuda");
  for (int round = 0; round < 40; ++round) {
    Pool2dParams params;
    params.kind = round % 2 == 0 ? PoolKind::max : PoolKind::average;
    params.window = {within(rng, 1, 4), within(rng, 1, 4)};
    params.stride = {within(rng, 1, 3), within(rng, 1, 3)};
    params.padding = Padding::sides(within(rng, 0, params.window.h - 1), within(rng, 0, params.window.h - 1),
                                    within(rng, 0, params.window.w - 1), within(rng, 0, params.window.w - 1));
    params.ceil_mode = rng.chance(0.5);
    params.count_include_pad = rng.chance(0.5);
    const Shape xs{within(rng, 1, 3), within(rng, 4, 9), within(rng, 4, 9), within(rng, 1, 9)};
    const Shape ys = pool2d_shape(params, xs);
    INFO(str(xs, " -> ", ys));
    Tensor x = random_tensor(xs, rng);
    if (round % 5 == 0) x.mutable_data<double>()[x.numel() / 2] = std::nan("");
    Tensor argmax;
    if (params.kind == PoolKind::max) {
      agree({x}, {{ys}, {ys, DType::i32}}, [&](const Tensors& in, Tensors& out) {
        pool2d_forward(params, in[0].view(), out[0].mutable_view(), out[1].mutable_view());
      });
      Tensor y(ys, DType::f64);
      argmax = Tensor(ys, DType::i32);
      pool2d_forward(params, x.view(), y.mutable_view(), argmax.mutable_view());
    } else {
      agree({x}, {{ys}}, [&](const Tensors& in, Tensors& out) {
        pool2d_forward(params, in[0].view(), out[0].mutable_view(), std::nullopt);
      });
    }
    agree({random_tensor(ys, rng), argmax}, {{xs}}, [&](const Tensors& in, Tensors& out) {
      pool2d_backward(params, in[0].view(), optional_view(in[1]), out[0].mutable_view());
    });
  }
}

TEST_CASE("global and adaptive average pooling", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(2, "cuda");
  for (const auto& xs : {Shape{2, 7, 7, 5}, Shape{3, 1, 1, 40}, Shape{1, 50, 60, 3}, Shape{2, 5, 9, 4}}) {
    const Shape pooled{xs[0], xs[3]};
    agree({random_tensor(xs, rng)}, {{pooled}},
          [&](const Tensors& in, Tensors& out) { global_average_pool_forward(in[0].view(), out[0].mutable_view()); });
    agree({random_tensor(pooled, rng)}, {{xs}},
          [&](const Tensors& in, Tensors& out) { global_average_pool_backward(in[0].view(), out[0].mutable_view()); });
    for (const auto& [ho, wo] : {std::pair<int, int>{3, 2}, {7, 11}, {1, 4}}) {
      const Shape ys{xs[0], ho, wo, xs[3]};
      agree({random_tensor(xs, rng)}, {{ys}}, [&](const Tensors& in, Tensors& out) {
        adaptive_average_pool_forward(in[0].view(), out[0].mutable_view());
      });
      agree({random_tensor(ys, rng)}, {{xs}}, [&](const Tensors& in, Tensors& out) {
        adaptive_average_pool_backward(in[0].view(), out[0].mutable_view());
      });
    }
  }
}

TEST_CASE("resizing with every filter, and its gradient", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(3, "cuda");
  for (const ResizeFilter filter : {ResizeFilter::nearest, ResizeFilter::bilinear, ResizeFilter::bicubic}) {
    for (const bool antialias : {true, false}) {
      for (const bool corners : {true, false}) {
        for (const auto& [in_size, out_size] :
             {std::pair<Size2, Size2>{{7, 9}, {3, 4}}, {{4, 3}, {9, 11}}, {{1, 5}, {3, 1}}, {{6, 6}, {6, 6}}}) {
          const Shape xs{2, in_size.h, in_size.w, 3}, ys{2, out_size.h, out_size.w, 3};
          const ResizeParams params{filter, antialias, corners};
          INFO(str(xs, " -> ", ys, " filter ", static_cast<int>(filter)));
          agree({random_tensor(xs, rng)}, {{ys}},
                [&](const Tensors& in, Tensors& out) { resize_forward(params, in[0].view(), out[0].mutable_view()); });
          agree({random_tensor(ys, rng)}, {{xs}},
                [&](const Tensors& in, Tensors& out) { resize_backward(params, in[0].view(), out[0].mutable_view()); });
        }
      }
    }
  }
}

/// Depthwise by our kernels, and everything by the direct ones: random problems, all three directions.
TEST_CASE("convolutions of our own", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(4, "cuda");
  for (int round = 0; round < 80; ++round) {
    const bool depthwise = round % 2 == 0;
    Conv2dParams params;
    const int kh = within(rng, 1, 5), kw = round % 3 == 0 ? 3 : within(rng, 1, round % 7 == 0 ? 9 : 7);
    params.stride = {within(rng, 1, 3), within(rng, 1, 3)};
    params.dilation = {within(rng, 1, 2), round % 3 == 0 ? 1 : within(rng, 1, 2)};
    params.padding = rng.chance(0.3)
                         ? Padding::tf_same()
                         : Padding::sides(within(rng, 0, 3), within(rng, 0, 3), within(rng, 0, 3), within(rng, 0, 3));
    const int channels = depthwise ? within(rng, 2, 40) : 0;
    params.groups = depthwise ? channels : within(rng, 1, 3);
    const int ci = depthwise ? channels : params.groups * within(rng, 1, 5),
              co = depthwise ? channels * within(rng, 1, 2) : params.groups * within(rng, 1, 6);
    const Shape xs{within(rng, 1, 3), within(rng, 10, 17), within(rng, 17, 25), ci}, ws{kh, kw, ci / params.groups, co},
        bs{co};
    const Shape ys = conv2d_shape(params, xs, ws);
    INFO(str(xs, " by ", ws, " groups ", params.groups, " -> ", ys));
    const Tensor x = random_tensor(xs, rng), w = random_tensor(ws, rng),
                 b = rng.chance(0.5) ? random_tensor(bs, rng) : Tensor(), dy = random_tensor(ys, rng);
    const ActivationParams act{round % 4 == 1 ? Activation::relu6 : Activation::none};
    agree(
        {x, w, b, dy}, {{ys}, {xs}, {ws}, {bs}},
        [&](const Tensors& in, Tensors& out) {
          // The GPU's depthwise kernels and the direct ones; the reference elsewhere.
          const bool there = in[0].device().type == DeviceType::cuda;
          const bool ours = depthwise && kw <= 7;
          const ForceImplementation force(!there ? "reference" : ours ? "cuda:depthwise" : "cuda:direct", true);
          conv2d_forward(params, in[0].view(), in[1].view(), optional_view(in[2]), out[0].mutable_view(), act);
          conv2d_backward_data(params, in[3].view(), in[1].view(), out[1].mutable_view());
          conv2d_backward_weights(params, in[0].view(), in[3].view(), out[2].mutable_view(), out[3].mutable_view());
        },
        2e-6, 1e-12);
  }
}
