// Convolution and dense steps: the planned kernels with their operands.
#include <algorithm>
#include <limits>

#include "core/threads/parallel.h"
#include "infer/runtime/steps_internal.h"
#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/depthwise_raw.h"
#include "kernels/cpu/simd/planned_conv.h"

namespace fovea::infer::detail {
namespace {

namespace simd = kernels::simd;
using kernels::Activation;
using kernels::ActivationParams;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float* place(Pointers at, int value) { return value < 0 ? nullptr : at[static_cast<std::size_t>(value)]; }

/// An activation as the bounds of a clamp, or as something to be done after.
struct Epilogue {
  explicit Epilogue(ActivationParams a) : activation(a) {
    clamp = a.kind == Activation::relu || a.kind == Activation::relu6;
    low = clamp ? 0.0f : -kInfinity;
    high = a.kind == Activation::relu6 ? 6.0f : kInfinity;
    after = !clamp && a.kind != Activation::none;
  }
  void run_after(float* y, std::int64_t count) const {
    simd::activation_forward_f32(activation.kind, static_cast<float>(activation.alpha), y, y, count);
  }
  static void call(const void* self, float* y, std::int64_t count) {
    static_cast<const Epilogue*>(self)->run_after(y, count);
  }
  ActivationParams activation;
  bool clamp, after;
  float low, high;
};

class ConvStep final : public Step {
 public:
  ConvStep(const ConvGeometry& g, const Tensor& packed, const Tensor& bias, ActivationParams activation, Places places)
      : packed_(packed), bias_(bias), epilogue_(activation), places_(places) {
    conv_.n = g.x[0];
    conv_.h = g.x[1];
    conv_.w = g.x[2];
    conv_.ci = g.x[3];
    conv_.ho = g.y[1];
    conv_.wo = g.y[2];
    conv_.co = g.y[3];
    conv_.kh = g.kh;
    conv_.kw = g.kw;
    conv_.stride = g.params.stride;
    conv_.dilation = g.params.dilation;
    conv_.top = g.params.padding.top;
    conv_.left = g.params.padding.left;
    conv_.packed = packed_.data<float>();
    conv_.bias = bias_.data<float>();
    conv_.clamp = epilogue_.clamp;
    conv_.low = epilogue_.low;
    conv_.high = epilogue_.high;
    info.kernel = conv_.pointwise() ? "simd:pointwise" : "simd:direct";
  }

  void run(Pointers at) const override {
    simd::planned_conv(conv_, place(at, places_.in), place(at, places_.residual), place(at, places_.out),
                       epilogue_.after ? &Epilogue::call : nullptr, &epilogue_);
  }

 private:
  Tensor packed_, bias_;
  Epilogue epilogue_;
  Places places_;
  simd::PlannedConv conv_;
};

class DepthwiseStep final : public Step {
 public:
  DepthwiseStep(const ConvGeometry& g, const Tensor& weights, const Tensor& bias, ActivationParams activation,
                Places places)
      : weights_(weights), bias_(bias), epilogue_(activation), places_(places) {
    n_ = g.x[0];
    h_ = g.x[1];
    ho_ = g.y[1];
    kh_ = g.kh;
    top_ = g.params.padding.top;
    stride_ = g.params.stride.h;
    row_.taps = g.kw;
    row_.step = g.params.stride.w;
    row_.first = -g.params.padding.left;
    row_.width = g.x[2];
    row_.bias = bias_.data<float>();
    row_.low = epilogue_.low;
    row_.high = epilogue_.high;
    row_.count = g.y[2];
    row_.channels = g.x[3];
    info.kernel = "simd:depthwise";
  }

