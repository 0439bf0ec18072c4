// Steps of nodes that have no planned kernel: the library's kernels, in f32.
#include "infer/graph/lower_internal.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"

namespace fovea::infer {
namespace {

using detail::Pointers;
using kernels::Activation;

ConstView const_view(const float* data, const Shape& shape) {
  ConstView v;
  v.data = data;
  v.shape = shape;
  v.dtype = DType::f32;
  return v;
}
View view(float* data, const Shape& shape) {
  View v;
  v.data = data;
  v.shape = shape;
  v.dtype = DType::f32;
  return v;
}

/// What the planned kernels do not take (groups of several channels, vast kernels), with the addition apart.
std::unique_ptr<detail::Step> library_convolution(const Node& node, const PackedNode& packed,
                                                  const std::vector<StepOperand>& operands, const StepOperand& result,
                                                  const kernels::Conv2dParams& conv) {
  const Shape x = operands[0].shape, y = result.shape;
  const kernels::ActivationParams activation = node.activation, none{Activation::none};
  const int residual = node.residual ? operands.back().place : -1;
  return detail::kernel_step([=, in = operands[0].place, to = result.place](Pointers at) {
    const View out = view(at[static_cast<std::size_t>(to)], y);
    kernels::conv2d_forward(conv, const_view(at[static_cast<std::size_t>(in)], x), packed.weights.view(),
                            packed.bias.slice(0, y[3]).view(), out, residual < 0 ? activation : none);
    if (residual < 0) return;
    kernels::binary(kernels::Binary::add, out, const_view(at[static_cast<std::size_t>(residual)], y), out);
    if (activation.kind != Activation::none) kernels::activation_forward(activation, out, out);
  });
}

}  // namespace

std::unique_ptr<detail::Step> library_step(const Node& node, const PackedNode& packed,
                                           const std::vector<StepOperand>& operands, const StepOperand& result,
                                           const kernels::Conv2dParams& conv) {
  const Shape x = operands[0].shape, y = result.shape;
  const auto in = static_cast<std::size_t>(operands[0].place), out = static_cast<std::size_t>(result.place);
  switch (node.kind) {
    case Kind::conv2d: return library_convolution(node, packed, operands, result, conv);
    case Kind::activation:
      return detail::kernel_step([=, activation = node.activation](Pointers at) {
        kernels::activation_forward(activation, const_view(at[in], x), view(at[out], y));
      });
    case Kind::affine:
      return detail::kernel_step([=, factor = node.factor, offset = node.offset](Pointers at) {
        kernels::affine(factor, offset, const_view(at[in], x), view(at[out], y));
      });
    case Kind::scale_shift: {
      const std::int64_t channels = packed.weights.numel();
      const Tensor mean = Tensor::zeros({channels}), variance = Tensor::ones({channels});
      return detail::kernel_step([=, activation = node.activation](Pointers at) {
        kernels::batch_norm_inference({0.0, activation}, const_view(at[in], x), packed.weights.view(),
                                      packed.bias.slice(0, channels).view(), mean.view(), variance.view(),
                                      view(at[out], y));
      });
    }
    case Kind::add:
    case Kind::multiply: {
      const Shape b = operands[1].shape;
      const auto second = static_cast<std::size_t>(operands[1].place);
      const auto kind = node.kind == Kind::add ? kernels::Binary::add : kernels::Binary::multiply;
      return detail::kernel_step([=](Pointers at) {
        kernels::binary(kind, const_view(at[in], x), const_view(at[second], b), view(at[out], y));
      });
    }
    case Kind::concat: {
      return detail::kernel_step([=, axis = node.axis < 0 ? node.axis + y.rank() : node.axis](Pointers at) {
        ConstView views[kMaxParts];
        for (std::size_t i = 0; i < operands.size(); ++i)
          views[i] = const_view(at[static_cast<std::size_t>(operands[i].place)], operands[i].shape);
        kernels::concat_forward(axis, {views, operands.size()}, view(at[out], y));
      });
    }
    case Kind::pool2d:
      return detail::kernel_step([=, pool = node.pool](Pointers at) {
        kernels::pool2d_forward(pool, const_view(at[in], x), view(at[out], y), std::nullopt);
      });
    case Kind::global_average_pool:
      return detail::kernel_step(
          [=](Pointers at) { kernels::global_average_pool_forward(const_view(at[in], x), view(at[out], y)); });
    case Kind::adaptive_average_pool:
      return detail::kernel_step(
          [=](Pointers at) { kernels::adaptive_average_pool_forward(const_view(at[in], x), view(at[out], y)); });
    case Kind::softmax:
      return detail::kernel_step(
          [=](Pointers at) { kernels::softmax_forward(const_view(at[in], x), view(at[out], y)); });
    default:
      return detail::kernel_step(
          [=](Pointers at) { kernels::log_softmax_forward(const_view(at[in], x), view(at[out], y)); });
  }
}

}  // namespace fovea::infer
