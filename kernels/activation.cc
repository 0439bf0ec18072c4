// Entry points of activations: names, checks, and the lists of implementations.
#include "kernels/activation.h"

#include <array>

#include "kernels/check_internal.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/reference/activation.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

constexpr std::array<std::pair<Activation, std::string_view>, 11> kNames = {{
    {Activation::none, "none"},
    {Activation::relu, "relu"},
    {Activation::relu6, "relu6"},
    {Activation::leaky_relu, "leaky_relu"},
    {Activation::sigmoid, "sigmoid"},
    {Activation::silu, "silu"},
    {Activation::hard_swish, "hard_swish"},
    {Activation::hard_sigmoid, "hard_sigmoid"},
    {Activation::gelu, "gelu"},
    {Activation::gelu_tanh, "gelu_tanh"},
    {Activation::tanh, "tanh"},
}};

const char* reference_declines(const ActivationProblem& p) { return needs_cpu(p.out); }
void reference_forward(const ActivationProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) {
    using T = decltype(t);
    reference::activation_forward(p.params, p.x.ptr<T>(), p.out.ptr<T>(), p.out.numel());
  });
}
void reference_backward(const ActivationProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) {
    using T = decltype(t);
    const ConstView& operand = derivative_from_result(p.params.kind) ? p.y : p.x;
    reference::activation_backward(p.params, operand.ptr<T>(), p.dy.ptr<T>(), p.out.ptr<T>(), p.out.numel());
  });
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<ActivationProblem> kForward[] = {
    {"simd", simd::declines, simd::activation_forward},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::activation_forward),
    {"reference", reference_declines, reference_forward},
};
constexpr Implementation<ActivationProblem> kBackward[] = {
    {"simd", simd::declines, simd::activation_backward},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::activation_backward),
    {"reference", reference_declines, reference_backward},
};

}  // namespace

std::string_view to_string(Activation a) {
  for (const auto& [kind, name] : kNames) {
    if (kind == a) return name;
  }
  return "?";
}

Activation activation_from(std::string_view name) {
  std::string known;
  for (const auto& [kind, text] : kNames) {
    if (text == name) return kind;
    known += str(known.empty() ? "" : ", ", text);
  }
  throw Error(ErrorKind::format, "activation", str("no activation is called \"", name, "\""), str("known are ", known));
}

bool derivative_from_result(Activation a) {
  switch (a) {
    case Activation::none:
    case Activation::relu:
    case Activation::relu6:
    case Activation::leaky_relu:
    case Activation::sigmoid:
    case Activation::tanh: return true;
    default: return false;
  }
}

void check_activation(std::string_view op, const ActivationParams& params) {
  if (params.kind == Activation::leaky_relu && !(params.alpha >= 0)) {
    throw Error(ErrorKind::usage, op, str("the slope of leaky_relu must not be negative, got ", params.alpha),
                "its gradient is told from the sign of the result");
  }
}

void activation_forward(const ActivationParams& params, ConstView x, View y) {
  constexpr const char* kOp = "activation";
  check_maps(kOp, {{"input", x}, {"result", y}});
  check_shape(kOp, {"result", y}, x.shape);
  check_activation(kOp, params);
  if (y.numel() == 0) return;
  ActivationProblem p;
  p.params = params;
  p.x = x;
  p.out = y;
  dispatch<ActivationProblem>("activation_forward", kForward, p);
}

void activation_backward(const ActivationParams& params, ConstView x, ConstView y, ConstView dy, View dx) {
  constexpr const char* kOp = "activation_backward";
  const bool by_result = derivative_from_result(params.kind);
  const Operand operand = by_result ? Operand("result", y) : Operand("input", x);
  check_maps(kOp, {operand, {"result gradient", dy}, {"input gradient", dx}});
  check_shape(kOp, operand, dx.shape);
  check_shape(kOp, {"result gradient", dy}, dx.shape);
  check_activation(kOp, params);
  if (dx.numel() == 0) return;
  if (!operand.view->data) {
    throw Error(ErrorKind::usage, kOp,
                str("the gradient of ", to_string(params.kind), " needs the ", operand.name, ", which has no data"));
  }
  ActivationProblem p;
  p.pass = Pass::backward;
  p.params = params;
  p.x = x;
  p.y = y;
  p.dy = dy;
  p.out = dx;
  dispatch<ActivationProblem>("activation_backward", kBackward, p);
}

}  // namespace fovea::kernels