  void run(Pointers at) const override {
    const float *x = place(at, places_.in), *w = weights_.data<float>();
    float* const y = place(at, places_.out);
    const std::int64_t in_row = row_.width * row_.channels, out_row = row_.count * row_.channels;
    // Multiply-adds that pay for another thread, at the eighth of a matrix product's speed.
    const std::int64_t grain = std::max<std::int64_t>(1, 50'000 / std::max<std::int64_t>(1, out_row * kh_ * row_.taps));
    parallel_for(n_ * ho_, grain, [&](std::int64_t begin, std::int64_t end) {
      simd::DepthwiseRow r = row_;
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t image = i / ho_, top = i % ho_ * stride_ - top_;
        r.rows = 0;
        for (std::int64_t k = std::max<std::int64_t>(0, -top); k < std::min(kh_, h_ - top); ++k, ++r.rows) {
          r.in[r.rows] = x + (image * h_ + top + k) * in_row;
          r.weights[r.rows] = w + k * row_.taps * row_.channels;
        }
        r.out = y + i * out_row;
        simd::depthwise_row_f32(r);
        if (epilogue_.after) epilogue_.run_after(r.out, out_row);
      }
    });
  }

 private:
  Tensor weights_, bias_;
  Epilogue epilogue_;
  Places places_;
  std::int64_t n_, h_, ho_, kh_, top_, stride_;
  simd::DepthwiseRow row_;
};

class ThinDenseStep final : public Step {
 public:
  ThinDenseStep(std::int64_t rows, const Tensor& weights, const Tensor& bias, ActivationParams activation,
                Places places)
      : rows_(rows), weights_(weights), bias_(bias), epilogue_(activation), places_(places) {
    info.kernel = "simd:thin";
  }

  void run(Pointers at) const override {
    const std::int64_t k = weights_.shape()[0], n = weights_.shape()[1];
    float* const y = place(at, places_.out);
    const ActivationParams none{Activation::none};
    const simd::ThinMultiply whole{place(at, places_.in),
                                   k,
                                   static_cast<int>(rows_),
                                   k,
                                   weights_.data<float>(),
                                   n,
                                   0,
                                   n,
                                   bias_.data<float>(),
                                   y,
                                   n,
                                   false,
                                   epilogue_.clamp ? epilogue_.activation : none};
    // Bound by memory: a thread pays from about 64 KB of weights. Ranges of whole cache lines.
    parallel_for((n + 15) / 16, std::max<std::int64_t>(1, (1 << 10) / k), [&](std::int64_t begin, std::int64_t end) {
      simd::ThinMultiply part = whole;
      part.begin = begin * 16;
      part.end = std::min(end * 16, n);
      simd::multiply_thin(part);
    });
    if (epilogue_.after) epilogue_.run_after(y, rows_ * n);
  }

 private:
  std::int64_t rows_;
  Tensor weights_, bias_;
  Epilogue epilogue_;
  Places places_;
};

class KernelStep final : public Step {
 public:
  explicit KernelStep(std::function<void(Pointers)> run) : run_(std::move(run)) { info.kernel = "library"; }
  void run(Pointers at) const override { run_(at); }

 private:
  std::function<void(Pointers)> run_;
};

}  // namespace

std::unique_ptr<Step> conv_step(const ConvGeometry& geometry, const Tensor& packed, const Tensor& bias,
                                ActivationParams activation, Places places) {
  return std::make_unique<ConvStep>(geometry, packed, bias, activation, places);
}

std::unique_ptr<Step> depthwise_step(const ConvGeometry& geometry, const Tensor& weights, const Tensor& bias,
                                     ActivationParams activation, Places places) {
  return std::make_unique<DepthwiseStep>(geometry, weights, bias, activation, places);
}

std::unique_ptr<Step> thin_dense_step(std::int64_t rows, const Tensor& weights, const Tensor& bias,
                                      ActivationParams activation, Places places) {
  return std::make_unique<ThinDenseStep>(rows, weights, bias, activation, places);
}

std::unique_ptr<Step> kernel_step(std::function<void(Pointers)> run) {
  return std::make_unique<KernelStep>(std::move(run));
}

Tensor pack_panels(const float* weights, std::int64_t k, std::int64_t n) {
  // Prefetches may reach 2 KB past the end: harmless.
  Tensor packed({std::max<std::int64_t>(1, simd::packed_floats(k, n))});
  simd::pack_rows({weights, n, 0, k, k, n, 0, simd::panel_count(n), packed.mutable_data<float>()});
  return packed;
}

Tensor pad_bias(const float* bias, std::int64_t n) {
  Tensor padded = Tensor::zeros({simd::padded_columns(n) + 16});
  if (bias) std::copy_n(bias, n, padded.mutable_data<float>());
  return padded;
}

}  // namespace fovea::infer::detail
